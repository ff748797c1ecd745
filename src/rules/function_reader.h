/* Inside the reader of `functions:`. */
#ifndef RULES_FUNCTION_READER_H
#define RULES_FUNCTION_READER_H

#include "rules/function.h"
#include "rules/reader.h"

/* The keys of a declaration, in the order in which their nodes are given. */
enum {
    FUNCTION_NAME,
    FUNCTION_LIBRARY,
    FUNCTION_SYMBOL,
    FUNCTION_RETURNS,
    FUNCTION_ARGUMENTS,
    FUNCTION_FAILS_WHEN,
    FUNCTION_CLEANUP,
    FUNCTION_TARGET,
    FUNCTION_RETRY,
    FUNCTION_BREAKER,
    FUNCTION_LIMIT,
    FUNCTION_ENFORCE,
    FUNCTION_DEFAULT,
    FUNCTION_TIMEOUT,
    FUNCTION_FAULTS,
};

/* Its sections and its default, and whether all of it makes sense together. */
void function_policy_read(struct reader *reader, const struct node *node, const struct node *const *values,
                          struct function *function);

/* Why a function of that name is not wrapped, whatever is declared; NULL: it may be. */
const char *function_refused(const char *symbol);

/* The name of a function; NULL after a complaint. */
const char *symbol_read(struct reader *reader, const struct node *node, const char *path);

/* "arg 3" -> 3 */
bool argument_number(const char *text, uint32_t *number);

/* A value of that type as it is written: a number, or null. */
bool value_of_result(struct reader *reader, const struct node *node, const char *path, enum value_type type,
                     int64_t *value);

/* What is below fails_when and cleanup. The function's types have been read. */
void fails_when_read(struct reader *reader, const struct node *node, struct function *function);
/* What is below faults; when a call fails is known by then. */
void function_faults_read(struct reader *reader, const struct node *node, struct function *function);

void cleanup_read(struct reader *reader, const struct node *node, struct function *function);

#endif
