/* The kinds of faults, and what each is made of. */
#include <string.h>

#include "rules/fault_read.h"
#include "rules/units.h"
#include "rules/values.h"

#define CONNECT FAULT_ON(FAULT_CONNECT)
#define SEND    FAULT_ON(FAULT_SEND)
#define RECV    FAULT_ON(FAULT_RECV)
#define RESOLVE FAULT_ON(FAULT_RESOLVE)
#define ACCEPT  FAULT_ON(FAULT_ACCEPT)
#define SOCKET  FAULT_ON(FAULT_SOCKET)

#define QUOTED(node) quote((node)->text, (node)->length).text
#define DELAY_MAX_NS (24 * 3600ull * 1000000000)
#define BYTES_MAX    (UINT64_C(1) << 50)
#define HOLD_NS      UINT64_C(10000000) /* long enough for what was sent right behind it */
#define BURST_PER_S  10u                /* a burst nobody asked for is worth 100 ms of the rate */
#define BURST_LEAST  1500u

const struct fault_kind_info fault_kinds[FAULT_KINDS] = {
    [FAULT_ERROR] = {"error", CONNECT | SEND | RECV | RESOLVE | ACCEPT | SOCKET, 0, FAULT_PER_CALL,
                     "the call fails at once with that errno or EAI code"},
    [FAULT_LATENCY] = {"latency", CONNECT | SEND | RECV | RESOLVE | ACCEPT, CONNECT | RECV | RESOLVE,
                       FAULT_PER_EXCHANGE, "it takes longer"},
    [FAULT_TIMEOUT] = {"timeout", CONNECT | SEND | RECV | RESOLVE, CONNECT | RECV | RESOLVE,
                       FAULT_PER_CONNECTION, "no answer ever comes"},
    [FAULT_RESET] = {"reset", SEND | RECV, RECV, FAULT_PER_CONNECTION, "the connection is broken off"},
    [FAULT_BANDWIDTH] = {"bandwidth", SEND | RECV, SEND | RECV, FAULT_PER_CONNECTION,
                         "no more than so many bytes a second, each way"},
    [FAULT_SLICE] = {"slice", SEND | RECV, SEND | RECV, FAULT_PER_CONNECTION, "few bytes at a time"},
    [FAULT_LIMIT_DATA] = {"limit_data", SEND | RECV, RECV, FAULT_PER_CONNECTION,
                          "the connection ends after so many bytes"},
    [FAULT_SLOW_CLOSE] = {"slow_close", RECV, RECV, FAULT_PER_CONNECTION, "its end comes late"},
    [FAULT_CORRUPT] = {"corrupt", SEND | RECV, RECV, FAULT_PER_CONNECTION,
                       "that share of the bytes has a bit flipped"},
    [FAULT_LOSS] = {"loss", SEND | RECV, SEND | RECV, FAULT_PER_CALL, "that share of the datagrams is lost"},
    [FAULT_DUPLICATE] = {"duplicate", SEND | RECV, RECV, FAULT_PER_CALL,
                         "that share of the datagrams comes twice"},
    [FAULT_INTERRUPT] = {"interrupt", SEND | RECV | ACCEPT, RECV, FAULT_PER_CALL,
                         "the call fails with EINTR, as by a signal"},
    [FAULT_EXHAUST] = {"exhaust", ACCEPT | SOCKET, ACCEPT | SOCKET, FAULT_PER_CALL,
                       "no descriptor is left: EMFILE"},
    [FAULT_ADDRESS] = {"address", RESOLVE, RESOLVE, FAULT_PER_CALL, "a lookup gives that address"},
    [FAULT_REORDER] = {"reorder", RECV, RECV, FAULT_PER_CALL,
                       "that share of the datagrams comes after later ones"},
};

