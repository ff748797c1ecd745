#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state/visitors.h"
#include "suite.h"

static int first, second;
static struct published published = {.what = &first};
enum { FIRST, SECOND }; /* their versions */

TEST(who_is_inside_holds_what_was_published_then)
{
    struct visit visit;
    ck_assert_ptr_eq(visitors_enter(&visit, &published), &first);
    ck_assert_ptr_eq(visitors_publish(&published, &second), &first);
    ck_assert(visitors_hold(FIRST));
    visitors_leave(&visit);
    ck_assert(!visitors_hold(FIRST));
}

TEST(who_comes_later_holds_nothing_from_before)
{
    visitors_publish(&published, &second);
    struct visit visit;
    ck_assert_ptr_eq(visitors_enter(&visit, &published), &second);
    ck_assert(!visitors_hold(FIRST));
    ck_assert(visitors_hold(SECOND));
    visitors_leave(&visit);
    ck_assert(!visitors_hold(SECOND));
}

TEST(versions_come_round)
{
    struct published old = {.what = &first, .version = UINT32_MAX};
    struct visit visit;
    ck_assert_ptr_eq(visitors_enter(&visit, &old), &first);
    visitors_publish(&old, &second);
    ck_assert_uint_eq(old.version, 0);
    ck_assert(visitors_hold(UINT32_MAX));
    visitors_leave(&visit);
    ck_assert_ptr_eq(visitors_enter(&visit, &old), &second);
    ck_assert(!visitors_hold(UINT32_MAX));
    ck_assert(visitors_hold(0));
    visitors_leave(&visit);
}

TEST(nothing_published_takes_no_place)
{
    struct published nothing = {.what = NULL};
    struct visit visit;
    ck_assert_ptr_null(visitors_enter(&visit, &nothing));
    ck_assert_uint_eq(visit.place, 0);
    visitors_leave(&visit);
}

static jmp_buf out;

static __attribute__((noinline)) void enter_and_jump(void)
{
    struct visit visit;
    visitors_enter(&visit, &published);
    longjmp(out, 1);
}

static __attribute__((noinline)) void enter_and_leave(void)
{
    struct visit visit;
    visitors_enter(&visit, &published);
    visitors_leave(&visit);
}

TEST(a_call_that_was_jumped_out_of_is_forgotten_at_the_next_one)
{
    for (volatile int i = 0; i < 5000; i++) /* more often than there are places */
        if (setjmp(out) == 0)
            enter_and_jump();
    ck_assert(visitors_hold(FIRST));
    visitors_publish(&published, &second);
    struct visit from_further_out;
    visitors_enter(&from_further_out, &published);
    visitors_leave(&from_further_out);
    ck_assert(!visitors_hold(FIRST));
}

static struct visit outer;
static volatile bool is_held_inside;

static void enter_in_handler(int number)
{
    (void)number;
    enter_and_leave();
    is_held_inside = visitors_hold(FIRST);
}

TEST(a_call_from_a_handler_leaves_the_one_that_it_interrupts_alone)
{
    struct sigaction action = {.sa_handler = enter_in_handler};
    sigaction(SIGUSR1, &action, NULL);
    visitors_enter(&outer, &published);
    visitors_publish(&published, &second);
    raise(SIGUSR1);
    ck_assert(is_held_inside);
    ck_assert(visitors_hold(FIRST));
    visitors_leave(&outer);
    ck_assert(!visitors_hold(FIRST));
}

/* The handler's stack may be anywhere. Here it is above that of the thread, where a call from further out would be. */
static void *be_interrupted(void *handlers_stack)
{
    stack_t stack = {.ss_sp = handlers_stack, .ss_size = 2 << 20};
    sigaltstack(&stack, NULL);
    visitors_enter(&outer, &published);
    visitors_publish(&published, &second);
    raise(SIGUSR1);
    visitors_leave(&outer);
    return NULL;
}

