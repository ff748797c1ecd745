#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/breakers.h"
#include "state/process.h"
#include "suite.h"

#define THREADS 8

static struct rule rule = {.name = "tested", .identity = 1, .breaker_params_hash = 2};
static const struct breaker_params params = {
    .failure_threshold = 3,
    .failure_ratio_ppm = 0,
    .window_ns = 10 * NS_PER_S,
    .recovery_timeout_ns = NS_PER_S,
    .max_recovery_timeout_ns = NS_PER_S,
    .success_threshold = 1,
    .lease_ns = NS_PER_S,
};

static struct target named(const char *name, uint16_t port)
{
    return (struct target){.name = name, .port = port};
}

static void use_memory(void)
{
    strcpy(settings.state_dir, "/proc/nowhere"); /* private */
    ck_assert(segment_open("/a.yaml", NULL));
}

static void break_it(struct host_handle host, unsigned times, uint64_t now)
{
    for (unsigned i = 0; i < times; i++) {
        struct breaker_answer answer = breakers_admit(host, &params, now);
        breakers_ended(host, &params, answer.ticket, BREAKER_FAILURE, 1, now, NULL);
    }
}

TEST(a_target_keeps_its_place)
{
    use_memory();
    struct target a = named("a.test", 80), b = named("b.test", 80), other_port = named("a.test", 81);
    struct host_handle first = hosts_find(&rule, &a, 1);
    ck_assert_ptr_nonnull(first.host);
    ck_assert_str_eq(first.host->target, "a.test:80");
    ck_assert_str_eq(first.host->rule, "tested");
    ck_assert_ptr_eq(hosts_find(&rule, &a, 2).host, first.host);
    ck_assert_ptr_ne(hosts_find(&rule, &b, 2).host, first.host);
    ck_assert_ptr_ne(hosts_find(&rule, &other_port, 2).host, first.host);
}

TEST(a_name_is_one_host_whatever_its_address)
{
    use_memory();
    struct target one = {.name = "a.test", .has_address = true, .port = 80}, two = one;
    two.address.bytes[15] = 1;
    ck_assert_ptr_eq(hosts_find(&rule, &one, 1).host, hosts_find(&rule, &two, 1).host);
}

TEST(rules_with_other_parameters_do_not_share)
{
    use_memory();
    struct target a = named("a.test", 80);
    struct rule changed = rule;
    changed.breaker_params_hash++;
    ck_assert_ptr_ne(hosts_find(&rule, &a, 1).host, hosts_find(&changed, &a, 1).host);
}

TEST(a_full_table_gives_up_idle_closed_hosts_and_keeps_open_ones)
{
    use_memory();
    struct target precious = named("open.test", 1);
    struct host_handle open = hosts_find(&rule, &precious, 1);
    break_it(open, 3, NS_PER_S);
    for (unsigned i = 0; i < 4 * HOSTS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "host-%u.test", i);
        struct target target = named(name, 80);
        ck_assert_ptr_nonnull(hosts_find(&rule, &target, NS_PER_S + i).host);
    }
    ck_assert_ptr_eq(hosts_find(&rule, &precious, NS_PER_S).host, open.host);
    ck_assert_int_eq(breakers_admit(open, &params, NS_PER_S).verdict, BREAKER_REJECT);
}

TEST(a_handle_to_a_place_that_was_given_away_does_nothing)
{
    use_memory();
    struct target a = named("a.test", 80);
    struct host_handle handle = hosts_find(&rule, &a, 1);
    break_it(handle, 3, 1);
    atomic_store(&handle.host->key, handle.key + 1);
    ck_assert_int_eq(breakers_admit(handle, &params, 1).verdict, BREAKER_ADMIT);
    uint64_t word = atomic_load(&handle.host->breaker);
    breakers_ended(handle, &params, (struct breaker_ticket){0, true}, BREAKER_SUCCESS, 1, 1, NULL);
    ck_assert_uint_eq(atomic_load(&handle.host->breaker), word);
}

