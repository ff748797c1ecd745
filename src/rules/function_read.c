/* Reads `functions:`. */
#include <string.h>

#include "base/hash.h"
#include "rules/function_reader.h"

#define QUOTED(node) quote((node)->text, (node)->length).text

static void function_read(struct reader *reader, const struct node *node, struct function *function);
static void wrapped_read(struct reader *reader, const struct node *node, struct function *function);
static void types_read(struct reader *reader, const struct node *const *values, const struct node *node,
                       struct function *function);
static bool type_read(struct reader *reader, const struct node *node, const char *path,
                      enum value_type *type);
static void target_read(struct reader *reader, const struct node *node, struct function *function);
static bool argument_read(struct reader *reader, const struct node *node, const char *path,
                          const struct function *function, uint32_t *number);
static uint64_t signature_of(const struct function *function);

/* The functions of one file, until all of them are read. */
struct function_list {
    struct function_list *next;
    struct function function;
    const struct node *name;
};

void functions_read(struct reader *reader, const struct node *node)
{
    if (node_is_null(node))
        return;
    if (node->kind != NODE_SEQUENCE) {
        COMPLAIN(reader, node, "functions: must be a list (- name: ...)");
        return;
    }
    for (const struct child *child = node->children; child; child = child->next) {
        if (reader->function_count == FUNCTIONS_MAX) {
            COMPLAIN(reader, child->node, "functions: more than %u", FUNCTIONS_MAX);
            return;
        }
        struct function_list *item = arena_get(reader->scratch, sizeof *item);
        if (!item) {
            reader->is_out_of_memory = true;
            return;
        }
        function_read(reader, child->node, &item->function);
        struct function_list **end = &reader->functions;
        while (*end)
            end = &(*end)->next;
        *end = item;
        reader->function_count++;
    }
}

void functions_join(struct reader *reader, struct ruleset *set)
{
    struct function *functions =
        reader->function_count ? reader_get(reader, reader->function_count * sizeof *functions) : NULL;
    if (!functions)
        return;
    uint32_t count = 0;
    for (const struct function_list *item = reader->functions; item; item = item->next) {
        const struct rule *rule = &item->function.rule;
        const struct rule *twin = NULL;
        for (uint32_t i = 0; i < count && rule->name && !twin; i++)
            if (functions[i].rule.name && strcmp(functions[i].rule.name, rule->name) == 0)
                twin = &functions[i].rule;
        for (uint32_t i = 0; i < set->rule_count && rule->name && !twin; i++)
            if (set->rules[i].name && strcmp(set->rules[i].name, rule->name) == 0)
                twin = &set->rules[i];
        if (twin)
            problem_add(reader->problems, PROBLEM_ERROR, rule->line, rule->column,
                        "name: what is on line %u%s%s is called \"%s\" too", twin->line,
                        twin->file != rule->file ? " of " : "", twin->file != rule->file ? twin->path : "",
                        rule->name);
        functions[count++] = item->function;
    }
    set->functions = functions;
    set->function_count = count;
}

static void function_read(struct reader *reader, const struct node *node, struct function *function)
{
    static const char *const names[] = {[FUNCTION_NAME] = "name",       [FUNCTION_LIBRARY] = "library",
                                        [FUNCTION_SYMBOL] = "symbol",   [FUNCTION_RETURNS] = "returns",
                                        [FUNCTION_ARGUMENTS] = "args",  [FUNCTION_FAILS_WHEN] = "fails_when",
                                        [FUNCTION_CLEANUP] = "cleanup", [FUNCTION_TARGET] = "target",
                                        [FUNCTION_RETRY] = "retry",     [FUNCTION_BREAKER] = "breaker",
                                        [FUNCTION_LIMIT] = "limit",     [FUNCTION_ENFORCE] = "enforce",
                                        [FUNCTION_DEFAULT] = "default", [FUNCTION_TIMEOUT] = "timeout",
                                        [FUNCTION_FAULTS] = "faults",   NULL};
    static const char *const unsupported[] = {"degrade", "fallback", "patience", NULL};
    const struct fields fields = {.path = "", .names = names, .unsupported = unsupported};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node, "a function is a mapping (- name: ..., and below it symbol: ...)");
        return;
    }
    struct rule *rule = &function->rule;
    rule->path = reader->path;
    rule->file = reader->file;
    rule->line = node->line;
    rule->column = node->column;
    if (values[FUNCTION_NAME])
        rule->name = name_read(reader, values[FUNCTION_NAME], &rule->identity);
    else
        COMPLAIN(reader, node, "name: is missing (every function needs a name of its own)");
    if (values[FUNCTION_LIBRARY]) {
        const char *library = scalar_text(reader, values[FUNCTION_LIBRARY], "library");
        if (library && strchr(library, '/'))
            COMPLAIN(reader, values[FUNCTION_LIBRARY],
                     "library: %s has a slash in it (write the soname: libpq.so.5, libcurl*.so.4)",
                     QUOTED(values[FUNCTION_LIBRARY]));
        else if (library)
            function->library = reader_text(reader, library);
    }
    if (values[FUNCTION_SYMBOL])
        wrapped_read(reader, values[FUNCTION_SYMBOL], function);
    else
        COMPLAIN(reader, node, "symbol: is missing (the name of the function)");
    types_read(reader, values, node, function);
    if (values[FUNCTION_TIMEOUT])
        COMPLAIN(reader, values[FUNCTION_TIMEOUT],
                 "timeout: cannot be had for a function: there is no safe way to stop somebody else's code "
                 "in the middle "
                 "(bound what it connects to by a rule)");
    if (values[FUNCTION_FAILS_WHEN])
        fails_when_read(reader, values[FUNCTION_FAILS_WHEN], function);
    else
        COMPLAIN(reader, node,
                 "fails_when: is missing (what it returns when it has failed: fails_when: {returns: null})");
    if (values[FUNCTION_CLEANUP])
        cleanup_read(reader, values[FUNCTION_CLEANUP], function);
    if (values[FUNCTION_TARGET])
        target_read(reader, values[FUNCTION_TARGET], function);
    function_policy_read(reader, node, values, function);
    function->signature = signature_of(function);
}