const char *const fault_operation_names[] = {
    [FAULT_CONNECT] = "connect",
    [FAULT_SEND] = "send",
    [FAULT_RECV] = "recv",
    [FAULT_RESOLVE] = "resolve",
    [FAULT_ACCEPT] = "accept",
    [FAULT_SOCKET] = "socket",
    NULL,
};
const char *const fault_per_names[] = {
    [FAULT_PER_CALL] = "call",
    [FAULT_PER_EXCHANGE] = "exchange",
    [FAULT_PER_CONNECTION] = "connection",
    [FAULT_PER_PROCESS] = "process",
    NULL,
};
const char *const fault_distribution_names[] = {
    [FAULT_UNIFORM] = "uniform",
    [FAULT_NORMAL] = "normal",
    [FAULT_PARETO] = "pareto",
    NULL,
};

static void error_read(struct reader *reader, const struct node *node, struct fault *fault);
static void latency_read(struct reader *reader, const struct node *node, struct fault *fault);
static void reset_read(struct reader *reader, const struct node *node, struct fault *fault);
static void bandwidth_read(struct reader *reader, const struct node *node, struct fault *fault);
static void slice_read(struct reader *reader, const struct node *node, struct fault *fault);
static void one_read(struct reader *reader, const struct node *node, const char *path, const char *name,
                     bool (*read)(struct reader *, const struct node *, const char *, uint64_t *),
                     uint64_t *value);
static bool share_read(struct reader *reader, const struct node *node, const char *path, uint32_t *ratio_ppm);
static void loss_read(struct reader *reader, const struct node *node, struct fault *fault);
static void reorder_read(struct reader *reader, const struct node *node, struct fault *fault);
static void address_read(struct reader *reader, const struct node *node, struct fault *fault);
static bool parts_read(struct reader *reader, const struct node *node, const char *path,
                       const char *const *names, const struct node *values[FIELDS_MAX]);
static bool delay_read(struct reader *reader, const struct node *node, const char *path, uint64_t *ns);
static bool bytes_read(struct reader *reader, const struct node *node, const char *path, uint64_t *bytes);
static bool rate_read(struct reader *reader, const struct node *node, const char *path,
                      uint64_t *bytes_per_s);

void fault_kind_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    static const char *const nothing[] = {NULL};
    const struct node *values[FIELDS_MAX];
    switch (fault->params.kind) {
    case FAULT_ERROR:
        error_read(reader, node, fault);
        break;
    case FAULT_LATENCY:
        latency_read(reader, node, fault);
        break;
    case FAULT_RESET:
        reset_read(reader, node, fault);
        break;
    case FAULT_BANDWIDTH:
        bandwidth_read(reader, node, fault);
        break;
    case FAULT_SLICE:
        slice_read(reader, node, fault);
        break;
    case FAULT_LIMIT_DATA:
        one_read(reader, node, "limit_data", "bytes", bytes_read, &fault->params.limit_bytes);
        break;
    case FAULT_SLOW_CLOSE:
        one_read(reader, node, "slow_close", "delay", delay_read, &fault->params.close_delay_ns);
        break;
    case FAULT_LOSS:
        loss_read(reader, node, fault);
        break;
    case FAULT_CORRUPT:
    case FAULT_DUPLICATE:
        share_read(reader, node, fault_kinds[fault->params.kind].name, &fault->params.ratio_ppm);
        break;
    case FAULT_REORDER:
        reorder_read(reader, node, fault);
        break;
    case FAULT_ADDRESS:
        address_read(reader, node, fault);
        break;
    case FAULT_TIMEOUT:
    case FAULT_INTERRUPT:
    case FAULT_EXHAUST:
    case FAULT_KINDS:
        parts_read(reader, node, fault_kinds[fault->params.kind].name, nothing, values);
        break;
    }
}

static void error_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    const char *text = scalar_text(reader, node, "error");
    if (!text)
        return;
    int code = eai_by_name(text), error = errno_by_name(text);
    fault->params.error = code ? code : error;
    if (!code && !error)
        COMPLAIN(reader, node, "error: %s is no error (write ECONNREFUSED, or EAI_NONAME for lookups)",
                 QUOTED(node));
}