TEST(looking_never_takes_the_probe)
{
    use_memory();
    struct target a = named("a.test", 80);
    struct host_handle host = hosts_find(&rule, &a, 1);
    break_it(host, 3, NS_PER_S);
    ck_assert_uint_eq(breakers_probing(host), 0);
    ck_assert_uint_gt(breakers_open_until(host, &params, NS_PER_S), NS_PER_S);
    ck_assert_uint_eq(breakers_open_until(host, &params, 3 * NS_PER_S), 0);
    ck_assert_int_eq(breakers_look(host, &params, 3 * NS_PER_S).verdict, BREAKER_REJECT);
    ck_assert_uint_eq(breakers_look(host, &params, 3 * NS_PER_S).until_ns, 3 * NS_PER_S);
    ck_assert_int_eq(breakers_admit(host, &params, 3 * NS_PER_S).verdict, BREAKER_PROBE);
    ck_assert_uint_gt(breakers_look(host, &params, 3 * NS_PER_S).until_ns, 3 * NS_PER_S);
    ck_assert_uint_eq(breakers_open_until(host, &params, 3 * NS_PER_S),
                      breakers_look(host, &params, 3 * NS_PER_S).until_ns);
    atomic_store(&host.host->key, host.key + 1);
    ck_assert_uint_eq(breakers_open_until(host, &params, 3 * NS_PER_S), 0);
}

/* Gives the number of a process that was there; it is waited for if asked. */
static pid_t dead_process(bool is_waited_for)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    siginfo_t info;
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | (is_waited_for ? 0 : WNOWAIT)), 0);
    return pid;
}

TEST(a_probe_whose_process_is_gone_is_not_waited_for)
{
    use_memory();
    struct target a = named("a.test", 80);
    struct host_handle host = hosts_find(&rule, &a, 1);
    break_it(host, 3, NS_PER_S);
    struct breaker_answer lost = breakers_admit(host, &params, 3 * NS_PER_S);
    ck_assert_int_eq(lost.verdict, BREAKER_PROBE);
    ck_assert_uint_eq(breakers_probe_holder(host.host), (uint32_t)getpid());
    ck_assert_uint_eq(breakers_probing(host), EVENT_PROBING);
    uint64_t now = 3 * NS_PER_S;
    for (int is_waited_for = 0; is_waited_for <= 1; is_waited_for++) {
        now += 20 * NS_PER_MS;
        ck_assert_int_eq(breakers_admit(host, &params, now).verdict, BREAKER_REJECT);
        atomic_store(&host.host->probe_holder,
                     (uint64_t)lost.ticket.generation << 32 | (uint32_t)dead_process(is_waited_for));
        now += 20 * NS_PER_MS;
        ck_assert_uint_eq(breakers_look(host, &params, now).until_ns, now);
        lost = breakers_admit(host, &params, now);
        ck_assert_int_eq(lost.verdict, BREAKER_PROBE);
    }
}

TEST(a_dead_holder_of_an_earlier_probe_gives_nothing_back)
{
    use_memory();
    struct target a = named("a.test", 80);
    struct host_handle host = hosts_find(&rule, &a, 1);
    break_it(host, 3, NS_PER_S);
    struct breaker_answer probe = breakers_admit(host, &params, 3 * NS_PER_S);
    atomic_store(&host.host->probe_holder,
                 (uint64_t)(probe.ticket.generation - 1) << 32 | (uint32_t)dead_process(true));
    ck_assert_int_eq(breakers_admit(host, &params, 3 * NS_PER_S + 20 * NS_PER_MS).verdict, BREAKER_REJECT);
    ck_assert_uint_eq(breakers_probe_holder(host.host), 0);
}

static struct host_handle contended;
static _Atomic unsigned probes;

static void *ask(void *unused)
{
    for (int i = 0; i < 10000; i++)
        if (breakers_admit(contended, &params, 3 * NS_PER_S).verdict == BREAKER_PROBE)
            atomic_fetch_add(&probes, 1);
    return unused;
}

TEST(half_open_admits_one_probe_among_threads)
{
    use_memory();
    struct target a = named("a.test", 80);
    contended = hosts_find(&rule, &a, 1);
    break_it(contended, 3, NS_PER_S);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, ask, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(atomic_load(&probes), 1);
}

