#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "rules/rules.h"
#include "suite.h"

static struct problems problems;
static char folder[] = "/tmp/test_include.XXXXXX";

/* Each test runs in a process, and a folder, of its own. */
static void begin(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void end(void)
{
    ck_assert_int_eq(system("rm -r \"$PWD\""), 0);
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(name, 0644), 0);
}

/* The names of the rules in their order, or the first problem with its place. */
static const char *load(const char *name)
{
    static char buffer[1000];
    struct text text = text_begin(buffer, sizeof buffer);
    struct ruleset *set = ruleset_load(name, LOAD_ORIGINS, &problems);
    const struct problem *problem = &problems.items[0];
    if (!set)
        text_add(&text, "%s:%u:%u: %s", problem->path, problem->line, problem->column, problem->text);
    for (uint32_t i = 0; set && i < set->rule_count; i++)
        text_add(&text, "%s%s", i ? " " : "", set->rules[i].name);
    ruleset_free(set);
    return buffer;
}

TEST(included_rules_come_first_in_the_order_of_the_list)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    write_file("a.yaml", "version: 1\ninclude: [d/b.yaml, d/c.yaml]\nrules:\n  - {name: a, match: {}}\n");
    write_file("d/b.yaml", "version: 1\ninclude: e.yaml\nrules:\n  - {name: b, match: {}}\n");
    write_file("d/c.yaml", "version: 1\nrules:\n  - {name: c, match: {}}\n  - {name: d, match: {}}\n");
    write_file("d/e.yaml", "version: 1\nrules:\n  - {name: e, match: {}}\n");
    ck_assert_str_eq(load("a.yaml"), "e b c d a");
    ck_assert_str_eq(load("d/b.yaml"), "e b");
    struct ruleset *set = ruleset_load("./a.yaml", 0, &problems);
    ck_assert_uint_eq(set->file_count, 4);
    ck_assert_str_eq(set->files[0], "./a.yaml");
    ck_assert_str_eq(set->files[1], "./d/b.yaml");
    ck_assert_str_eq(set->files[2], "./d/e.yaml");
    ck_assert_str_eq(set->rules[0].path, "./d/e.yaml");
    struct target target = {.name = "x"};
    ck_assert_str_eq(ruleset_find(set, &target, "p")->name, "e");
    ruleset_free(set);
    end();
}
END_TEST

TEST(each_file_has_defaults_of_its_own)
{
    begin();
    write_file("a.yaml", "version: 1\ndefaults: {timeout: {connect: 1s}}\ninclude: [b.yaml, c.yaml]\n"
                         "rules:\n  - {name: a, match: {}}\n");
    write_file("b.yaml",
               "version: 1\ndefaults: {timeout: {connect: 2s}}\nrules:\n  - {name: b, match: {}}\n");
    write_file("c.yaml", "version: 1\nrules:\n  - {name: c, match: {}}\n");
    struct ruleset *set = ruleset_load("a.yaml", 0, &problems);
    ck_assert_ptr_nonnull(set);
    ck_assert_uint_eq(set->rules[0].policy.timeout.connect_ns, 2 * NS_PER_S);
    ck_assert_uint_eq(set->rules[1].policy.timeout.connect_ns, 0);
    ck_assert_uint_eq(set->rules[2].policy.timeout.connect_ns, 1 * NS_PER_S);
    ruleset_free(set);
    end();
}
END_TEST

TEST(the_hash_covers_all_files)
{
    begin();
    write_file("a.yaml", "version: 1\ninclude: b.yaml\n");
    write_file("b.yaml", "version: 1\nrules:\n  - {name: b, match: {}}\n");
    struct ruleset *one = ruleset_load("a.yaml", 0, &problems);
    write_file("b.yaml", "version: 1\nrules:\n  - {name: b, match: {}} \n");
    struct ruleset *two = ruleset_load("a.yaml", 0, &problems);
    ck_assert_uint_ne(one->hash, two->hash);
    ruleset_free(one);
    ruleset_free(two);
    end();
}
END_TEST