static void latency_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    static const char *const names[] = {"delay", "jitter", "distribution", "correlation", NULL};
    const struct node *values[FIELDS_MAX];
    struct fault_params *params = &fault->params;
    /* latency: 300ms says enough */
    if (node->kind == NODE_SCALAR && !node_is_null(node)) {
        delay_read(reader, node, "latency", &params->latency.delay_ns);
        return;
    }
    if (!parts_read(reader, node, "latency", names, values))
        return;
    if (!values[0]) {
        COMPLAIN(reader, node, "latency.delay: is missing (write latency: {delay: 300ms})");
        return;
    }
    if (!delay_read(reader, values[0], "latency.delay", &params->latency.delay_ns))
        return;
    if (values[1] && delay_read(reader, values[1], "latency.jitter", &params->latency.jitter_ns) &&
        params->latency.jitter_ns > params->latency.delay_ns)
        COMPLAIN(reader, values[1], "latency.jitter: %s is more than the delay (at most %s)",
                 QUOTED(values[1]), QUOTED(values[0]));
    if (values[2] && scalar_text(reader, values[2], "latency.distribution")) {
        unsigned kind = 0;
        while (fault_distribution_names[kind] && !node_is(values[2], fault_distribution_names[kind]))
            kind++;
        params->latency.distribution = (enum fault_distribution)kind;
        if (!fault_distribution_names[kind])
            COMPLAIN(reader, values[2],
                     "latency.distribution: %s is no distribution (known: uniform, normal, pareto)",
                     QUOTED(values[2]));
        else if (!values[1])
            COMPLAIN(reader, values[2],
                     "latency.distribution: without a jitter every delay is the same (add jitter)");
    }
    if (values[3] && ratio_read(reader, values[3], "latency.correlation", &params->latency.correlation_ppm) &&
        !values[1])
        COMPLAIN(reader, values[3],
                 "latency.correlation: without a jitter every delay is the same (add jitter)");
}

static void reset_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    static const char *const names[] = {"after_bytes", "after", NULL};
    const struct node *values[FIELDS_MAX];
    if (!parts_read(reader, node, "reset", names, values))
        return;
    if (values[0])
        bytes_read(reader, values[0], "reset.after_bytes", &fault->params.reset.after_bytes);
    if (values[1])
        delay_read(reader, values[1], "reset.after", &fault->params.reset.after_ns);
    if (values[0] && values[1])
        COMPLAIN(reader, values[1], "reset.after: after_bytes says when it is already (write two faults)");
}

static void bandwidth_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    static const char *const names[] = {"rate", "burst", "direction", NULL};
    const struct node *values[FIELDS_MAX];
    struct fault_params *params = &fault->params;
    if (node->kind == NODE_SCALAR && !node_is_null(node)) {
        if (!rate_read(reader, node, "bandwidth", &params->bandwidth.bytes_per_s))
            return;
    } else if (!parts_read(reader, node, "bandwidth", names, values)) {
        return;
    } else if (!values[0]) {
        COMPLAIN(reader, node, "bandwidth.rate: is missing (write bandwidth: {rate: 100kB/s})");
        return;
    } else if (!rate_read(reader, values[0], "bandwidth.rate", &params->bandwidth.bytes_per_s)) {
        return;
    } else {
        if (values[1])
            bytes_read(reader, values[1], "bandwidth.burst", &params->bandwidth.burst_bytes);
        if (values[2] && scalar_text(reader, values[2], "bandwidth.direction")) {
            params->operations = node_is(values[2], "recv") ? RECV : node_is(values[2], "send") ? SEND : 0;
            if (!params->operations)
                COMPLAIN(reader, values[2], "bandwidth.direction: %s is no direction (known: recv, send)",
                         QUOTED(values[2]));
        }
    }
    uint64_t usual = params->bandwidth.bytes_per_s / BURST_PER_S;
    if (!params->bandwidth.burst_bytes)
        params->bandwidth.burst_bytes = usual > BURST_LEAST ? usual : BURST_LEAST;
}

static void slice_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    static const char *const names[] = {"size", "variation", "gap", NULL};
    const struct node *values[FIELDS_MAX];
    struct fault_params *params = &fault->params;
    if (node->kind == NODE_SCALAR && !node_is_null(node)) {
        bytes_read(reader, node, "slice", &params->slice.size);
        return;
    }
    if (!parts_read(reader, node, "slice", names, values))
        return;
    if (!values[0]) {
        COMPLAIN(reader, node, "slice.size: is missing (write slice: {size: 7})");
        return;
    }
    if (!bytes_read(reader, values[0], "slice.size", &params->slice.size))
        return;
    if (values[1] && bytes_read(reader, values[1], "slice.variation", &params->slice.variation) &&
        params->slice.variation >= params->slice.size)
        COMPLAIN(reader, values[1], "slice.variation: %s leaves slices of nothing (less than %s)",
                 QUOTED(values[1]), QUOTED(values[0]));
    if (values[2])
        delay_read(reader, values[2], "slice.gap", &params->slice.gap_ns);
}

