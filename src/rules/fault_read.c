/* Reads `faults`: what goes wrong, for whom, and when. */
#include "rules/fault_read.h"

#include <string.h>

#include "rules/units.h"

#define QUOTED(node) quote((node)->text, (node)->length).text
#define DNS_PORT     53u

/* Where they stand in the list of keys. The kinds follow. */
enum field {
    FIELD_NAME,
    FIELD_MATCH,
    FIELD_ON,
    FIELD_PROBABILITY,
    FIELD_NTH,
    FIELD_EVERY,
    FIELD_AFTER,
    FIELD_TIMES,
    FIELD_PER,
    FIELD_CALLER,
    FIELD_SCHEDULE,
    FIELD_EXPIRES,
    FIELD_SEED,
    FIELD_KINDS,
};
_Static_assert(FIELD_KINDS + FAULT_KINDS < FIELDS_MAX, "FIELDS_MAX is too small");

static bool kind_read(struct reader *reader, const struct node *node, const struct node *const *values,
                      struct fault *fault);
static void on_read(struct reader *reader, const struct node *node, struct fault *fault);
static void counts_read(struct reader *reader, const struct node *const *values, struct fault *fault);
static void per_read(struct reader *reader, const struct node *node, struct fault *fault);
static void callers_read(struct reader *reader, const struct node *node, struct fault *fault);
static void schedule_read(struct reader *reader, const struct node *node, struct fault *fault);
static void expires_read(struct reader *reader, const struct node *node, struct fault *fault);
static void seed_read(struct reader *reader, const struct node *node, struct fault *fault);
static void usual_operations(struct fault *fault);

const struct node *fault_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    const char *names[FIELD_KINDS + FAULT_KINDS + 1] = {
        [FIELD_NAME] = "name",
        [FIELD_MATCH] = "match",
        [FIELD_ON] = "on",
        [FIELD_PROBABILITY] = "probability",
        [FIELD_NTH] = "nth",
        [FIELD_EVERY] = "every",
        [FIELD_AFTER] = "after",
        [FIELD_TIMES] = "times",
        [FIELD_PER] = "per",
        [FIELD_CALLER] = "caller",
        [FIELD_SCHEDULE] = "schedule",
        [FIELD_EXPIRES] = "expires",
        [FIELD_SEED] = "seed",
    };
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
        names[FIELD_KINDS + kind] = fault_kinds[kind].name;
    static const char *const unsupported[] = {"reorder", NULL};
    const struct fields fields = {.path = "", .names = names, .unsupported = unsupported};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node,
                 "a fault is a mapping (- name: ..., and below it match: ... and what goes wrong)");
        return NULL;
    }
    uint32_t errors = reader->problems->errors;
    fault->path = reader->path;
    fault->file = reader->file;
    fault->line = node->line;
    fault->column = node->column;
    if (values[FIELD_NAME])
        fault->name = name_read(reader, values[FIELD_NAME], &fault->params.identity);
    else
        COMPLAIN(reader, node, "name: is missing (every fault needs a name of its own)");
    if (values[FIELD_MATCH])
        match_read(reader, values[FIELD_MATCH], &fault->match);
    else
        COMPLAIN(reader, node, "match: is missing (write match: {} for every TCP target)");
    fault->params.probability_ppm = PPM_ONE;
    if (kind_read(reader, node, &values[FIELD_KINDS], fault)) {
        if (values[FIELD_ON])
            on_read(reader, values[FIELD_ON], fault);
        else if (!fault->params.operations)
            usual_operations(fault);
        fault->params.per = fault_kinds[fault->params.kind].per;
    }
    if (values[FIELD_PROBABILITY] &&
        ratio_read(reader, values[FIELD_PROBABILITY], "probability", &fault->params.probability_ppm) &&
        !fault->params.probability_ppm)
        COMPLAIN(reader, values[FIELD_PROBABILITY], "probability: 0%% never fires (leave the fault out)");
    counts_read(reader, values, fault);
    if (values[FIELD_PER])
        per_read(reader, values[FIELD_PER], fault);
    if (values[FIELD_CALLER])
        callers_read(reader, values[FIELD_CALLER], fault);
    if (values[FIELD_SCHEDULE])
        schedule_read(reader, values[FIELD_SCHEDULE], fault);
    if (values[FIELD_EXPIRES])
        expires_read(reader, values[FIELD_EXPIRES], fault);
    if (values[FIELD_SEED])
        seed_read(reader, values[FIELD_SEED], fault);
    if (errors == reader->problems->errors)
        fault_check(reader, node, values[FIELD_ON] ? values[FIELD_ON] : node, fault);
    return fault->name ? values[FIELD_NAME] : NULL;
}

