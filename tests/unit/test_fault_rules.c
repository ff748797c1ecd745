#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "rules/faults.h"
#include "suite.h"

#define FAULT(match, rest) "version: 1\nfaults: [{name: a, match: {" match "}, " rest "}]\n"

static struct problems problems;

static struct ruleset *load(const char *text)
{
    struct ruleset *set = ruleset_parse(text, strlen(text), "test.yaml", 0, &problems);
    ck_assert_msg(set != NULL, "%u:%u: %s", problems.items[0].line, problems.items[0].column,
                  problems.items[0].text);
    return set;
}

static bool matches(const char *text, const char *name, const char *address, uint16_t port,
                    enum protocol protocol)
{
    struct ruleset *set = load(text);
    struct target target = {.name = name, .port = port, .protocol = protocol};
    target.has_address = address && address_parse(address, &target.address);
    bool result = fault_matches(&set->faults[0], &target, "curl");
    ruleset_free(set);
    return result;
}

TEST(a_fault_is_for_all_that_its_match_names)
{
    const char *text = FAULT("host: [a.b, '*.c'], address: 10.0.0.0/8, port: 80-90", "latency: 1s");
    ck_assert(matches(text, "a.b", "192.0.2.1", 80, PROTOCOL_TCP));
    ck_assert(matches(text, "x.c", NULL, 90, PROTOCOL_TCP));
    ck_assert(matches(text, NULL, "10.1.2.3", 85, PROTOCOL_TCP));
    ck_assert(!matches(text, "c", "192.0.2.1", 80, PROTOCOL_TCP));
    ck_assert(!matches(text, "a.b", "192.0.2.1", 91, PROTOCOL_TCP));
    ck_assert(!matches(text, "a.b", "192.0.2.1", 80, PROTOCOL_UDP));
    ck_assert(!matches(FAULT("program: wget", "latency: 1s"), "a.b", NULL, 80, PROTOCOL_TCP));
    ck_assert(matches(FAULT("program: 'c*'", "latency: 1s"), "a.b", NULL, 80, PROTOCOL_TCP));
}

TEST(name_servers_and_unix_sockets_are_left_alone_unless_they_are_named)
{
    ck_assert(!matches(FAULT("protocol: udp", "latency: 1s"), NULL, "10.0.0.1", 53, PROTOCOL_UDP));
    ck_assert(!matches(FAULT("", "latency: 1s"), NULL, "10.0.0.1", 53, PROTOCOL_TCP));
    ck_assert(!matches(FAULT("address: 10.0.0.1, protocol: udp", "latency: 1s"), NULL, "10.0.0.1", 53,
                       PROTOCOL_UDP));
    ck_assert(matches(FAULT("port: 53, protocol: udp", "latency: 1s"), NULL, "10.0.0.1", 53, PROTOCOL_UDP));
    ck_assert(matches(FAULT("protocol: udp", "latency: 1s"), NULL, "10.0.0.1", 54, PROTOCOL_UDP));
    struct target local = {.protocol = PROTOCOL_UNIX, .path = "/run/x.sock"};
    struct ruleset *set = load(FAULT("protocol: [tcp, udp]", "latency: 1s"));
    ck_assert(!fault_matches(&set->faults[0], &local, "curl"));
    ruleset_free(set);
    set = load(FAULT("unix: '/run/*'", "latency: 1s"));
    ck_assert(fault_matches(&set->faults[0], &local, "curl"));
    ruleset_free(set);
}

TEST(a_socket_that_is_being_made_has_only_faults_for_everything)
{
    struct ruleset *set = load(FAULT("", "exhaust: {}"));
    ck_assert(fault_matches(&set->faults[0], NULL, "curl"));
    ruleset_free(set);
    set = load(FAULT("port: 80", "exhaust: {}"));
    ck_assert(!fault_matches(&set->faults[0], NULL, "curl"));
    ck_assert_uint_eq(set->faults[0].params.operations, FAULT_ON(FAULT_ACCEPT));
    ruleset_free(set);
}

TEST(an_error_happens_where_it_can_unless_it_is_said)
{
    static const struct {
        const char *error;
        uint32_t operations;
    } usual[] = {
        {"ECONNREFUSED", FAULT_ON(FAULT_CONNECT)}, {"EPIPE", FAULT_ON(FAULT_SEND)},
        {"ECONNABORTED", FAULT_ON(FAULT_ACCEPT)},  {"EMFILE", FAULT_ON(FAULT_ACCEPT)},
        {"EAFNOSUPPORT", FAULT_ON(FAULT_SOCKET)},  {"EAI_FAIL", FAULT_ON(FAULT_RESOLVE)},
    };
    for (unsigned i = 0; i < sizeof usual / sizeof *usual; i++) {
        char text[120];
        snprintf(text, sizeof text, FAULT("%s", "error: %s"),
                 usual[i].operations == FAULT_ON(FAULT_RESOLVE) ? "host: '*'" : "", usual[i].error);
        struct ruleset *set = load(text);
        ck_assert_msg(set->faults[0].params.operations == usual[i].operations, "%s", usual[i].error);
        ruleset_free(set);
    }
}