/* What has one part, which may stand there alone. */
static void one_read(struct reader *reader, const struct node *node, const char *path, const char *name,
                     bool (*read)(struct reader *, const struct node *, const char *, uint64_t *),
                     uint64_t *value)
{
    const char *const names[] = {name, NULL};
    const struct node *values[FIELDS_MAX];
    char whole[32];
    struct text text = text_begin(whole, sizeof whole);
    text_add(&text, "%s.%s", path, name);
    if (node->kind == NODE_SCALAR && !node_is_null(node))
        read(reader, node, path, value);
    else if (!parts_read(reader, node, path, names, values))
        return;
    else if (!values[0])
        COMPLAIN(reader, node, "%s: is missing", whole);
    else
        read(reader, values[0], whole, value);
}

static bool share_read(struct reader *reader, const struct node *node, const char *path, uint32_t *ratio_ppm)
{
    static const char *const names[] = {"ratio", NULL};
    const struct node *values[FIELDS_MAX];
    if (node->kind != NODE_SCALAR || node_is_null(node)) {
        if (!parts_read(reader, node, path, names, values))
            return false;
        if (!values[0]) {
            COMPLAIN(reader, node, "%s.ratio: is missing (write %s: 1%%)", path, path);
            return false;
        }
        node = values[0];
    }
    if (!ratio_read(reader, node, path, ratio_ppm))
        return false;
    if (*ratio_ppm)
        return true;
    COMPLAIN(reader, node, "%s: 0%% never happens (leave the fault out)", path);
    return false;
}

static void loss_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    static const char *const names[] = {"ratio", "burst", NULL};
    static const char *const burst_names[] = {"enter", "leave", "ratio", NULL};
    const struct node *values[FIELDS_MAX], *parts[FIELDS_MAX];
    struct fault_params *params = &fault->params;
    if (node->kind == NODE_SCALAR && !node_is_null(node)) {
        share_read(reader, node, "loss", &params->ratio_ppm);
        return;
    }
    if (!parts_read(reader, node, "loss", names, values))
        return;
    if (!values[0] && !values[1]) {
        COMPLAIN(reader, node, "loss.ratio: is missing (write loss: 1%%)");
        return;
    }
    if (values[0])
        ratio_read(reader, values[0], "loss.ratio", &params->ratio_ppm);
    if (!values[1] || !parts_read(reader, values[1], "loss.burst", burst_names, parts))
        return;
    params->burst.ratio_ppm = PPM_ONE;
    if (!parts[0] || !parts[1]) {
        COMPLAIN(reader, values[1], "loss.burst: needs both (write burst: {enter: 1%%, leave: 25%%})");
        return;
    }
    if (ratio_read(reader, parts[0], "loss.burst.enter", &params->burst.enter_ppm) &&
        !params->burst.enter_ppm)
        COMPLAIN(reader, parts[0], "loss.burst.enter: 0%% never happens (leave burst out)");
    if (ratio_read(reader, parts[1], "loss.burst.leave", &params->burst.leave_ppm) &&
        !params->burst.leave_ppm)
        COMPLAIN(reader, parts[1], "loss.burst.leave: 0%% never ends (write ratio: 100%%)");
    if (parts[2])
        ratio_read(reader, parts[2], "loss.burst.ratio", &params->burst.ratio_ppm);
}

