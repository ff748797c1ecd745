/* Declarations that are legal and are probably not what the function is. A declaration cannot be compared with the
 * function: a binary does not say which types it was compiled with. */
#include <string.h>

#include "rules/function.h"
#include "rules/problems.h"

/* Well-known functions, for slips in declaring them: p a pointer, s a text, i a whole number, v nothing. */
static const struct {
    const char *symbol, *returns, *arguments;
} known[] = {
    {"PQconnectdb", "p", "s"},
    {"PQconnectdbParams", "p", "ppi"},
    {"PQsetdbLogin", "p", "sssssss"},
    {"PQexec", "p", "ps"},
    {"PQexecParams", "p", "psipppppi"},
    {"PQping", "i", "s"},
    {"PQstatus", "i", "p"},
    {"PQfinish", "v", "p"},
    {"PQclear", "v", "p"},
    {"PQresultStatus", "i", "p"},
    {"curl_easy_perform", "i", "p"},
    {"curl_multi_perform", "i", "pp"},
    {"redisConnect", "p", "si"},
    {"redisReconnect", "i", "p"},
    {"redisFree", "v", "p"},
    {"redisGetReply", "i", "pp"},
    {"SSL_connect", "i", "p"},
    {"SSL_do_handshake", "i", "p"},
    {"SSL_read", "i", "ppi"},
    {"SSL_write", "i", "ppi"},
    {"SSL_get_error", "i", "pi"},
    {"ldap_initialize", "i", "ps"},
    {"ldap_simple_bind_s", "i", "pss"},
    {"ldap_sasl_bind_s", "i", "psspppp"},
};

static void warn(const struct function *function, struct problems *problems, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static char letter_of(enum value_type type);
static void lint_known(const struct function *function, struct problems *problems);
static void lint_results(const struct function *function, struct problems *problems);
static void lint_policy(const struct function *function, struct problems *problems);

void functions_lint(const struct ruleset *set, struct problems *problems)
{
    for (uint32_t i = 0; i < set->function_count; i++) {
        const struct function *function = &set->functions[i];
        lint_known(function, problems);
        lint_results(function, problems);
        lint_policy(function, problems);
        for (uint32_t other = 0; other < i; other++)
            if (strcmp(set->functions[other].symbol, function->symbol) == 0 &&
                (!set->functions[other].library || !function->library ||
                 strcmp(set->functions[other].library, function->library) == 0)) {
                warn(function, problems,
                     "symbol: %s is declared on line %u already, and the first declaration decides",
                     function->symbol, set->functions[other].rule.line);
                break;
            }
    }
}

static void lint_known(const struct function *function, struct problems *problems)
{
    static const char *const words[] = {['p' - 'a'] = "pointer",
                                        ['s' - 'a'] = "string",
                                        ['i' - 'a'] = "int",
                                        ['v' - 'a'] = "void",
                                        ['f' - 'a'] = "double"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].symbol, function->symbol) != 0)
            continue;
        char returns = letter_of(function->returns);
        if (returns != *known[i].returns && !(returns == 's' && *known[i].returns == 'p'))
            warn(function, problems, "returns: %s is declared to return %s; it returns %s: %s",
                 function->symbol, value_type_name(function->returns), words[*known[i].returns - 'a'],
                 *known[i].returns == 'p' ? "half of the pointer would be lost"
                                          : "what is judged would be made up");
        if (strlen(known[i].arguments) != function->argument_count) {
            warn(function, problems, "args: %s has %u arguments, not %u", function->symbol,
                 (unsigned)strlen(known[i].arguments), function->argument_count);
            return;
        }
        for (uint32_t at = 0; at < function->argument_count; at++) {
            char given = letter_of(function->arguments[at]), right = known[i].arguments[at];
            if (given != right && !(given == 'p' && right == 's') && !(given == 's' && right == 'p'))
                warn(function, problems, "args: argument %u of %s is declared as %s; it is a %s", at + 1,
                     function->symbol, value_type_name(function->arguments[at]), words[right - 'a']);
        }
        return;
    }
}