TEST(problems_name_the_included_file)
{
    begin();
    write_file("a.yaml",
               "version: 1\ninclude: b.yaml\nrules:\n  - {name: a, match: {}, timeout: {connect: 1}}\n");
    write_file("b.yaml", "version: 1\nrules:\n  - {name: b, match: {}, timeout: {connect: 2}}\n");
    ck_assert_str_eq(load("a.yaml"), ":4:45: timeout.connect: \"1\" has no unit (write 1s or 1ms)");
    ck_assert_uint_eq(problems.count, 2);
    ck_assert_str_eq(problems.items[1].path, "b.yaml");
    ck_assert_uint_eq(problems.items[1].line, 3);
    write_file("a.yaml", "version: 1\ninclude: b.yaml\nrules:\n  - {name: b, match: {}}\n");
    write_file("b.yaml", "version: 1\nrules:\n  - {name: b, match: {}}\n");
    ck_assert_str_eq(load("a.yaml"), ":4:12: name: the rule on line 3 of b.yaml is called \"b\" too");
    write_file("a.yaml", "version: 1\ninclude: b.yaml\nrules:\n  - {name: a, match: {}}\n");
    write_file("b.yaml", "version: 1\nrules:\n  - {name: b, match: {}, retry: {jitter: none}, breaker: }\n");
    struct ruleset *set = ruleset_load("a.yaml", LOAD_ORIGINS, &problems);
    ruleset_lint(set, &problems);
    ck_assert_uint_eq(problems.count, 2);
    ck_assert_str_eq(
        problems.items[0].text,
        "this rule never matches: rule \"b\" on line 3 of b.yaml takes all that it would (move it up)");
    ck_assert_str_eq(problems.items[0].path, "");
    ck_assert_str_eq(problems.items[1].path, "b.yaml");
    ruleset_free(set);
    end();
}
END_TEST

TEST(a_file_is_read_once_and_never_in_a_circle)
{
    begin();
    write_file("a.yaml", "version: 1\ninclude: a.yaml\n");
    ck_assert_str_eq(load("a.yaml"), ":2:10: include: \"a.yaml\" includes itself by this");
    write_file("a.yaml", "version: 1\ninclude: b.yaml\n");
    write_file("b.yaml", "version: 1\ninclude: ./a.yaml\n");
    ck_assert_str_eq(load("a.yaml"), "b.yaml:2:10: include: \"./a.yaml\" includes itself by this");
    write_file("b.yaml", "version: 1\n");
    ck_assert_int_eq(symlink("b.yaml", "c.yaml"), 0);
    write_file("a.yaml", "version: 1\ninclude: [b.yaml, c.yaml]\n");
    ck_assert_str_eq(load("a.yaml"), ":2:19: include: \"c.yaml\" is included already");
    end();
}
END_TEST

TEST(files_that_are_not_fit_to_be_included_are_told_where_they_are)
{
    begin();
    write_file("a.yaml", "version: 1\ninclude: b.yaml\n");
    ck_assert_str_eq(load("a.yaml"), ":2:10: include: \"b.yaml\" cannot be opened: no such file");
    write_file("b.yaml", "version: 1\n");
    ck_assert_int_eq(chmod("b.yaml", 0666), 0);
    ck_assert_str_eq(load("a.yaml"), ":2:10: include: \"b.yaml\" others can write it (chmod go-w FILE)");
    ck_assert_int_eq(unlink("b.yaml"), 0);
    ck_assert_int_eq(mkfifo("b.yaml", 0600), 0);
    ck_assert_str_eq(load("a.yaml"), ":2:10: include: \"b.yaml\" is not a regular file");
    write_file("a.yaml", "version: 1\ninclude: []\n");
    ck_assert_str_eq(load("a.yaml"), ":2:10: include: is an empty list");
    write_file("a.yaml", "version: 1\ninclude: {}\n");
    ck_assert_str_eq(load("a.yaml"), ":2:10: include: needs one value, not a mapping");
    end();
}
END_TEST

TEST(includes_have_bounds)
{
    begin();
    char buffer[4000];
    for (unsigned i = 0; i < 10; i++) {
        char name[20];
        struct text text = text_begin(name, sizeof name);
        text_add(&text, "%u.yaml", i);
        text = text_begin(buffer, sizeof buffer);
        text_add(&text, i < 9 ? "version: 1\ninclude: %u.yaml\n" : "version: 1\n", i + 1);
        write_file(name, buffer);
    }
    ck_assert_str_eq(load("0.yaml"), "8.yaml:2:10: include: deeper than 8 files");
    ck_assert_str_eq(load("1.yaml"), "");
    struct text text = text_begin(buffer, sizeof buffer);
    text_add(&text, "version: 1\ninclude:\n");
    for (unsigned i = 0; i < 65; i++) {
        char name[20];
        struct text name_text = text_begin(name, sizeof name);
        text_add(&name_text, "w%u.yaml", i);
        write_file(name, "version: 1\n");
        text_add(&text, "  - %s\n", name);
    }
    write_file("a.yaml", buffer);
    ck_assert_str_eq(load("a.yaml"), ":67:5: include: more than 64 files");
    end();
}
END_TEST

SUITE("include", included_rules_come_first_in_the_order_of_the_list, each_file_has_defaults_of_its_own,
      the_hash_covers_all_files, problems_name_the_included_file, a_file_is_read_once_and_never_in_a_circle,
      files_that_are_not_fit_to_be_included_are_told_where_they_are, includes_have_bounds)
