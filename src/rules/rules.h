/* The rule set: what a rule file says, checked and ready to be asked.
 *
 * Text is read once, into memory of its own; after that a rule set never changes and may be read by any thread and any
 * signal handler. Pure: a rule set knows nothing of descriptors, sockets or the program it is loaded into. */
#ifndef RULES_RULES_H
#define RULES_RULES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/backoff.h"
#include "policy/breaker.h"
#include "policy/budget.h"
#include "policy/ladder.h"
#include "policy/outcome.h"
#include "policy/prefix.h"
#include "rules/address.h"

#define RETRY_ON_ALL                                                                                         \
    (OUTCOME_BIT(OUTCOME_REFUSED) | OUTCOME_BIT(OUTCOME_TIMEOUT) | OUTCOME_BIT(OUTCOME_UNREACHABLE) |        \
     OUTCOME_BIT(OUTCOME_RESET) | OUTCOME_BIT(OUTCOME_RESOLVE))

enum scope { SCOPE_CONNECT, SCOPE_EXCHANGE };

enum addresses { ADDRESSES_SIBLINGS, ADDRESSES_SAME };

/* Where a rule falls back to. */
struct fallback {
    const char *name;       /* in its normal form; NULL: it is an address */
    struct address address; /* unless there is a name */
    uint16_t port;          /* 0: the one that was asked for */
};

/* What somebody has told a stand-in to say. */
struct canned {
    const char *bytes;
    uint32_t length;
};

/* The ladder of a rule: rules/degrade.c. What belongs to one rung has its number. */
struct ladder {
    struct ladder_shape shape;
    struct rung {
        uint32_t line, column;
        const struct fallback *hosts; /* HOST: as many as its shape has choices */
        uint64_t stick_ns;  /* HOST: new connections stay with it at least for so long; 0: not at all */
        bool presents_real; /* HOST: getpeername tells where the connection leads, not what was asked for */
        struct stale_params stale;       /* STALE */
        const struct address *addresses; /* ADDRESSES */
        uint32_t address_count;
        struct canned canned; /* RESPOND */
        uint64_t delay_ns;    /* RESPOND: how long connecting seems to take */
        bool awaits_request;  /* RESPOND: it answers requests, else it speaks at once */
        bool hangs_up;        /* RESPOND: and the connection ends with the answer */
        const char *file;     /* RESPOND: where the bytes are from; NULL: the rule itself */
    } rungs[LADDER_RUNGS_MAX];
    uint64_t hash; /* of all that it says */
};

/* The name of the next fallback host that has one, from number `*at` of its hosts on. NULL: there are no more. */
const char *ladder_next_host_name(const struct ladder *ladder, uint32_t *at);

/* The values in force for a target. 0 ns = no such timeout. */
struct policy {
    struct {
        uint64_t resolve_ns, connect_ns, response_ns, recv_ns, send_ns, total_ns;
    } timeout;
    struct {
        bool is_on;
        uint32_t max_retries;
        uint32_t retry_on; /* mask of OUTCOME_BIT */
        enum addresses addresses;
        struct backoff_params backoff;
        struct budget_params budget; /* window_ns 0 = `budget: off` */
    } retry;
    struct {
        bool is_on;
        struct breaker_params params; /* lease_ns is made of the timeouts: connect + response + 1 s */
        enum scope scope;
        int error;
        struct failure_prefixes failure_prefixes; /* judged only where timeout.response is set */
    } breaker;
    struct { /* of one process */
        bool is_on;
        uint32_t connections; /* 0 = as many as it likes */
        uint32_t rate_per_s;  /* 0 = as often as it likes */
        uint64_t wait_ns;     /* 0 = not at all */
        int error;
    } limit;
    const struct ladder *ladder; /* NULL: calls that fail have failed */
    uint64_t patience_ns;        /* stated by the caller, read only by `resil check`; 0 = not stated */
    uint32_t enforce_ppm; /* share of the calls for which decisions are carried out; PPM_ONE unless set */
};