static void *count_calls(void *unused)
{
    static const struct budget_params budget = {.ratio_ppm = 0, .floor_per_s = 0, .window_ns = 10 * NS_PER_S};
    for (int i = 0; i < 1000; i++)
        budget_call(contended, &budget, NS_PER_S);
    return unused;
}

TEST(no_count_is_lost_among_threads)
{
    use_memory();
    struct target a = named("a.test", 80);
    contended = hosts_find(&rule, &a, 1);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count_calls, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t words[WINDOW_BUCKETS];
    for (unsigned i = 0; i < WINDOW_BUCKETS; i++)
        words[i] = atomic_load(&contended.host->retries[i]);
    ck_assert_uint_eq(window_total(words, 10 * NS_PER_S, NS_PER_S).events, THREADS * 1000);
}

TEST(recovery_empties_the_failure_window)
{
    use_memory();
    struct breaker_params by_rate = params;
    by_rate.failure_threshold = 0;
    by_rate.failure_ratio_ppm = PPM_ONE / 2;
    by_rate.minimum_calls = 4;
    struct target a = named("a.test", 80);
    struct host_handle host = hosts_find(&rule, &a, 1);
    enum breaker_transition last = BREAKER_STAYED;
    for (int i = 0; i < 4; i++)
        last = breakers_ended(host, &by_rate, breakers_admit(host, &by_rate, NS_PER_S).ticket,
                              BREAKER_FAILURE, 1, NS_PER_S, NULL)
                   .transition;
    ck_assert_int_eq(last, BREAKER_OPENED);
    struct breaker_answer probe = breakers_admit(host, &by_rate, 3 * NS_PER_S);
    ck_assert_int_eq(probe.verdict, BREAKER_PROBE);
    breakers_ended(host, &by_rate, probe.ticket, BREAKER_SUCCESS, 1, 3 * NS_PER_S, NULL);
    struct breaker_answer next = breakers_admit(host, &by_rate, 3 * NS_PER_S);
    last = breakers_ended(host, &by_rate, next.ticket, BREAKER_FAILURE, 1, 3 * NS_PER_S, NULL).transition;
    ck_assert_int_eq(last, BREAKER_STAYED);
}

static struct host_handle found(const char *name)
{
    use_memory();
    struct target target = named(name, 80);
    return hosts_find(&rule, &target, 1);
}

TEST(a_circuit_that_is_held_open_rejects_everything)
{
    struct host_handle host = found("a.test");
    breakers_steer(host.host, STEERING_OPEN);
    ck_assert_int_eq(breakers_admit(host, &params, 1).verdict, BREAKER_REJECT);
    ck_assert_uint_eq(breakers_look(host, &params, 3600 * NS_PER_S).until_ns, UINT64_MAX);
    ck_assert_int_eq(breakers_look(host, &params, 3600 * NS_PER_S).verdict, BREAKER_REJECT);
    ck_assert_uint_eq(breakers_open_until(host, &params, 3600 * NS_PER_S), UINT64_MAX);
}

TEST(a_circuit_that_is_held_closed_admits_and_never_opens)
{
    struct host_handle host = found("a.test");
    break_it(host, 3, NS_PER_S);
    breakers_steer(host.host, STEERING_CLOSED);
    ck_assert_int_eq(breakers_look(host, &params, NS_PER_S).verdict, BREAKER_ADMIT);
    ck_assert_uint_eq(breakers_open_until(host, &params, NS_PER_S), 0);
    struct breaker_answer answer = breakers_admit(host, &params, NS_PER_S);
    ck_assert_int_eq(answer.verdict, BREAKER_ADMIT);
    uint32_t failures = 7;
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(
            breakers_ended(host, &params, answer.ticket, BREAKER_FAILURE, 1, NS_PER_S, &failures).transition,
            BREAKER_STAYED);
    ck_assert_uint_eq(failures, 0);
}

