/* Rule files that are meant to harm: each is refused with a reason, in time that check's own limit allows. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"
#include "rules/rules.h"
#include "suite.h"

/* Sanitizers reserve more address space than can be limited, and take their time. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif
#define MANY_BYTES (IS_SANITIZED ? RULES_SIZE_MAX / 16 : RULES_SIZE_MAX)

static struct problems problems;

static const char *problem_of(const char *text, size_t size)
{
    struct ruleset *set = ruleset_parse(text, size, "hostile.yaml", LOAD_ORIGINS, &problems);
    if (!set) {
        ck_assert_uint_ge(problems.errors, 1);
        return problems.items[0].text;
    }
    ruleset_lint(set, &problems);
    ruleset_free(set);
    return "loaded";
}

static const char *problem_of_loading(const char *path)
{
    struct ruleset *set = ruleset_load(path, 0, &problems);
    if (!set)
        return problems.items[0].text;
    ruleset_free(set);
    return "loaded";
}

/* The beginning, and then as many of the piece as a rule file may have. */
static const char *problem_of_many(const char *begin, const char *piece, size_t *size)
{
    char *buffer = malloc(RULES_SIZE_MAX + 1);
    struct text text = text_begin(buffer, RULES_SIZE_MAX + 1);
    text_add(&text, "%s", begin);
    size_t length = strlen(piece), used = text.length;
    for (; used + length <= MANY_BYTES; used += length)
        memcpy(buffer + used, piece, length);
    const char *problem = problem_of(buffer, used);
    *size = used;
    free(buffer);
    return problem;
}