TEST(nor_does_one_from_a_handler_on_a_stack_of_its_own)
{
    static char room[2][2 << 20] __attribute__((aligned(4096)));
    struct sigaction action = {.sa_handler = enter_in_handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    ck_assert_int_eq(pthread_attr_setstack(&attributes, room[0], sizeof room[0]), 0);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, &attributes, be_interrupted, room[1]), 0);
    pthread_join(thread, NULL);
    ck_assert(is_held_inside);
}

static void *enter_and_die(void *unused)
{
    struct visit visit;
    visitors_enter(&visit, &published);
    return unused; /* as if cancelled */
}

TEST(a_thread_that_is_gone_holds_nothing)
{
    pthread_t thread;
    pthread_create(&thread, NULL, enter_and_die, NULL);
    pthread_join(thread, NULL);
    ck_assert(!visitors_hold(FIRST));
}

static int told[2], go[2];

static void *enter_and_wait(void *unused)
{
    struct visit visit;
    char byte = 0;
    visitors_enter(&visit, &published);
    ck_assert_int_eq(write(told[1], &byte, 1), 1);
    ck_assert_int_eq(read(go[0], &byte, 1), 1);
    visitors_leave(&visit);
    return unused;
}

TEST(a_fork_child_has_its_own_call_and_not_those_of_other_threads)
{
    ck_assert_int_eq(pipe(told) | pipe(go), 0);
    char byte = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, enter_and_wait, NULL);
    ck_assert_int_eq(read(told[0], &byte, 1), 1);
    visitors_publish(&published, &second);
    visitors_enter(&outer, &published);
    pid_t child = fork();
    if (child == 0) {
        enter_and_leave();
        bool is_right = !visitors_hold(FIRST) && visitors_hold(SECOND);
        visitors_leave(&outer);
        _exit(is_right && !visitors_hold(SECOND) ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert(visitors_hold(FIRST));
    ck_assert_int_eq(write(go[1], &byte, 1), 1);
    pthread_join(thread, NULL);
    ck_assert(!visitors_hold(FIRST));
    visitors_leave(&outer);
}

/* What a visitor reads is poisoned once nobody holds it. */
#define VERSIONS 2000
static int *versions[VERSIONS];
static struct published newest;
static bool is_over;

static void *read_on(void *failures)
{
    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        struct visit visit;
        const int *version = visitors_enter(&visit, &newest);
        for (int i = 0; i < 20; i++)
            if (__atomic_load_n(version, __ATOMIC_RELAXED) != 1)
                __atomic_add_fetch((int *)failures, 1, __ATOMIC_RELAXED);
        visitors_leave(&visit);
    }
    return NULL;
}

TEST(what_threads_read_stays_until_they_leave)
{
    int failures = 0, reclaimed = 0, oldest = 0;
    pthread_t threads[4];
    for (int i = 0; i < VERSIONS; i++) {
        versions[i] = malloc(sizeof(int));
        *versions[i] = 1;
    }
    newest.what = versions[0];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, read_on, &failures);
    for (int i = 1; i < VERSIONS; i++) {
        visitors_publish(&newest, versions[i]);
        for (; oldest < i && !visitors_hold((uint32_t)oldest); oldest++, reclaimed++)
            __atomic_store_n(versions[oldest], 0, __ATOMIC_RELAXED);
    }
    /* A thread that lost the processor during a visit may have held all of them: what is left is waited for. */
    for (; oldest < VERSIONS - 1; oldest++, reclaimed++) {
        while (visitors_hold((uint32_t)oldest))
            sched_yield();
        __atomic_store_n(versions[oldest], 0, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&is_over, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(failures, 0);
    ck_assert_int_eq(reclaimed, VERSIONS - 1);
}

SUITE("visitors", who_is_inside_holds_what_was_published_then, who_comes_later_holds_nothing_from_before,
      versions_come_round, nothing_published_takes_no_place,
      a_call_that_was_jumped_out_of_is_forgotten_at_the_next_one,
      a_call_from_a_handler_leaves_the_one_that_it_interrupts_alone,
      nor_does_one_from_a_handler_on_a_stack_of_its_own, a_thread_that_is_gone_holds_nothing,
      a_fork_child_has_its_own_call_and_not_those_of_other_threads, what_threads_read_stays_until_they_leave)