TEST(a_circuit_that_is_given_back_begins_closed_and_empty)
{
    struct host_handle host = found("a.test");
    break_it(host, 3, NS_PER_S);
    breakers_steer(host.host, STEERING_OPEN);
    breakers_steer(host.host, STEERING_AUTO);
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_ADMIT);
    break_it(host, 2, NS_PER_S);
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_ADMIT);
    break_it(host, 1, NS_PER_S);
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_REJECT);
}

TEST(what_began_while_it_was_held_moves_nothing_later)
{
    struct host_handle host = found("a.test");
    struct breaker_answer before = breakers_admit(host, &params, NS_PER_S);
    breakers_steer(host.host, STEERING_CLOSED);
    struct breaker_answer held = breakers_admit(host, &params, NS_PER_S);
    breakers_steer(host.host, STEERING_AUTO);
    for (int i = 0; i < 3; i++) {
        breakers_ended(host, &params, before.ticket, BREAKER_FAILURE, 1, NS_PER_S, NULL);
        breakers_ended(host, &params, held.ticket, BREAKER_FAILURE, 1, NS_PER_S, NULL);
    }
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_ADMIT);
}

TEST(giving_back_what_nobody_held_changes_nothing)
{
    struct host_handle host = found("a.test");
    break_it(host, 3, NS_PER_S);
    breakers_steer(host.host, STEERING_AUTO);
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_REJECT);
}

TEST(a_reset_circuit_is_closed_and_empty)
{
    struct host_handle host = found("a.test");
    break_it(host, 3, NS_PER_S);
    breakers_reset(host.host);
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_ADMIT);
    ck_assert_uint_eq(breaker_view(atomic_load(&host.host->breaker)).openings, 0);
    breakers_steer(host.host, STEERING_OPEN);
    breakers_reset(host.host);
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_REJECT);
}

TEST(damaged_steering_is_none)
{
    struct host_handle host = found("a.test");
    atomic_store(&host.host->steering, 77);
    ck_assert_int_eq(breakers_steering(host.host), STEERING_AUTO);
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_ADMIT);
    break_it(host, 3, NS_PER_S);
    ck_assert_int_eq(breakers_admit(host, &params, NS_PER_S).verdict, BREAKER_REJECT);
}

TEST(a_full_table_keeps_hosts_that_are_held)
{
    struct host_handle open = found("held-open.test");
    struct target other = named("held-closed.test", 80);
    struct host_handle closed = hosts_find(&rule, &other, 1);
    breakers_steer(open.host, STEERING_OPEN);
    breakers_steer(closed.host, STEERING_CLOSED);
    for (unsigned i = 0; i < 4 * HOSTS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "host-%u.test", i);
        struct target target = named(name, 80);
        ck_assert_ptr_nonnull(hosts_find(&rule, &target, NS_PER_S + i).host);
    }
    ck_assert_uint_eq(atomic_load(&open.host->key), open.key);
    ck_assert_uint_eq(atomic_load(&closed.host->key), closed.key);
    ck_assert_int_eq(breakers_steering(open.host), STEERING_OPEN);
}

TEST(a_flood_of_rejections_is_counted_and_told_in_part)
{
    struct host_handle host = found("a.test");
    unsigned told = 0;
    uint32_t stands_for = 0;
    for (int i = 0; i < 10000; i++) {
        uint32_t count = breakers_rejected(host, NS_PER_S);
        told += count != 0;
        stands_for += count;
    }
    ck_assert_uint_eq(told, 10);
    ck_assert_uint_eq(stands_for + breakers_rejected(host, 2 * NS_PER_S), 10001);
    ck_assert_uint_eq(atomic_load(&host.host->counts[HOST_REJECTED]), 10001);
    /* The recorder counts those that it is given. */
    ck_assert_uint_eq(atomic_load(&segment_current->events[EVENT_REJECTED]), 10001 - 11);
    ck_assert_uint_eq(breakers_rejected((struct host_handle){0}, 1), 1);
}