TEST(four_megabytes_of_one_thing_are_refused_in_time)
{
    static const struct {
        const char *begin, *piece;
    } cases[] = {
        {"version: 1\nrules: ", "["},
        {"version: 1\nrules: ", "{a: "},
        {"version: 1\nrules: ", "- "},
        {"version: 1\nrules:\n  ", "? "},
        {"version: 1\n", "a: 1\n"},
        {"version: 1\n", "version: 1\n"},
        {"version: 1\nrules:\n", "  - {}\n"},
        {"version: 1\nrules:\n", "  - name: a\n    match: {}\n"},
        {"version: 1\nrules: [", "&a a, "},
        {"version: 1\nrules: [&a a, ", "*a, "},
        {"version: 1\nrules: \"", "\\x41"},
        {"version: 1\nrules: |\n", "  x\n"},
        {"", "---\n"},
        {"", "#"},
        {"", "\n"},
        {"", "\t"},
        {"", "\xff"},
        {"version: 1\n? ", "a"},
        {"version: 1\n", "%YAML 1.1\n"},
        {"version: 1\nrules:\n  - name: a\n    match: {host: [", "x, "},
        {"version: 1\nrules:\n  - name: a\n    match: {}\n    breaker: {failure_prefix: [", "x, "},
        {"version: 1\nrules:\n  - name: a\n    match: {}\n    retry: {retry_on: [", "y, "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size;
        const char *problem = problem_of_many(cases[i].begin, cases[i].piece, &size);
        ck_assert_msg(strcmp(problem, "loaded") != 0 && *problem, "%s%s...", cases[i].begin, cases[i].piece);
    }
}
END_TEST

TEST(memory_is_bounded)
{
    struct rlimit limit = {(rlim_t)400 << 20, (rlim_t)400 << 20}; /* far more than a rule file may have */
    if (IS_SANITIZED)
        return;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    size_t size;
    ck_assert_str_ne(problem_of_many("version: 1\nrules: [", "[],", &size), "loaded");
    ck_assert_str_eq(problem_of_many("version: 1\nrules: [[", "a,", &size),
                     "more than a million values, aliases followed");
}
END_TEST

TEST(without_memory_it_says_so)
{
    struct rlimit limit = {1 << 20, 1 << 20};
    if (IS_SANITIZED)
        return;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    bool is_said = strcmp(problem_of("version: 1\n", 11), "no memory to read it") == 0 &&
                   strcmp(problem_of_loading("/nowhere"), "no memory to read it") == 0;
    ck_assert(is_said);
}
END_TEST

TEST(text_that_is_no_utf_8_is_refused_with_its_place)
{
    static const char *const texts[] = {"version: 1\n# \xff\n",         "version: 1\n# \xc0\x80\n",
                                        "version: 1\n# \xed\xa0\x80\n", "version: 1\n# \xf5\x80\x80\x80\n",
                                        "version: 1\n# \xe2\x82",       "version: 1\n# \x01\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *problem = problem_of(texts[i], strlen(texts[i]));
        ck_assert_msg(strncmp(problem, "not valid text: ", 16) == 0, "%zu: %s", i, problem);
        ck_assert_uint_eq(problems.items[0].line, 2);
        ck_assert_uint_eq(problems.items[0].column, 3);
    }
    static const char utf_16[] = "\xff\xfev\0e\0r\0s\0i\0o\0n\0:\0 \0001\0";
    ck_assert_str_ne(problem_of(utf_16, sizeof utf_16 - 1), "loaded");
}
END_TEST

TEST(what_is_no_plain_file_is_refused)
{
    char folder[] = "/tmp/test_hostile.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);

    int fd = open("large.yaml", O_CREAT | O_WRONLY, 0644);
    ck_assert_int_eq(ftruncate(fd, 100 << 20), 0);
    close(fd);
    ck_assert_str_eq(problem_of_loading("large.yaml"), "is larger than 4 MB");

    ck_assert_int_eq(symlink("loop.yaml", "loop.yaml"), 0);
    ck_assert_str_eq(problem_of_loading("loop.yaml"),
                     "cannot be opened: symbolic links that lead in a circle");

    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket.yaml"};
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_str_eq(problem_of_loading("socket.yaml"), "cannot be opened: not a regular file");
    close(fd);

    /* It says that it is empty, and then is not. */
    ck_assert_str_eq(problem_of_loading("/proc/self/maps"), "changed while it was read");
    ck_assert_int_eq(system("rm -r \"$PWD\""), 0);
}
END_TEST

static bool is_writing = true;

/* Cuts the file off and writes it anew, again and again. */
static void *rewrite(void *path)
{
    static const char text[] = "version: 1\nrules:\n  - {name: a, match: {}, timeout: {connect: 10s}}\n";
    while (__atomic_load_n(&is_writing, __ATOMIC_RELAXED)) {
        int fd = open(path, O_WRONLY | O_TRUNC);
        for (size_t at = 0; at < sizeof text - 1; at++)
            if (write(fd, text + at, 1) != 1)
                break;
        close(fd);
    }
    return NULL;
}

TEST(a_file_that_changes_while_it_is_read_never_crashes_anything)
{
    char path[] = "/tmp/test_hostile.XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(fchmod(fd, 0600), 0);
    close(fd);
    pthread_t writer;
    ck_assert_int_eq(pthread_create(&writer, NULL, rewrite, path), 0);
    for (unsigned i = 0; i < 5000; i++) {
        struct ruleset *set = ruleset_load(path, 0, &problems);
        if (!set)
            ck_assert_uint_ge(problems.errors, 1);
        ruleset_free(set);
    }
    __atomic_store_n(&is_writing, false, __ATOMIC_RELAXED);
    ck_assert_int_eq(pthread_join(writer, NULL), 0);
    ck_assert_str_eq(problem_of_loading(path), "loaded");
    unlink(path);
}
END_TEST

SUITE("hostile", four_megabytes_of_one_thing_are_refused_in_time, memory_is_bounded,
      without_memory_it_says_so, text_that_is_no_utf_8_is_refused_with_its_place,
      what_is_no_plain_file_is_refused, a_file_that_changes_while_it_is_read_never_crashes_anything)
