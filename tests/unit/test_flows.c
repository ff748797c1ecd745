#include <pthread.h>
#include <string.h>

#include "rules/faults.h"
#include "state/faults.h"
#include "suite.h"

static struct ruleset *load(const char *text)
{
    static struct problems problems;
    struct ruleset *set = ruleset_parse(text, strlen(text), "test.yaml", 0, &problems);
    ck_assert_ptr_nonnull(set);
    ck_assert(descriptors_open());
    return set;
}

static struct flow *begin(const char *fault)
{
    struct target target = {.port = 80, .protocol = PROTOCOL_TCP};
    struct flow *flow = flow_begin(load(fault), &target, "a.test:80", FAULT_ON(FAULT_RECV));
    ck_assert_ptr_nonnull(flow);
    return flow;
}

static struct descriptor *adopt(int fd, struct flow *flow)
{
    struct descriptor *entry =
        descriptor_adopt(fd, 77, &guard_of_nothing, (struct host_handle){NULL, 0}, "a.test:80");
    ck_assert_ptr_nonnull(entry);
    ck_assert(flow_attach(entry, flow));
    return entry;
}

#define LATE "version: 1\nfaults: [{name: a, match: {port: 80}, latency: 1ms, on: [recv]}]\n"

TEST(a_descriptor_is_back_in_the_pool_without_its_flow)
{
    struct descriptor *entry = adopt(5, begin(LATE)), last;
    uint32_t number = entry->number;
    descriptor_drop(5, &last);
    ck_assert_ptr_nonnull(last.guard);
    ck_assert_ptr_null(flows_attached[number]);
}

TEST(a_flow_stays_while_a_number_of_its_descriptor_does)
{
    struct flow *flow = begin(LATE);
    struct descriptor *entry = adopt(5, flow);
    descriptor_share(5, 6);
    descriptor_drop(5, NULL);
    ck_assert_ptr_eq(flow_of(entry), flow);
    descriptor_drop(6, NULL);
    ck_assert_ptr_null(flows_attached[entry->number]);
}

TEST(a_flow_that_a_call_is_in_is_not_given_to_another_connection)
{
    struct flow *flow = begin(LATE);
    struct descriptor *entry = adopt(5, flow);
    ck_assert(flow_claim(flow, FAULT_RECV, entry, &entry));
    descriptor_drop(5, NULL);
    ck_assert_ptr_ne(begin(LATE), flow);
    ck_assert_uint_eq(flow->count, 1);
    flow_release(flow, FAULT_RECV);
    ck_assert_ptr_eq(begin(LATE), flow);
    ck_assert(!flow_claim(flow, FAULT_RECV, entry, &entry)); /* it is no longer this one's */
}

TEST(a_call_that_was_jumped_out_of_is_over_and_one_that_goes_on_is_not)
{
    char frames[100];
    struct flow *flow = begin(LATE);
    struct descriptor *entry = adopt(5, flow);
    ck_assert(flow_claim(flow, FAULT_RECV, entry, frames + 50));
    ck_assert(!flow_claim(flow, FAULT_RECV, entry, frames)); /* in a handler that interrupts it */
    ck_assert(flow_claim(flow, FAULT_RECV, entry, frames + 50));
    flow_release(flow, FAULT_RECV);
    ck_assert(flow_claim(flow, FAULT_RECV, entry, frames));
    flow_release(flow, FAULT_RECV);
    descriptor_drop(5, NULL);
    ck_assert_ptr_eq(begin(LATE), flow);
}

static struct descriptor *shared_entry;

static void *counts(void *unused)
{
    struct flow *flow = flow_of(shared_entry);
    for (int i = 0; i < 1000000; i++)
        if (!flow_is_quiet(shared_entry, FAULTY, FAULT_RECV))
            atomic_store_explicit(&flow->quiet[FAULT_RECV], 3, memory_order_relaxed);
    return unused;
}

TEST(threads_that_count_at_once_leave_no_more_quiet_operations_than_there_were)
{
    pthread_t threads[4];
    shared_entry = adopt(5, begin(LATE));
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, counts, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_le(flow_of(shared_entry)->quiet[FAULT_RECV], 3);
}

SUITE("flows", a_descriptor_is_back_in_the_pool_without_its_flow,
      a_flow_stays_while_a_number_of_its_descriptor_does,
      a_flow_that_a_call_is_in_is_not_given_to_another_connection,
      a_call_that_was_jumped_out_of_is_over_and_one_that_goes_on_is_not,
      threads_that_count_at_once_leave_no_more_quiet_operations_than_there_were)