/* Where a value comes from. */
enum source { SOURCE_OFF, SOURCE_FIGURE, SOURCE_DEFAULTS, SOURCE_RULE };
struct origin {
    uint32_t line;
    uint16_t column;
    uint8_t source;
};

/* Host patterns: "payments.internal", "*.pay.example.com" (any name below), "*" (any name). Lower case, no dot at
 * the end. Literal addresses become prefixes. */
struct host_pattern {
    const char *name; /* without the leading "*." for a suffix; empty for "*" */
    uint16_t length;
    bool is_suffix;
    uint32_t line;
};
struct port_range {
    uint16_t first, last;
};

/* What carries a target's bytes. TCP is 0, so that a target is for TCP unless somebody says otherwise. */
enum protocol { PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_UNIX };
#define PROTOCOL_BIT(protocol) (1u << (protocol))

struct rule_match {
    const struct host_pattern *hosts;
    const struct prefix *prefixes; /* of `address:`, and the literal addresses of `host:` */
    const struct port_range *ports;
    const char *const *programs; /* shell patterns for the program's file name */
    const char *const *paths;    /* of `unix:`: shell patterns for the path; a star stands for slashes too */
    uint32_t host_count, prefix_count, port_count, program_count, path_count;
    uint32_t protocols; /* mask of PROTOCOL_BIT; only UNIX where there are paths, else without UNIX */
};

struct guard;
struct rule {
    const char *name;
    struct rule_match match;
    struct policy policy;
    uint64_t identity;            /* hash of the rule's name: half of a breaker's key */
    uint64_t breaker_params_hash; /* processes share a breaker only if these agree */
    const struct origin *origins; /* one for each key of the table; NULL unless LOAD_ORIGINS */
    struct origin enforce_origin;
    const struct guard
        *guard;       /* what its connections are kept under: state/descriptors.h finds it once, atomically */
    const char *path; /* of the file that it stands in, maybe an included one */
    uint32_t file;    /* its place in the order of reading; 0 = the rule file itself */
    uint32_t line, column;
};

#define FALLBACK_NAMES_MAX 256u

struct ruleset {
    const char *path;         /* as given; "built-in" for the embedded default */
    const char *const *files; /* path, and those that it includes */
    uint32_t file_count;
    const struct rule *rules;
    uint32_t rule_count;
    const struct function *functions; /* rules/function.h */
    uint32_t function_count;
    uint64_t hash;              /* of the whole text, that of included files too */
    bool is_any_host;           /* some rule asks for names, so lookups are worth remembering */
    uint32_t protocols;         /* that some rule is for: mask of PROTOCOL_BIT */
    const struct fault *faults; /* rules/faults.h; in the order of the file, and they all apply */
    uint32_t fault_count;
    uint32_t fault_protocols; /* as `protocols`, of the faults */
    /* Fallback hosts that have names, each once; no more than can be remembered. */
    const struct fallback_name {
        const char *name;
        uint64_t resolve_ns; /* how long looking it up may take; 0 = as long as it takes */
    } * fallback_names;
    uint32_t fallback_name_count;
    struct arena *arena;
    const struct index *index; /* what ruleset_find asks */
    /* What was asked for of late: state/recent.c keeps it here, atomically. All zeros at first. */
#define RULES_RECENT 8u
    uint64_t recent[RULES_RECENT][8];
};

/* What is wrong with a rule file, or worth a second look. */
enum problem_kind { PROBLEM_ERROR, PROBLEM_WARNING };
struct problem {
    enum problem_kind kind;
    uint32_t line, column; /* from 1; 0 where the file as a whole is meant */
    uint32_t file;         /* as in struct rule */
    char path[120];        /* of an included file; empty for the rule file itself */
    char text[232];        /* what, and how to mend it; without place */
};
#define PROBLEMS_MAX 20
struct problems {
    struct problem items[PROBLEMS_MAX];
    uint32_t count;  /* kept */
    uint32_t errors; /* seen, kept or not */
    uint32_t warnings;
    struct {
        const char *path;
        uint32_t file;
    } now; /* while they are collected: what problems are about; NULL and 0 for the rule file itself */
};

