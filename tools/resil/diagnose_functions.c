/* What of the declared functions can be put under policy in a program. */
#include <elf.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "diagnose_functions.h"
#include "message.h"
#include "rules/function.h"
#include "rules/pattern.h"
#include "symbols.h"

#define PAGE_BYTES 4096
#define MANY       4 /* so many callers are named, the others are counted */

static void look_at_function(struct findings *findings, const struct libraries *libraries,
                             const struct function *function);
static bool is_of_library(const struct function *function, const struct object *object);
static void say_callers(struct findings *findings, const struct libraries *libraries,
                        const struct function *function, const char *owner);
static bool has_executable_memory(void);

void diagnose_functions(struct findings *findings, const struct program *program,
                        const struct libraries *libraries, const struct ruleset *set)
{
    if (!set->function_count || !libraries->count)
        return;
    if (program->machine != EM_X86_64 && program->machine != EM_AARCH64)
        findings_add(
            findings, FINDING_BAD, "functions",
            "declared functions can be had on x86-64 and 64-bit ARM only: here they are as if nothing "
            "had been declared");
    else if (!has_executable_memory())
        findings_add(
            findings, FINDING_BAD, "functions",
            "no memory may be made executable here, so declared functions are as if nothing had been "
            "declared");
    for (uint32_t i = 0; i < set->function_count; i++)
        look_at_function(findings, libraries, &set->functions[i]);
}

void warn_of_functions(const char *rules, const struct doubts *doubts)
{
    static struct rule_file file;
    static struct problems problems;
    struct libraries libraries = {.count = 0};
    struct findings findings = {.count = 0};
    rule_file_find(rules, &file);
    struct ruleset *set = rule_file_load(&file, &problems);
    if (!set)
        return;
    libraries_find(doubts->path, doubts->program.loader, &libraries);
    diagnose_functions(&findings, &doubts->program, &libraries, set);
    for (size_t i = 0; i < findings.count; i++)
        if (findings.items[i].weight == FINDING_BAD)
            complain("function %s", findings.items[i].text);
    findings_end(&findings);
    libraries_end(&libraries);
    ruleset_free(set);
}

static void look_at_function(struct findings *findings, const struct libraries *libraries,
                             const struct function *function)
{
    const struct object *has_not = NULL;
    char *nearest = NULL;
    bool is_kept = false;
    /* A pattern that fits any library says nothing of which one is meant. */
    bool is_certain = function->library && !pattern_matches(function->library, "lib.so");
    for (size_t i = 0; i < libraries->count; i++) {
        const struct object *object = &libraries->objects[i];
        if (object->is_missing || !is_of_library(function, object))
            continue;
        struct symbol symbol = symbol_find(object->path, function->symbol);
        if (symbol.is_exported) {
            say_callers(findings, libraries, function, object->name);
            symbol_end(&symbol);
            free(nearest);
            return;
        }
        has_not = is_certain ? object : has_not;
        is_kept |= symbol.is_kept;
        if (!nearest && is_certain)
            nearest = copy_of(symbol.nearest ? symbol.nearest : "");
        symbol_end(&symbol);
    }
    const char *name = function->rule.name;
    if (has_not && is_kept)
        findings_add(findings, FINDING_BAD, "functions",
                     "%s: %s has %s for itself only, so nobody else can call it, nor can it be reached", name,
                     has_not->name, function->symbol);
    else if (has_not)
        findings_add(findings, FINDING_BAD, "functions", "%s: %s has no function %s%s%s%s", name,
                     has_not->name, function->symbol, *nearest ? " (did you mean " : "", nearest,
                     *nearest ? "?)" : "");
    else if (is_certain)
        findings_add(findings, FINDING_NOTE, "functions",
                     "%s: %s is none of the libraries that it starts with; %s is bound if it loads it later",
                     name, function->library, function->symbol);
    else
        findings_add(findings, FINDING_NOTE, "functions",
                     "%s: no file that it starts with has a function %s; it is bound if one comes later",
                     name, function->symbol);
    free(nearest);
}

/* As programs see it: by the soname, which is what the loader looked for. */
static bool is_of_library(const struct function *function, const struct object *object)
{
    return !function->library || pattern_matches(function->library, object->name);
}

static void say_callers(struct findings *findings, const struct libraries *libraries,
                        const struct function *function, const char *owner)
{
    char *list = copy_of("");
    size_t count = 0;
    for (size_t i = 0; i < libraries->count; i++) {
        const struct object *object = &libraries->objects[i];
        struct symbol symbol = symbol_find(object->is_missing ? "" : object->path, function->symbol);
        if (symbol.is_called && count++ < MANY) {
            char *longer = formatted("%s%s%s", list, *list ? ", " : "", object->name);
            free(list);
            list = longer;
        }
        symbol_end(&symbol);
    }
    if (count > MANY) {
        char *longer = formatted("%s and %zu more", list, count - MANY);
        free(list);
        list = longer;
    }
    if (count)
        findings_add(findings, FINDING_GOOD, "functions", "%s: %s of %s is called by %s", function->rule.name,
                     function->symbol, owner, list);
    else
        findings_add(findings, FINDING_NOTE, "functions",
                     "%s: %s of %s is called by none of its files by name; it is reached where the program "
                     "loads a library that calls it, or asks dlsym for it by a library that it has opened",
                     function->rule.name, function->symbol, owner);
    free(list);
}

/* As the library tries it: memory that was written, else a file of no name. */
static bool has_executable_memory(void)
{
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool has = page != MAP_FAILED && mprotect(page, PAGE_BYTES, PROT_READ | PROT_EXEC) == 0;
    if (page != MAP_FAILED)
        munmap(page, PAGE_BYTES);
    int file = has ? -1 : memfd_create("resil", MFD_CLOEXEC);
    if (file < 0)
        return has;
    page = ftruncate(file, PAGE_BYTES) == 0
               ? mmap(NULL, PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0)
               : MAP_FAILED;
    has = page != MAP_FAILED;
    if (has)
        munmap(page, PAGE_BYTES);
    close(file);
    return has;
}
