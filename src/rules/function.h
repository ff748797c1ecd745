/* Declared functions: what `functions:` says of functions of other people's libraries, and the pure questions about it. */
#ifndef RULES_FUNCTION_H
#define RULES_FUNCTION_H

#include "policy/fault.h"
#include "rules/rules.h"

#define FUNCTIONS_MAX             64 /* in a rule file and those that it includes */
#define FUNCTION_ARGUMENTS_MAX    12
#define FUNCTION_INNER_ARGUMENTS  6 /* of a check or a cleanup */
#define CONDITION_VALUES_MAX      8
#define FUNCTION_TARGET_BYTES_MAX 1024 /* of a text that names a host no more is read */

/* The words for types, in the order of the table in function_types.c. */
enum value_type {
    VALUE_VOID,
    VALUE_BOOL,
    VALUE_CHAR,
    VALUE_SHORT,
    VALUE_INT,
    VALUE_UNSIGNED,
    VALUE_LONG,
    VALUE_UNSIGNED_LONG,
    VALUE_INT8,
    VALUE_INT16,
    VALUE_INT32,
    VALUE_INT64,
    VALUE_UINT8,
    VALUE_UINT16,
    VALUE_UINT32,
    VALUE_UINT64,
    VALUE_SIZE,
    VALUE_SSIZE,
    VALUE_FLOAT,
    VALUE_DOUBLE,
    VALUE_POINTER,
    VALUE_STRING,
    VALUE_TYPES
};
enum value_class { CLASS_VOID, CLASS_SIGNED, CLASS_UNSIGNED, CLASS_FLOATING, CLASS_POINTER };

const char *value_type_name(enum value_type type);
enum value_class value_type_class(enum value_type type);
unsigned value_type_bytes(enum value_type type); /* 0 for void */

/* "int" -> VALUE_INT; VALUE_TYPES when it is none. And all the words, NULL at the end. */
enum value_type value_type_by_name(const char *name);
extern const char *const value_type_names[];

/* What a returned value is compared with. */
struct condition {
    enum {
        CONDITION_NONE,
        CONDITION_ONE_OF,
        CONDITION_NOT,
        CONDITION_BELOW,
        CONDITION_AT_MOST,
        CONDITION_ABOVE,
        CONDITION_AT_LEAST
    } kind;
    uint32_t count; /* more than 1 only for ONE_OF */
    int64_t values[CONDITION_VALUES_MAX];
    enum value_class class; /* of what is compared */
    bool is_null;           /* written so */
};

/* A value is kept in 64 bits: unsigned ones as they are, a float or double as the bits of the double. */
double double_of_bits(int64_t bits);
int64_t bits_of_double(double value);

/* "-7", and "0.25", "1e-3", "inf", "nan", rounded as the type is. False where it is none, or, of a fraction, where it has
 * more than 15 digits or is further than 1e22 from 1, so that it would not be kept exactly. */
bool whole_number_parse(const char *text, int64_t *value);
bool fraction_parse(const char *text, enum value_type type, int64_t *bits);

/* For people: as it would be written in a rule file. */
struct result_text {
    char text[40];
};
struct result_text result_text(enum value_class class, int64_t value);

/* As in C: nan is unlike everything, and neither less nor more. But `nan` holds of it, and "!= nan" of everything else. */
bool condition_holds(const struct condition *condition, int64_t value);

#define INNER_NULL 255 /* a null pointer */

/* Another function of the same library, called with the result or with arguments of the call. */
struct inner_call {
    const char *symbol; /* NULL: none */
    enum value_type returns;
    uint32_t count;
    uint8_t arguments[FUNCTION_INNER_ARGUMENTS]; /* 0: the result, INNER_NULL, else argument number, from 1 */
};

struct function {
    struct rule rule;    /* name, policy and place; matches nothing */
    const char *library; /* shell pattern for the soname; NULL: any library */
    const char *symbol;
    enum value_type returns, arguments[FUNCTION_ARGUMENTS_MAX];
    uint32_t argument_count;
    struct condition fails; /* what it returns when it has failed */
    int errors[CONDITION_VALUES_MAX];
    uint32_t error_count; /* not 0: it has failed only if errno is one of these, too */
    struct inner_call check;
    struct condition check_fails;
    struct inner_call cleanup;
    uint32_t target, port; /* numbers of the arguments that say where it leads to, from 1; 0: none */
    struct {
        bool is_given, is_for_failed; /* ... also to a call that was made and failed */
        int64_t value;
        int error; /* 0: errno stays as it is */
    } fallback;
    struct {
        bool is_given;
        struct fault_params params;
        int64_t value;
        int error;
    } faults;           /* calls that fail on purpose */
    uint64_t signature; /* of symbol, library and types: what a binding is made for */
};

/* Has a call failed that returned `value`? The check is not asked. */
bool function_has_failed(const struct function *function, int64_t value, int error);

/* Host and port out of what programs pass to clients: a URL, a PostgreSQL conninfo, HOST or HOST:PORT; of several hosts
 * the first. The name is in lower case and without brackets; 0 = no port. False: no host is to be seen in it. Nothing
 * else of the text is kept: it may hold a password. */
bool function_target_parse(const char *text, char *host, size_t capacity, uint16_t *port);

/* For people: "null", "< 0", "[1, 5]". */
struct condition_text {
    char text[232];
};
struct condition_text condition_text(const struct condition *condition);

/* "PQconnectdb(string) -> pointer" */
struct function_text {
    char text[232];
};
struct function_text function_text(const struct function *function);

/* "PQstatus(result) -> int"; empty where there is none. */
struct function_text inner_call_text(const struct inner_call *call);

/* Does the pattern LIBRARY:SYMBOL, or SYMBOL, of a command line mean it? */
bool function_is_meant(const struct function *function, const char *library, const char *symbol);

/* Adds warnings: declarations that are legal and are probably not what the function is. */
void functions_lint(const struct ruleset *set, struct problems *problems);

#endif
