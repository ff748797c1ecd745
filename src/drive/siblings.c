#include "drive/siblings.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "state/current.h"
#include "state/process.h"

static bool is_link_local(const struct address *address);
static uint16_t mark_of(const struct address *address, const struct address *all, unsigned count);
static bool is_ours(enum breaker_report report, int error);

void siblings_find(struct siblings *siblings, const struct connecting *call)
{
    siblings->count = 0;
    siblings->known = 1;
    if (!call->target.name)
        return;
    struct address all[2 * ANSWER_MAX];
    unsigned known = names_addresses(call->name, &call->target.address, all);
    if (known)
        siblings->known = known;
    bool has_scope = is_link_local(&call->target.address);
    unsigned found = names_siblings(call->name, &call->target.address, all, CALL_SIBLINGS_MAX);
    for (unsigned i = 0; i < found; i++) {
        /* Which link it is on only the program knows, and it has said so of its own address only. */
        if (is_link_local(&all[i]) && !has_scope)
            continue;
        struct target target = call->target;
        target.address = all[i];
        if (ruleset_find(call->rules, &target, process_program()) == call->rule)
            siblings->others[siblings->count++] = all[i];
    }
}

void siblings_choose(const struct siblings *siblings, struct connecting *call, uint32_t number)
{
    call->tried = call->address;
    call->tried_length = call->length;
    call->tried_address = call->target.address;
    if (number == 0 || number > siblings->count)
        return;
    call->tried_address = siblings->others[number - 1];
    call->tried = &call->sibling.any;
    if (call->address->sa_family == AF_INET) {
        call->tried_length = sizeof call->sibling.v4;
        memcpy(&call->sibling.v4, call->address, sizeof call->sibling.v4);
        memcpy(&call->sibling.v4.sin_addr, call->tried_address.bytes + 12, 4);
    } else {
        call->tried_length = sizeof call->sibling.v6;
        memcpy(&call->sibling.v6, call->address, sizeof call->sibling.v6);
        memcpy(&call->sibling.v6.sin6_addr, call->tried_address.bytes, 16);
    }
}

enum breaker_report siblings_report(const struct siblings *siblings, const struct connecting *call,
                                    unsigned tried, enum breaker_report report, int error)
{
    if (report != BREAKER_FAILURE && !is_ours(report, error))
        return report;
    struct siblings_marks marks;
    siblings_mark(&marks, siblings, call);
    return siblings_judge(&marks, call->host, tried, report, error);
}

void siblings_mark(struct siblings_marks *marks, const struct siblings *siblings,
                   const struct connecting *call)
{
    struct address all[2 * ANSWER_MAX];
    *marks = (struct siblings_marks){.has_others = false};
    unsigned count = call->target.name ? names_addresses(call->name, &call->target.address, all) : 0;
    marks->has_others = count >= 2;
    if (!marks->has_others)
        return;
    marks->said = (struct addresses_tried){
        .tried = mark_of(&call->target.address, all, count),
        .is_probe = call->verdict == BREAKER_PROBE,
        .begun_ns = call->begun_ns,
        .attempt_ns = call->rule->policy.breaker.params.lease_ns,
    };
    for (unsigned i = 0; i < count; i++) {
        marks->said.all |= mark_of(&all[i], all, count);
        marks->said.identity ^= (uint16_t)hash_bytes(all[i].bytes, sizeof all[i].bytes, 0);
    }
    for (unsigned i = 0; siblings && i < siblings->count; i++)
        marks->marks[i] = mark_of(&siblings->others[i], all, count);
}

enum breaker_report siblings_judge(const struct siblings_marks *marks, struct host_handle host,
                                   unsigned tried, enum breaker_report report, int error)
{
    if (!marks->has_others || (report != BREAKER_FAILURE && !is_ours(report, error)))
        return report;
    struct addresses_tried said = marks->said;
    said.is_ours = is_ours(report, error);
    for (unsigned i = 0; i < tried; i++)
        said.tried |= marks->marks[i];
    return breakers_addresses_failed(host, &said, clock_now_ns());
}

static bool is_link_local(const struct address *address)
{
    return address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80;
}

/* By their order as numbers: other processes may have had the same answer in another one. */
static uint16_t mark_of(const struct address *address, const struct address *all, unsigned count)
{
    unsigned rank = 0;
    for (unsigned i = 0; i < count; i++)
        rank += memcmp(all[i].bytes, address->bytes, sizeof address->bytes) < 0;
    return (uint16_t)(1u << (rank < ADDRESSES_MAX ? rank : ADDRESSES_MAX - 1));
}

/* Of our own faults, those that are this address's: from here it cannot be reached at all. */
static bool is_ours(enum breaker_report report, int error)
{
    return report == BREAKER_NEUTRAL &&
           (error == ENETUNREACH || error == EHOSTUNREACH || error == EAFNOSUPPORT || error == EADDRNOTAVAIL);
}