/* A pointer that is declared as a number that is too short for it is the slip that crashes programs. */
static void lint_results(const struct function *function, struct problems *problems)
{
    bool is_pointer = value_type_class(function->returns) == CLASS_POINTER;
    const struct inner_call *calls[] = {&function->check, &function->cleanup};
    static const char *const names[] = {"fails_when.check", "cleanup"};
    for (uint32_t at = 0; at < function->cleanup.count; at++)
        if (function->cleanup.arguments[at] == 0 && !is_pointer)
            warn(function, problems,
                 "returns: what cleanup frees is declared as %s: is it a pointer? (half of it would be lost)",
                 value_type_name(function->returns));
    for (unsigned i = 0; i < 2; i++)
        if (calls[i]->symbol && strcmp(calls[i]->symbol, function->symbol) == 0)
            warn(function, problems, "%s: is the function itself", names[i]);
    if (is_pointer && function->fails.kind == CONDITION_ONE_OF && !function->fails.is_null)
        for (uint32_t i = 0; i < function->fails.count; i++)
            if (function->fails.values[i] > 0)
                warn(function, problems, "fails_when.returns: no pointer is %ld (write null)",
                     (long)function->fails.values[i]);
}

static void lint_policy(const struct function *function, struct problems *problems)
{
    const struct policy *policy = &function->rule.policy;
    bool retries = policy->retry.is_on && policy->retry.max_retries > 0;
    bool is_pointer = value_type_class(function->returns) == CLASS_POINTER;
    if ((retries || function->fallback.is_for_failed) && is_pointer && function->check.symbol &&
        !function->cleanup.symbol)
        warn(function, problems,
             "cleanup: what a failed call returned is lost when it is made again (add cleanup: {symbol: ..., "
             "args: [result]})");
    if (retries && policy->retry.backoff.base_delay_ns == 0)
        warn(function, problems,
             "retry.base_delay: without a delay, all retries fall into the same outage (write 50ms)");
    if (policy->breaker.is_on && policy->breaker.params.failure_threshold == 0 &&
        policy->breaker.params.failure_ratio_ppm == 0)
        warn(function, problems, "breaker: neither failure_threshold nor failure_rate can open it");
    if (policy->enforce_ppm == 0)
        warn(function, problems, "enforce: at 0%% nothing is changed, only recorded");
    if (function->fallback.is_given && policy->breaker.is_on && !function->fallback.is_for_failed &&
        (function->fails.kind != CONDITION_NONE && !function->check.symbol) &&
        !condition_holds(&function->fails, function->fallback.value) && function->returns != VALUE_VOID)
        warn(function, problems,
             "default.returns: the program takes this for a success (if that is meant, all is well: every "
             "such answer is recorded)");
}

static char letter_of(enum value_type type)
{
    if (type == VALUE_STRING)
        return 's';
    switch (value_type_class(type)) {
    case CLASS_VOID:
        return 'v';
    case CLASS_FLOATING:
        return 'f';
    case CLASS_POINTER:
        return 'p';
    case CLASS_SIGNED:
    case CLASS_UNSIGNED:
        break;
    }
    return 'i';
}

static void warn(const struct function *function, struct problems *problems, const char *format, ...)
{
    char buffer[232];
    struct text text = text_begin(buffer, sizeof buffer);
    va_list arguments;
    va_start(arguments, format);
    text_add_list(&text, format, arguments);
    va_end(arguments);
    problems->now.path = function->rule.file ? function->rule.path : NULL;
    problems->now.file = function->rule.file;
    problem_add(problems, PROBLEM_WARNING, function->rule.line, function->rule.column, "%s", buffer);
    problems->now.path = NULL;
    problems->now.file = 0;
}