TEST(a_success_at_any_address_counts_for_the_name)
{
    struct host_handle host = found("a.test");
    struct addresses_tried first = {.identity = 1, .all = 3, .tried = 1}, second = first;
    second.tried = 2;
    struct breaker_params five = {.failure_threshold = 5};
    struct breaker_ticket ticket = {0};
    ck_assert_int_eq(breakers_addresses_failed(host, &first, NS_PER_S), BREAKER_NEUTRAL);
    breakers_ended(host, &five, ticket, BREAKER_SUCCESS, 1, NS_PER_S, NULL);
    ck_assert_int_eq(breakers_addresses_failed(host, &second, NS_PER_S), BREAKER_NEUTRAL);
    breakers_succeeded(host, &five, 1, 0);
    ck_assert_int_eq(breakers_addresses_failed(host, &first, NS_PER_S), BREAKER_NEUTRAL);
    ck_assert_int_eq(breakers_addresses_failed(host, &second, NS_PER_S), BREAKER_FAILURE);
    /* Without a place to keep marks in, each counts. */
    ck_assert_int_eq(breakers_addresses_failed((struct host_handle){0}, &first, 1), BREAKER_FAILURE);
}

TEST(targets_are_written_as_people_write_them)
{
    char text[72];
    struct target v4 = {
        .has_address = true, .port = 443, .address = {{[10] = 0xff, [11] = 0xff, 10, 0, 0, 7}}};
    target_text(&v4, text, sizeof text);
    ck_assert_str_eq(text, "10.0.0.7:443");
    struct target v6 = {.has_address = true, .port = 443, .address = {{[15] = 1}}};
    target_text(&v6, text, sizeof text);
    ck_assert_str_eq(text, "[::1]:443");
    struct target name = named("payments.internal", 0);
    target_text(&name, text, sizeof text);
    ck_assert_str_eq(text, "payments.internal");
}

TEST(a_path_is_told_by_its_end_and_steers_no_terminal)
{
    char text[72];
    struct target path = {.protocol = PROTOCOL_UNIX, .path = "/run/x\033y.sock"};
    target_text(&path, text, sizeof text);
    ck_assert_str_eq(text, "/run/x?y.sock");
    path.path = "/a/very/long/path/in/which/the/beginning/says/little/of/the/server.sock";
    target_text(&path, text, sizeof text);
    ck_assert_str_eq(text, "...ich/the/beginning/says/little/of/the/server.sock");
    ck_assert_uint_eq(strlen(text), 51);
}

TEST(paths_are_hosts_of_their_own)
{
    use_memory();
    struct target one = {.protocol = PROTOCOL_UNIX, .path = "/run/a"},
                  two = {.protocol = PROTOCOL_UNIX, .path = "/run/b"};
    ck_assert_ptr_ne(hosts_find(&rule, &one, 1).host, hosts_find(&rule, &two, 1).host);
    ck_assert_ptr_eq(hosts_find(&rule, &one, 1).host, hosts_find(&rule, &one, 2).host);
}

SUITE("breakers", a_path_is_told_by_its_end_and_steers_no_terminal, paths_are_hosts_of_their_own,
      a_target_keeps_its_place, a_name_is_one_host_whatever_its_address,
      rules_with_other_parameters_do_not_share, a_full_table_gives_up_idle_closed_hosts_and_keeps_open_ones,
      a_handle_to_a_place_that_was_given_away_does_nothing, looking_never_takes_the_probe,
      a_probe_whose_process_is_gone_is_not_waited_for, a_dead_holder_of_an_earlier_probe_gives_nothing_back,
      half_open_admits_one_probe_among_threads, no_count_is_lost_among_threads,
      recovery_empties_the_failure_window, a_circuit_that_is_held_open_rejects_everything,
      a_circuit_that_is_held_closed_admits_and_never_opens,
      a_circuit_that_is_given_back_begins_closed_and_empty, what_began_while_it_was_held_moves_nothing_later,
      giving_back_what_nobody_held_changes_nothing, a_reset_circuit_is_closed_and_empty,
      damaged_steering_is_none, a_full_table_keeps_hosts_that_are_held,
      a_flood_of_rejections_is_counted_and_told_in_part, a_success_at_any_address_counts_for_the_name,
      targets_are_written_as_people_write_them)
