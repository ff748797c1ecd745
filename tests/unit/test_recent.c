#include <pthread.h>
#include <string.h>

#include "state/process.h"
#include "state/recent.h"
#include "suite.h"

#define THREADS 4

static struct ruleset rules, others;
static const struct rule rule = {.name = "tested", .identity = 1, .breaker_params_hash = 2};

static struct target at(uint8_t last, uint16_t port)
{
    struct target target = {.has_address = true, .port = port};
    target.address.bytes[15] = last;
    return target;
}

static void use_memory(void)
{
    strcpy(settings.state_dir, "/proc/nowhere"); /* private */
    ck_assert(segment_open("/a.yaml", NULL));
}

static struct host_handle remember(const struct target *target)
{
    struct host_handle host = hosts_find(&rule, target, 1);
    recent_remember(&rules, target, &rule, host);
    return host;
}

TEST(a_target_is_found_again_with_its_rule_and_its_host)
{
    struct host_handle host;
    struct target target = at(1, 80);
    use_memory();
    ck_assert_ptr_null(recent_find(&rules, &target, &host, 2));
    struct host_handle known = remember(&target);
    ck_assert_ptr_eq(recent_find(&rules, &target, &host, 2), &rule);
    ck_assert_ptr_eq(host.host, known.host);
    ck_assert_uint_eq(host.key, known.key);
    ck_assert_uint_eq(atomic_load(&host.host->used_ns), 2);
}

TEST(another_target_is_not)
{
    struct host_handle host;
    struct target target = at(1, 80), name = target, udp = target, port = at(1, 88), address = at(9, 80),
                  zero = at(0, 0);
    use_memory();
    remember(&target);
    name.name = "a.internal";
    udp.protocol = PROTOCOL_UDP;
    ck_assert_ptr_null(recent_find(&rules, &name, &host, 2));
    ck_assert_ptr_null(recent_find(&rules, &udp, &host, 2));
    ck_assert_ptr_null(recent_find(&rules, &port, &host, 2));
    ck_assert_ptr_null(recent_find(&rules, &address, &host, 2));
    ck_assert_ptr_null(recent_find(&rules, &zero, &host, 2));
    ck_assert_ptr_null(recent_find(&others, &target, &host, 2));
}

TEST(one_with_a_name_or_without_an_address_is_not_remembered)
{
    struct host_handle host;
    struct target target = at(1, 80), name = target, path = {.path = "/run/a", .protocol = PROTOCOL_UNIX};
    use_memory();
    name.name = "a.internal";
    remember(&name);
    remember(&path);
    ck_assert_ptr_null(recent_find(&rules, &target, &host, 2));
    ck_assert_ptr_null(recent_find(&rules, &path, &host, 2));
}

TEST(a_host_that_has_lost_its_place_is_not_found)
{
    struct host_handle host;
    struct target target = at(1, 80);
    use_memory();
    struct host_handle known = remember(&target);
    atomic_store(&known.host->key, known.key + 1);
    ck_assert_ptr_null(recent_find(&rules, &target, &host, 2));
}

TEST(nor_is_one_of_another_segment)
{
    struct host_handle host;
    struct target target = at(1, 80);
    use_memory();
    remember(&target);
    struct segment *segment = segment_current;
    segment_current = NULL;
    ck_assert_ptr_null(recent_find(&rules, &target, &host, 2));
    segment_current = segment;
    ck_assert_ptr_nonnull(recent_find(&rules, &target, &host, 2));
}

/* They share places: what one has written the other must not find under its own target. */
static void *find_and_remember(void *first)
{
    unsigned wrong = 0;
    for (unsigned i = 0; i < 100000; i++) {
        struct target target = at((uint8_t)((uintptr_t)first + i % 3 * RULES_RECENT), 80);
        struct host_handle wanted = hosts_find(&rule, &target, 1), host;
        if (!recent_find(&rules, &target, &host, 1))
            recent_remember(&rules, &target, &rule, wanted);
        else if (host.host != wanted.host || host.key != wanted.key)
            wrong++;
    }
    return (void *)(uintptr_t)wrong;
}

TEST(among_threads_each_finds_its_own)
{
    pthread_t threads[THREADS];
    use_memory();
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(
            pthread_create(&threads[i], NULL, find_and_remember, (void *)(i % 2 * RULES_RECENT + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        ck_assert_ptr_null(wrong);
    }
}

SUITE("recent", a_target_is_found_again_with_its_rule_and_its_host, another_target_is_not,
      one_with_a_name_or_without_an_address_is_not_remembered, a_host_that_has_lost_its_place_is_not_found,
      nor_is_one_of_another_segment, among_threads_each_finds_its_own)
