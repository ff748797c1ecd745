/* Faults as rule files say them: what goes wrong on purpose (policy/fault.h), and for whom. */
#ifndef RULES_FAULTS_H
#define RULES_FAULTS_H

#include "policy/fault.h"
#include "rules/rules.h"

struct fault {
    const char *name;
    struct rule_match match;
    struct fault_params params;
    const char *const
        *callers; /* shell patterns for the library, or names of functions, that make the call */
    uint32_t caller_count;
    const char *path; /* of the file that it stands in */
    uint32_t file;    /* as in struct rule */
    uint32_t line, column;
};

/* A kind of fault: what it may happen to, and does unless the file says otherwise. */
struct fault_kind_info {
    const char *name;
    uint32_t possible, usual; /* masks of FAULT_ON */
    enum fault_per per;       /* unless the file says otherwise */
    const char *help;
};
extern const struct fault_kind_info fault_kinds[FAULT_KINDS];
extern const char *const fault_operation_names[]; /* NULL at the end, as are these */
extern const char *const fault_per_names[];
extern const char *const fault_distribution_names[];

/* Does it happen to calls about that target? A socket that is only being made, and a connection that is taken, has none
 * (NULL): then only what names no target does. */
bool fault_matches(const struct fault *fault, const struct target *target, const char *program);

/* May it happen to calls about some target of that protocol? */
bool fault_may_match(const struct fault *fault, enum protocol protocol, const char *program);

/* The codes of failed lookups by name, as errno_by_name; 0 when unknown. And back; NULL when unknown. */
int eai_by_name(const char *name);
const char *eai_name(int code);

/* Adds warnings, as ruleset_lint does, which calls it. */
void faults_lint(const struct ruleset *set, struct problems *problems);

/* May that operation fail with this errno (or code of a lookup)? */
bool fault_error_is_of(enum fault_operation operation, int error);

/* What the fault does, as it could stand in a rule file: "latency: {delay: 300ms, jitter: 50ms}". */
struct fault_text {
    char text[200];
};
struct fault_text fault_text(const struct fault *fault);

#endif