#define RULES_SIZE_MAX       (4u << 20)
#define RULES_FILES_MAX      64 /* included, all together */
#define RULES_FILE_DEPTH_MAX 8
#define LOAD_ORIGINS         1u /* keep where each value comes from */

/* Reads a rule file. NULL when it has errors or cannot be read; `problems`, which begins afresh, then has at least one
 * error. Only regular
 * files of at most RULES_SIZE_MAX that nobody but root and the user can write are read. Never blocks on a FIFO.
 *
 * Files under `include:` are read first, each a rule file of its own with its own defaults: their rules come before
 * those of the file that includes them. Their paths are relative to that file. */
struct ruleset *ruleset_load(const char *path, unsigned flags, struct problems *problems);

/* The text of a rule file, for later, when the file may be out of reach. NULL: it cannot be read, or it may need others
 * (include, respond), which are known only once it is understood, or declare functions, which have to be bound before they are
 * called. */
struct rules_copy;
struct rules_copy *ruleset_copy(const char *path);

/* Reads a rule file, or takes over the copy of it if that is not NULL. `sources`, which the caller has emptied, gets the
 * files that were looked at, whether they are good or not; NULL: nobody asks. */
struct sources;
struct ruleset *ruleset_load_from(const char *path, struct rules_copy *copy, struct problems *problems,
                                  struct sources *sources);

/* The same from text, which cannot include files; `path` is what messages call it. */
struct ruleset *ruleset_parse(const char *text, size_t size, const char *path, unsigned flags,
                              struct problems *problems);

/* The embedded rules/default.yaml. */
struct ruleset *ruleset_builtin(unsigned flags, struct problems *problems);

void ruleset_free(struct ruleset *set);

/* What a call is about. A lookup serves whatever is connected afterwards: it asks as TCP does. */
struct target {
    const char *name;       /* lower case, no dot at the end; NULL when unknown */
    struct address address; /* meaningful only if has_address */
    bool has_address;
    uint16_t port; /* 0 = not known yet: matches any */
    enum protocol protocol;
    const char *path; /* of a UNIX socket, an abstract one with a leading @; NULL unless PROTOCOL_UNIX */
};

/* The first rule that matches, top to bottom; NULL when none does. `program` is the program's file name.
 * A rule matches when the target is one of its hosts or addresses (or it names neither), its port is among the ports
 * (or it names none), and the program too. UNIX sockets get only rules that name their path, UDP only rules that name
 * that protocol. */
const struct rule *ruleset_find(const struct ruleset *set, const struct target *target, const char *program);

/* Why a rule matches, for people: "host \"*.example.com\"", "address 10.0.0.0/8", "every target". */
struct match_text {
    char text[300];
};
struct match_text rule_match_text(const struct rule *rule, const struct target *target);

/* The keys of keys.def, in its order. */
struct key_info {
    const char *section; /* "retry.budget" */
    const char *key;     /* "ratio" */
    const char *help;
};
extern const struct key_info key_table[];
extern const uint32_t key_count;

/* The value of key number `key` as it would be written in a rule file: "5s", "off", "20%", "full". */
struct value_text {
    char text[1200]; /* eight prefixes of escapes only */
};
struct value_text policy_value_text(const struct policy *policy, uint32_t key);

/* Is the section of that key switched on? */
bool policy_section_is_on(const struct policy *policy, uint32_t key);

/* The longest one connect call under this policy can take; NEVER when nothing bounds it. */
uint64_t policy_worst_case_ns(const struct policy *policy);

/* Adds warnings: values that are legal and will disappoint. */
void ruleset_lint(const struct ruleset *set, struct problems *problems);

/* ECONNREFUSED for "ECONNREFUSED"; 0 when unknown. And back; NULL when unknown. */
int errno_by_name(const char *name);
const char *errno_name(int error);

#endif