static void wrapped_read(struct reader *reader, const struct node *node, struct function *function)
{
    function->symbol = symbol_read(reader, node, "symbol");
    const char *refused = function->symbol ? function_refused(function->symbol) : NULL;
    if (refused)
        COMPLAIN(reader, node, "symbol: %s cannot be wrapped: %s", function->symbol, refused);
}

static void types_read(struct reader *reader, const struct node *const *values, const struct node *node,
                       struct function *function)
{
    struct child single;
    if (!values[FUNCTION_RETURNS])
        COMPLAIN(reader, node, "returns: is missing (a type: int, pointer, void)");
    else if (!type_read(reader, values[FUNCTION_RETURNS], "returns", &function->returns))
        function->returns = VALUE_INT;
    if (!values[FUNCTION_ARGUMENTS]) {
        COMPLAIN(reader, node, "args: is missing (the types of its arguments: [string, int]; [] for none)");
        return;
    }
    if (values[FUNCTION_ARGUMENTS]->kind == NODE_SEQUENCE && !values[FUNCTION_ARGUMENTS]->children)
        return;
    for (const struct child *item = list_items(reader, values[FUNCTION_ARGUMENTS], "args", &single); item;
         item = item->next) {
        enum value_type type;
        if (function->argument_count == FUNCTION_ARGUMENTS_MAX) {
            COMPLAIN(reader, item->node, "args: more than %u", FUNCTION_ARGUMENTS_MAX);
            return;
        }
        if (node_is(item->node, "...") || node_is(item->node, "va_list")) {
            COMPLAIN(reader, item->node,
                     "args: a function with a variable number of arguments cannot be wrapped (nobody knows "
                     "what was passed)");
            return;
        }
        if (!type_read(reader, item->node, "args", &type))
            continue;
        if (type == VALUE_VOID)
            COMPLAIN(reader, item->node, "args: void is no argument (write args: [] for none)");
        else
            function->arguments[function->argument_count++] = type;
    }
}

static bool type_read(struct reader *reader, const struct node *node, const char *path, enum value_type *type)
{
    const char *word = scalar_text(reader, node, path);
    if (!word)
        return false;
    *type = value_type_by_name(word);
    if (*type < VALUE_TYPES)
        return true;
    const char *nearest = strchr(word, '*') ? "pointer" : nearest_name(word, value_type_names);
    if (nearest)
        COMPLAIN(reader, node, "%s: %s is no type (did you mean %s?)", path, QUOTED(node), nearest);
    else
        COMPLAIN(reader, node,
                 "%s: %s is no type (int, unsigned, long, ulong, size_t, int8 to uint64, float, double, "
                 "bool, pointer, string; "
                 "structures by value cannot be had)",
                 path, QUOTED(node));
    return false;
}

static void target_read(struct reader *reader, const struct node *node, struct function *function)
{
    struct child single;
    uint32_t numbers[2] = {0, 0}, count = 0;
    for (const struct child *item = list_items(reader, node, "target", &single); item;
         item = item->next, count++) {
        if (count == 2) {
            COMPLAIN(reader, item->node, "target: is one argument, or two (the host's and the port's)");
            return;
        }
        if (!argument_read(reader, item->node, "target", function, &numbers[count]))
            return;
        enum value_type type = function->arguments[numbers[count] - 1];
        enum value_class class = value_type_class(type);
        if (count == 0 && type != VALUE_STRING) {
            COMPLAIN(reader, item->node,
                     "target: argument %u is declared as %s, and only a string can name a host", numbers[0],
                     value_type_name(type));
            return;
        }
        if (count == 1 && class != CLASS_SIGNED && class != CLASS_UNSIGNED) {
            COMPLAIN(reader, item->node,
                     "target: argument %u is declared as %s, and only a whole number can be a port",
                     numbers[1], value_type_name(type));
            return;
        }
    }
    function->target = numbers[0];
    function->port = numbers[1];
}

/* "arg 1" */
static bool argument_read(struct reader *reader, const struct node *node, const char *path,
                          const struct function *function, uint32_t *number)
{
    const char *text = scalar_text(reader, node, path);
    if (!text)
        return false;
    if (argument_number(text, number)) {
        if (*number >= 1 && *number <= function->argument_count)
            return true;
        COMPLAIN(reader, node, "%s: %s: it has %u argument%s", path, QUOTED(node), function->argument_count,
                 function->argument_count == 1 ? "" : "s");
        return false;
    }
    COMPLAIN(reader, node, "%s: %s is no argument (write arg 1 for the first)", path, QUOTED(node));
    return false;
}

/* All that a binding is made of. */
static uint64_t signature_of(const struct function *function)
{
    const char *const texts[] = {function->symbol, function->library, function->check.symbol,
                                 function->cleanup.symbol};
    uint64_t hash = function->returns;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        hash = hash_bytes(texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) + 1 : 0, hash);
    hash = hash_bytes(function->arguments, function->argument_count * sizeof *function->arguments, hash);
    hash = hash_bytes(function->check.arguments, function->check.count, hash ^ function->check.returns);
    return hash_bytes(function->cleanup.arguments, function->cleanup.count, hash);
}