static void reorder_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    static const char *const names[] = {"ratio", "depth", "hold", NULL};
    const struct node *values[FIELDS_MAX];
    struct fault_params *params = &fault->params;
    params->reorder.depth = 1;
    params->reorder.hold_ns = HOLD_NS;
    if (node->kind == NODE_SCALAR && !node_is_null(node)) {
        share_read(reader, node, "reorder", &params->ratio_ppm);
        return;
    }
    if (!parts_read(reader, node, "reorder", names, values))
        return;
    if (!values[0])
        COMPLAIN(reader, node, "reorder.ratio: is missing (write reorder: 5%%)");
    else
        share_read(reader, values[0], "reorder.ratio", &params->ratio_ppm);
    if (values[1] && fault_count_read(reader, values[1], "reorder.depth", 1, &params->reorder.depth) &&
        params->reorder.depth > FAULT_DEPTH_MAX)
        COMPLAIN(reader, values[1], "reorder.depth: %s is too large (at most %u)", QUOTED(values[1]),
                 FAULT_DEPTH_MAX);
    if (values[2])
        delay_read(reader, values[2], "reorder.hold", &params->reorder.hold_ns);
}

static void address_read(struct reader *reader, const struct node *node, struct fault *fault)
{
    const char *text = scalar_text(reader, node, "address");
    struct address address;
    if (!text)
        return;
    if (!address_parse(text, &address)) {
        COMPLAIN(reader, node, "address: %s is not an address (write 192.0.2.1 or 2001:db8::1)",
                 QUOTED(node));
        return;
    }
    memcpy(fault->params.address, address.bytes, sizeof fault->params.address);
}

/* A mapping of these parts; of nothing too. */
static bool parts_read(struct reader *reader, const struct node *node, const char *path,
                       const char *const *names, const struct node *values[FIELDS_MAX])
{
    const struct fields fields = {.path = path, .names = names};
    for (unsigned i = 0; i < FIELDS_MAX; i++)
        values[i] = NULL;
    if (node_is_null(node))
        return true;
    if (!*names) {
        if (node->kind == NODE_MAPPING && !node->children)
            return true;
        COMPLAIN(reader, node, "%s: has no parts (write %s: {})", path, path);
        return false;
    }
    if (fields_read(reader, node, &fields, values))
        return true;
    char known[80];
    struct text text = text_begin(known, sizeof known);
    add_names(&text, names);
    COMPLAIN(reader, node, "%s: needs a mapping of %s", path, known);
    return false;
}

static bool delay_read(struct reader *reader, const struct node *node, const char *path, uint64_t *ns)
{
    if (!duration_read(reader, node, path, ns))
        return false;
    if (*ns == 0) {
        COMPLAIN(reader, node, "%s: is no time at all (leave it out)", path);
        return false;
    }
    if (*ns <= DELAY_MAX_NS)
        return true;
    COMPLAIN(reader, node, "%s: %s is too large (at most 24h)", path, QUOTED(node));
    return false;
}

static bool bytes_read(struct reader *reader, const struct node *node, const char *path, uint64_t *bytes)
{
    const char *text = scalar_text(reader, node, path);
    if (!text)
        return false;
    uint32_t count;
    if (!bytes_parse(text, bytes) && count_parse(text, &count))
        *bytes = count;
    else if (!bytes_parse(text, bytes)) {
        COMPLAIN(reader, node, "%s: %s is no number of bytes (write 4096 or 4kB)", path, QUOTED(node));
        return false;
    }
    if (*bytes && *bytes <= BYTES_MAX)
        return true;
    COMPLAIN(reader, node, "%s: %s is too %s", path, QUOTED(node), *bytes ? "large" : "small (at least 1)");
    return false;
}

static bool rate_read(struct reader *reader, const struct node *node, const char *path, uint64_t *bytes_per_s)
{
    const char *text = scalar_text(reader, node, path);
    char bytes[32];
    size_t length = text ? strlen(text) : 0;
    if (!text)
        return false;
    if (length > 2 && length < sizeof bytes && strcmp(text + length - 2, "/s") == 0) {
        memcpy(bytes, text, length - 2);
        bytes[length - 2] = '\0';
        if (bytes_parse(bytes, bytes_per_s) && *bytes_per_s && *bytes_per_s <= BYTES_MAX)
            return true;
    }
    COMPLAIN(reader, node, "%s: %s is no number of bytes a second (write 100kB/s or 1MB/s)", path,
             QUOTED(node));
    return false;
}