TEST(everything_that_is_said_is_read)
{
    struct ruleset *set = load(
        "version: 1\nfaults:\n"
        "  - {name: a, match: {}, latency: {delay: 300ms, jitter: 50ms, distribution: pareto, correlation: "
        "25%},\n"
        "     on: [send, accept], probability: 20%, after: 2, every: 3, times: 4, per: call, caller: [x, "
        "y],\n"
        "     schedule: {start: 1s, ramp: 2s, flap: {on: 3s, off: 4s}, burst: {length: 5s, every: 6s}},\n"
        "     expires: 7s, seed: 8}\n"
        "  - {name: b, match: {}, bandwidth: {rate: 1.5MB/s, direction: send}}\n"
        "  - {name: c, match: {protocol: udp}, loss: {ratio: 1%, burst: {enter: 2%, leave: 3%}}}\n"
        "  - {name: d, match: {}, slice: {size: 1kB, variation: 10, gap: 1ms}}\n");
    const struct fault_params *a = &set->faults[0].params, *b = &set->faults[1].params,
                              *c = &set->faults[2].params, *d = &set->faults[3].params;
    ck_assert_uint_eq(set->fault_count, 4);
    ck_assert_uint_eq(a->operations, FAULT_ON(FAULT_SEND) | FAULT_ON(FAULT_ACCEPT));
    ck_assert_uint_eq(a->latency.delay_ns, 300000000);
    ck_assert_uint_eq(a->latency.jitter_ns, 50000000);
    ck_assert_int_eq(a->latency.distribution, FAULT_PARETO);
    ck_assert_uint_eq(a->latency.correlation_ppm, 250000);
    ck_assert_uint_eq(a->probability_ppm, 200000);
    ck_assert(a->after == 2 && a->every == 3 && a->times == 4 && a->has_counts && a->per == FAULT_PER_CALL);
    ck_assert(a->has_schedule && a->schedule.start_ns == 1000000000 && a->schedule.ramp_ns == 2000000000);
    ck_assert(a->schedule.flap_on_ns == 3000000000 && a->schedule.flap_off_ns == 4000000000);
    ck_assert(a->schedule.burst_ns == 5000000000 && a->schedule.burst_every_ns == 6000000000);
    ck_assert(a->schedule.expires_ns == 7000000000 && a->has_seed && a->seed == 8);
    ck_assert_uint_eq(set->faults[0].caller_count, 2);
    ck_assert_uint_eq(b->bandwidth.bytes_per_s, 1500000);
    ck_assert_uint_eq(b->bandwidth.burst_bytes, 150000);
    ck_assert_uint_eq(b->operations, FAULT_ON(FAULT_SEND));
    ck_assert(c->ratio_ppm == 10000 && c->burst.enter_ppm == 20000 && c->burst.leave_ppm == 30000 &&
              c->burst.ratio_ppm == PPM_ONE);
    ck_assert(d->slice.size == 1000 && d->slice.variation == 10 && d->slice.gap_ns == 1000000);
    ruleset_free(set);
}

TEST(a_fault_behind_one_that_ends_every_call_is_warned_of)
{
    struct ruleset *set = load("version: 1\nfaults:\n"
                               "  - {name: a, match: {}, error: ECONNREFUSED}\n"
                               "  - {name: b, match: {port: 80}, on: [connect], latency: 1s}\n"
                               "  - {name: c, match: {port: 80}, latency: 1s}\n");
    ruleset_lint(set, &problems);
    ck_assert_uint_eq(problems.warnings, 1);
    ck_assert_uint_eq(problems.items[0].line, 4);
    ck_assert_str_eq(problems.items[0].text,
                     "b: never fires, because \"a\" on line 3 ends every such call (put it further up)");
    ruleset_free(set);
}

TEST(errors_have_names_and_calls)
{
    ck_assert_int_eq(eai_by_name("EAI_NONAME"), EAI_NONAME);
    ck_assert_str_eq(eai_name(EAI_AGAIN), "EAI_AGAIN");
    ck_assert_int_eq(eai_by_name("ECONNREFUSED"), 0);
    ck_assert(fault_error_is_of(FAULT_CONNECT, ECONNREFUSED));
    ck_assert(!fault_error_is_of(FAULT_RECV, EPIPE));
    ck_assert(!fault_error_is_of(FAULT_ACCEPT, ECONNREFUSED));
    ck_assert(fault_error_is_of(FAULT_RESOLVE, EAI_FAIL));
    ck_assert(!fault_error_is_of(FAULT_CONNECT, EAI_FAIL));
}

SUITE("fault rules", a_fault_is_for_all_that_its_match_names,
      name_servers_and_unix_sockets_are_left_alone_unless_they_are_named,
      a_socket_that_is_being_made_has_only_faults_for_everything,
      an_error_happens_where_it_can_unless_it_is_said, everything_that_is_said_is_read,
      a_fault_behind_one_that_ends_every_call_is_warned_of, errors_have_names_and_calls)