static bool kind_read(struct reader *reader, const struct node *node, const struct node *const *values,
                      struct fault *fault)
{
    unsigned found = FAULT_KINDS;
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
        if (!values[kind])
            continue;
        if (found < FAULT_KINDS) {
            COMPLAIN(reader, values[kind], "%s: %s is there already; a fault is one thing (write two faults)",
                     fault_kinds[kind].name, fault_kinds[found].name);
            return false;
        }
        found = kind;
    }
    if (found == FAULT_KINDS) {
        const char *names[FAULT_KINDS + 1] = {NULL};
        char known[160];
        struct text text = text_begin(known, sizeof known);
        for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
            names[kind] = fault_kinds[kind].name;
        add_names(&text, names);
        COMPLAIN(reader, node, "it does not say what goes wrong (one of: %s)", known);
        return false;
    }
    fault->params.kind = (enum fault_kind)found;
    fault_kind_read(reader, values[found], fault);
    return true;
}

static void on_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    const struct fault_kind_info *kind = &fault_kinds[fault->params.kind];
    struct child single;
    if (fault->params.operations) {
        COMPLAIN(reader, node, "on: %s says it already by its direction", kind->name);
        return;
    }
    for (const struct child *item = list_items(reader, node, "on", &single); item; item = item->next) {
        unsigned operation = 0;
        if (!scalar_text(reader, item->node, "on"))
            continue;
        while (operation < FAULT_OPERATIONS && !node_is(item->node, fault_operation_names[operation]))
            operation++;
        if (operation == FAULT_OPERATIONS)
            COMPLAIN(reader, item->node,
                     "on: %s is no operation (known: connect, send, recv, resolve, accept, socket)",
                     QUOTED(item->node));
        else if (!(kind->possible & FAULT_ON(operation)))
            COMPLAIN(reader, item->node, "on: %s cannot happen to %s", kind->name,
                     fault_operation_names[operation]);
        else
            fault->params.operations |= FAULT_ON(operation);
    }
}

/* Where the kind applies; of an error, the first operation that can have it. */
static void usual_operations(struct fault *fault)
{
    struct fault_params *params = &fault->params;
    static const enum fault_operation order[] = {FAULT_RESOLVE, FAULT_CONNECT, FAULT_RECV,
                                                 FAULT_SEND,    FAULT_ACCEPT,  FAULT_SOCKET};
    params->operations = fault_kinds[params->kind].usual;
    for (unsigned i = 0; !params->operations && i < FAULT_OPERATIONS; i++)
        if (fault_error_is_of(order[i], params->error))
            params->operations = FAULT_ON(order[i]);
    bool has_target = fault->match.host_count || fault->match.prefix_count || fault->match.port_count ||
                      fault->match.path_count;
    if (has_target && params->operations & ~FAULT_ON(FAULT_SOCKET)) /* which has none yet */
        params->operations &= ~FAULT_ON(FAULT_SOCKET);
    /* Names are looked up for host names only, and UNIX sockets have none. */
    if (fault->match.path_count && params->operations & ~FAULT_ON(FAULT_RESOLVE))
        params->operations &= ~FAULT_ON(FAULT_RESOLVE);
}

