/* All faults of a rule file by their names, as they are listed, counted and switched: those of `faults:`, and those that
 * declared functions have of their own, which go by the names of the functions. */
#ifndef RULES_FAULT_NAMES_H
#define RULES_FAULT_NAMES_H

#include "rules/faults.h"
#include "rules/function.h"

struct named_fault {
    const char *name;
    uint64_t identity;
    const char *kind; /* "latency"; a function's is "error" */
    /* One of these; the other is NULL. */
    const struct fault *fault;
    const struct function *function;
};

uint32_t fault_names(const struct ruleset *set); /* how many */
struct named_fault fault_name(const struct ruleset *set, uint32_t number);

/* What it does: "latency: {delay: 300ms}", "PQexec returns null, errno ECONNRESET". */
struct fault_text fault_name_text(const struct named_fault *named);

/* "-1, errno EPIPE": what a call that fails on purpose returns. */
struct fault_text function_fault_text(const struct function *function);

#endif
