#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scripts.h"
#include "unseen.h"

static pthread_t program;
static pid_t program_id;

struct errand {
    struct connection *connection;
    int result, error;
    _Atomic bool is_done;
};

/* While the program is asleep in its wait, if it can be met there. */
static void *connect_elsewhere(void *argument)
{
    struct errand *errand = argument;
    struct connection *connection = errand->connection;
    for (unsigned tries = 0; tries < 100 && !is_asleep(getpid(), program_id); tries++)
        pause_us(20);
    errand->result = connect(connection->fd, (struct sockaddr *)&connection->address, connection->length);
    errand->error = errno;
    connection->is_closed = false;
    add(connection);
    errand->is_done = true;
    return NULL;
}

void begin_in_thread(struct connection *connection)
{
    struct errand errand = {.connection = connection};
    pthread_t thread;
    uint64_t before = script_random;
    set_data(connection);
    if (pthread_create(&thread, NULL, connect_elsewhere, &errand) != 0)
        exit(2);
    while (!errand.is_done)
        look(NULL, 3);
    script_random = before;
    pthread_join(thread, NULL);
    errno = errand.error;
    outcome("connect", errand.result);
}

/* Interrupts the program once, in its wait. */
static void *interrupt_once(void *unused)
{
    while (!is_asleep(getpid(), program_id))
        pause_us(20);
    pthread_kill(program, SIGUSR1);
    return unused;
}

/* A wait while nothing is to be seen ends by a signal. */
void be_interrupted(void)
{
    pthread_t thread;
    uint64_t before = script_random, patience = now_ms() + PATIENCE_MS;
    for (unsigned i = 0; i < count; i++)
        if (connections[i].story == REFUSED && !connections[i].is_over)
            return;
    if (loop == NESTED)
        return; /* an epoll in another one shows that there is something, be it hidden */
    if (pthread_create(&thread, NULL, interrupt_once, NULL) != 0)
        exit(2);
    do
        look(NULL, PATIENCE_MS);
    while (!was_interrupted && now_ms() < patience);
    script_random = before;
    pthread_join(thread, NULL);
    say(" interrupted:%d", was_interrupted);
}

/* Interrupts the program over and over, in its waits and elsewhere; some of its waits do not want to be. */
static _Atomic bool has_ended, is_surprised;
static _Atomic unsigned sent, handled;

static void handle(int number)
{
    handled += number == SIGUSR2;
}

static void *interrupt_often(void *unused)
{
    uint64_t random = 1;
    while (!has_ended) {
        if (may_interrupt && handled == sent) {
            sent++;
            pthread_kill(program, SIGUSR2);
        }
        pause_us(100 + (unsigned)(next(&random) % 1000));
    }
    return unused;
}

/* Waits for what never comes, and carries out what is due to the program. */
static void *wait_beside(void *unused)
{
    uint64_t random = 2;
    int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (pipe2(ends, O_CLOEXEC) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0)
        exit(2);
    struct pollfd asked = {.fd = ends[0], .events = POLLIN};
    while (!has_ended) {
        int timeout_ms = (int)(next(&random) % 20);
        if (timeout_ms % 2 ? poll(&asked, 1, timeout_ms) : epoll_wait(epoll, &event, 1, timeout_ms))
            is_surprised = true;
    }
    return unused;
}

/* Waits in the other one of two epolls, or in the one that there is: data that are no numbers tell which connection an event is
 * about, now and later. Where the kernel keeps nothing silent (`own`) it may now and then be told (docs/limits.md). */
static _Atomic bool is_beside;

static void *wait_in_epoll_too(void *unused)
{
    struct epoll_event events[CONNECTIONS];
    uint64_t random = 3;
    int epoll = epolls[loop == TWO_EPOLLS];
    while (is_beside) {
        int ready = epoll_wait(epoll, events, CONNECTIONS, (int)(next(&random) % 10));
        for (int i = 0; i < ready; i++)
            if (!is_own && events[i].data.u64 >= OPAQUE &&
                connections[(events[i].data.u64 - OPAQUE) / 4096].is_quiet)
                is_surprised = true;
        if (ready > 0)
            pause_us(200);
    }
    return unused;
}

static pthread_t others[2], beside;

void begin_threads(void)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    program = pthread_self();
    program_id = (pid_t)syscall(SYS_gettid);
    if (pthread_create(&others[0], NULL, interrupt_often, NULL) != 0 ||
        pthread_create(&others[1], NULL, wait_beside, NULL) != 0)
        exit(2);
}

void end_threads(void)
{
    has_ended = true;
    pthread_join(others[0], NULL);
    pthread_join(others[1], NULL);
}

/* A script begins. */
void begin_beside(void)
{
    is_beside = loop == TWO_EPOLLS || loop == LEVEL;
    if (is_beside && pthread_create(&beside, NULL, wait_in_epoll_too, NULL) != 0)
        exit(2);
}

/* The script is over: has it got each signal, and have other threads seen nothing that they should not? */
void settle_threads(void)
{
    if (is_beside) {
        is_beside = false;
        pthread_join(beside, NULL);
    }
    may_interrupt = false;
    for (unsigned tries = 0; tries < 1000 && handled != sent; tries++)
        pause_us(1000);
    say(" signals:%d", handled == sent);
    if (is_surprised)
        say(" SURPRISED");
    is_surprised = false;
}