static void counts_read(struct reader *reader, const struct node *const *values, struct fault *fault)
{
    struct fault_params *params = &fault->params;
    const struct {
        enum field field;
        const char *name;
        uint32_t *count;
    } counts[] = {
        {FIELD_NTH, "nth", &params->nth},
        {FIELD_EVERY, "every", &params->every},
        {FIELD_AFTER, "after", &params->after},
        {FIELD_TIMES, "times", &params->times},
    };
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++)
        if (values[counts[i].field])
            params->has_counts |=
                fault_count_read(reader, values[counts[i].field], counts[i].name, 1, counts[i].count);
    if (values[FIELD_NTH] && values[FIELD_EVERY])
        COMPLAIN(reader, values[FIELD_EVERY],
                 "every: nth says which one it is already (leave one of them out)");
}

bool fault_count_read(struct reader *reader, const struct node *node, const char *path, uint32_t least,
                      uint32_t *count)
{
    const char *text = scalar_text(reader, node, path);
    if (!text)
        return false;
    if (count_parse(text, count) && *count >= least)
        return true;
    COMPLAIN(reader, node, "%s: %s is not a number from %u on", path, QUOTED(node), least);
    return false;
}

static void per_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    unsigned per = 0;
    if (!scalar_text(reader, node, "per"))
        return;
    while (fault_per_names[per] && !node_is(node, fault_per_names[per]))
        per++;
    fault->params.per = (enum fault_per)per;
    if (!fault_per_names[per])
        COMPLAIN(reader, node, "per: %s is nothing to draw for (known: call, exchange, connection, process)",
                 QUOTED(node));
}

static void callers_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    struct child single;
    uint32_t count = 0;
    const struct child *first = list_items(reader, node, "caller", &single);
    for (const struct child *item = first; item; item = item->next)
        count++;
    const char **callers = reader_get(reader, (count + 1) * sizeof *callers);
    for (const struct child *item = first; item && callers; item = item->next) {
        const char *text = scalar_text(reader, item->node, "caller");
        const char *copy = text ? arena_copy(reader->arena, text, item->node->length) : NULL;
        reader->is_out_of_memory |= text && !copy;
        if (copy)
            callers[fault->caller_count++] = copy;
        if (text && strchr(text, '/'))
            COMPLAIN(reader, item->node, "caller: %s is a path; only the file name is compared",
                     QUOTED(item->node));
    }
    fault->callers = callers;
}

static bool time_read(struct reader *reader, const struct node *node, const char *path, uint64_t *ns)
{
    if (!node || !duration_read(reader, node, path, ns))
        return false;
    if (*ns)
        return true;
    COMPLAIN(reader, node, "%s: is no time at all (leave it out)", path);
    return false;
}

static void schedule_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    static const char *const names[] = {"start", "ramp", "flap", "burst", NULL};
    static const char *const flap_names[] = {"on", "off", NULL}, *const burst_names[] = {"length", "every",
                                                                                         NULL};
    const struct fields fields = {.path = "schedule", .names = names};
    const struct fields flap_fields = {.path = "schedule.flap", .names = flap_names};
    const struct fields burst_fields = {.path = "schedule.burst", .names = burst_names};
    const struct node *values[FIELDS_MAX], *parts[FIELDS_MAX];
    struct fault_params *params = &fault->params;
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node, "schedule: needs start, ramp, flap or burst");
        return;
    }
    params->has_schedule = true;
    time_read(reader, values[0], "schedule.start", &params->schedule.start_ns);
    time_read(reader, values[1], "schedule.ramp", &params->schedule.ramp_ns);
    if (values[2] && (!fields_read(reader, values[2], &flap_fields, parts) || !parts[0] || !parts[1]))
        COMPLAIN(reader, values[2], "schedule.flap: needs both (write flap: {on: 5s, off: 10s})");
    else if (values[2]) {
        time_read(reader, parts[0], "schedule.flap.on", &params->schedule.flap_on_ns);
        time_read(reader, parts[1], "schedule.flap.off", &params->schedule.flap_off_ns);
    }
    if (values[3] && (!fields_read(reader, values[3], &burst_fields, parts) || !parts[0] || !parts[1]))
        COMPLAIN(reader, values[3], "schedule.burst: needs both (write burst: {length: 2s, every: 30s})");
    else if (values[3] && time_read(reader, parts[0], "schedule.burst.length", &params->schedule.burst_ns) &&
             time_read(reader, parts[1], "schedule.burst.every", &params->schedule.burst_every_ns) &&
             params->schedule.burst_ns > params->schedule.burst_every_ns)
        COMPLAIN(reader, parts[0], "schedule.burst.length: %s is longer than every, %s", QUOTED(parts[0]),
                 QUOTED(parts[1]));
}

static void expires_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    struct fault_params *params = &fault->params;
    if (!time_read(reader, node, "expires", &params->schedule.expires_ns))
        return;
    params->has_schedule = true;
    if (params->schedule.expires_ns <= params->schedule.start_ns)
        COMPLAIN(reader, node, "expires: %s is over before it starts (schedule.start)", QUOTED(node));
}

static void seed_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    uint32_t seed;
    const char *text = scalar_text(reader, node, "seed");
    if (!text)
        return;
    fault->params.has_seed = count_parse(text, &seed);
    fault->params.seed = seed;
    if (!fault->params.has_seed)
        COMPLAIN(reader, node, "seed: %s is not a whole number of 32 bits", QUOTED(node));
}

static bool is_of_datagrams(enum fault_kind kind)
{
    return kind == FAULT_LOSS || kind == FAULT_DUPLICATE || kind == FAULT_REORDER;
}

static bool is_of_streams(enum fault_kind kind)
{
    return kind == FAULT_RESET || kind == FAULT_SLICE || kind == FAULT_LIMIT_DATA || kind == FAULT_SLOW_CLOSE;
}

void fault_check(struct reader *reader, const struct node *node, const struct node *on,
                 const struct fault *fault)
{
    const struct fault_params *params = &fault->params;
    const struct rule_match *match = &fault->match;
    bool has_target = match->host_count || match->prefix_count || match->port_count || match->path_count;
    uint32_t operations = params->operations;
    for (unsigned operation = 0; params->kind == FAULT_ERROR && operation < FAULT_OPERATIONS; operation++) {
        if (!(operations & FAULT_ON(operation)) ||
            fault_error_is_of((enum fault_operation)operation, params->error))
            continue;
        char known[180];
        struct text text = text_begin(known, sizeof known);
        fault_add_errors_of(&text, (enum fault_operation)operation);
        COMPLAIN(reader, on, "error: %s cannot fail so (known: %s)", fault_operation_names[operation], known);
        return;
    }
    if (params->kind == FAULT_ERROR && !operations) {
        COMPLAIN(reader, on, "error: no call fails with %s", errno_name(params->error));
        return;
    }
    if (operations & FAULT_ON(FAULT_SOCKET) && has_target)
        COMPLAIN(reader, on,
                 "on: socket: a socket that is being made has no target yet, so with this match it never "
                 "fires (match: {}, or program)");
    else if (operations == FAULT_ON(FAULT_RESOLVE) && !match->host_count && has_target)
        COMPLAIN(reader, on,
                 "on: resolve: only names are looked up, so with this match it never fires (match a host)");
    else if (operations & FAULT_ON(FAULT_ACCEPT) && match->host_count && !match->prefix_count)
        COMPLAIN(reader, on,
                 "on: accept: who connects has an address and no name, so with this match it never fires "
                 "(match its address, or the port that is listened on)");
    else if (operations == FAULT_ON(FAULT_ACCEPT) && match->prefix_count)
        COMPLAIN(reader, on,
                 "on: accept: it fails before it is known who connects, so with this match it never fires "
                 "(match the port that is listened on)");
    else if (is_of_datagrams(params->kind) && !(match->protocols & PROTOCOL_BIT(PROTOCOL_UDP)))
        COMPLAIN(reader, node,
                 "%s: only datagrams can be, so with this match it never fires (match: {protocol: udp})",
                 fault_kinds[params->kind].name);
    else if (is_of_streams(params->kind) && match->protocols == PROTOCOL_BIT(PROTOCOL_UDP))
        COMPLAIN(reader, node, "%s: a datagram is whole or not there, so with this match it never fires",
                 fault_kinds[params->kind].name);
    else if (params->per == FAULT_PER_PROCESS && (params->nth > 1 || params->every > 1 || params->after))
        COMPLAIN(reader, node,
                 "per: process: it is drawn once, so there is no later time (leave nth, every, after out)");
}
