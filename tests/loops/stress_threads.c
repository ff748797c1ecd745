/* Many connections among several threads that wait in one epoll, each descriptor registered for one event at a time
 * (EPOLLONESHOT): each ends in success, in refusal or in a timeout, and whoever was told of that begins another one.
 *
 *   stress_threads COUNT AT_ONCE PATIENCE_MS OPEN_MS [all]
 *
 * Prints what it counted. A third goes to servers that come up one after the other, the last one after OPEN_MS, and go down
 * when a lap is over; a third to one that never is up, a third to one that does not answer. The servers live in this process and
 * make their system calls themselves, so that no hook sees them. `lost` are those that have not ended when nothing has for
 * PATIENCE_MS; `doubled` is who was told of one that another thread was told of too.
 *
 * all: those of a lap begin at once, and none when another one ends; the servers come up together. */
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "servers.h"
#include "unseen.h"

#define AT_ONCE_MAX 10000
#define THREADS     4
#define SERVERS     8  /* of those that come up */
#define AT_A_TIME   16 /* events of one wait */
#define TICK_MS     20
#define LAPS        4 /* after the first nothing grows */

/* Only who has set `is_seen_to` reads or writes the rest. */
struct connection {
    _Atomic bool is_seen_to;
    bool is_connected;
    enum kind kind;
    int fd;
    uint32_t life; /* how often it has begun */
};

static int epoll;
static bool is_all_at_once;
static struct connection connections[AT_ONCE_MAX];
static struct server servers[SERVERS];
static uint64_t open_ns;
static _Atomic uint64_t lap_began_ns, served_ns; /* the lap that the servers are in */
static _Atomic bool is_over;
static _Atomic unsigned until, begun, ended[KINDS], unexpected, stray, doubled, hidden_seen, idle, early,
    events_seen, waits;

/* They go down when a lap is over, and nothing is under way: what has just connected would be reset. */
static void *serve(void *unused)
{
    for (unsigned up = 0; !is_over;) {
        uint64_t began_ns = lap_began_ns;
        if (began_ns != served_ns) {
            for (unsigned i = 0; i < up; i++)
                if (syscall(SYS_shutdown, servers[i].fd, SHUT_RDWR) != 0)
                    die("shutdown");
            up = 0;
            served_ns = began_ns;
        }
        while (began_ns && up < SERVERS &&
               now_ns() - began_ns >= open_ns * (is_all_at_once ? SERVERS : up + 1) / SERVERS)
            if (syscall(SYS_listen, servers[up++].fd, 4096) != 0)
                die("listen");
        for (unsigned i = 0; i < up; i++)
            answer_all(&servers[i]);
        pause_us(1000);
    }
    return unused;
}

/* From here on another thread may see to it. */
static void arm(struct connection *connection, int operation, uint32_t events)
{
    int fd = connection->fd;
    struct epoll_event event = {.events = events | EPOLLONESHOT,
                                .data.u64 =
                                    (uint64_t)connection->life << 32 | (uint64_t)(connection - connections)};
    connection->is_seen_to = false;
    if (epoll_ctl(epoll, operation, fd, &event) != 0)
        die("epoll_ctl");
}

static void begin(struct connection *connection, unsigned number)
{
    connection->kind = (enum kind)(number % KINDS);
    connection->life++;
    connection->is_connected = false;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const struct server *server = connection->kind == LATE      ? &servers[number / KINDS % SERVERS]
                                  : connection->kind == REFUSED ? &refusing
                                                                : &silent;
    if (connection->fd < 0 ||
        connect(connection->fd, (const struct sockaddr *)&server->address, sizeof server->address) == 0 ||
        errno != EINPROGRESS)
        die("connect");
    arm(connection, EPOLL_CTL_ADD, EPOLLOUT);
}

static bool may_begin(unsigned *number)
{
    *number = begun;
    while (*number < until)
        if (atomic_compare_exchange_weak(&begun, number, *number + 1))
            return true;
    return false;
}

/* The next one takes its place, and mostly its number. */
static void end(struct connection *connection, int error)
{
    enum kind kind = connection->kind;
    unsigned number;
    unexpected += error != expected[kind];
    if (close(connection->fd) != 0)
        die("close");
    if (!is_all_at_once && may_begin(&number))
        begin(connection, number);
    ended[kind]++; /* what is counted here has left nothing behind */
}

static void read_answer(struct connection *connection)
{
    char byte;
    ssize_t got = recv(connection->fd, &byte, 1, 0);
    if (got < 0 && errno == EAGAIN) {
        idle++;
        arm(connection, EPOLL_CTL_MOD, EPOLLIN);
    } else {
        end(connection, got == 1 && byte == '!' ? 0 : got == 0 ? ENODATA : errno);
    }
}

static void happened(const struct epoll_event *event)
{
    struct connection *connection = &connections[(uint32_t)event->data.u64];
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    events_seen++;
    if (atomic_exchange(&connection->is_seen_to, true)) {
        doubled++;
    } else if (connection->life != event->data.u64 >> 32) {
        stray++;
        connection->is_seen_to = false;
    } else if (connection->is_connected) {
        read_answer(connection);
    } else {
        int error = so_error(connection->fd);
        if (error) {
            unexpected += so_error(connection->fd) != 0; /* it is told once */
            end(connection, error);
        } else if (getpeername(connection->fd, (struct sockaddr *)&peer, &length) != 0) {
            hidden_seen++; /* it is not connected, and nothing is wrong */
            arm(connection, EPOLL_CTL_MOD, EPOLLOUT);
        } else {
            connection->is_connected = true;
            arm(connection, EPOLL_CTL_MOD, EPOLLIN);
        }
    }
}

static void *wait_for_all(void *unused)
{
    struct epoll_event events[AT_A_TIME];
    while (!is_over) {
        uint64_t before = now_ns();
        int ready = epoll_wait(epoll, events, AT_A_TIME, TICK_MS);
        waits++;
        if (ready < 0)
            die("epoll_wait");
        early += ready == 0 && now_ns() - before < TICK_MS * 1000000;
        for (int i = 0; i < ready; i++)
            happened(&events[i]);
    }
    return unused;
}

static unsigned all_ended(void)
{
    return ended[LATE] + ended[REFUSED] + ended[SILENT];
}

/* False: nothing has ended for as long as that. */
static bool run_lap(unsigned last, unsigned at_once, uint64_t patience_ns)
{
    lap_began_ns = now_ns();
    while (served_ns != lap_began_ns)
        pause_us(1000);
    until = last;
    unsigned number;
    for (unsigned i = 0; i < at_once && may_begin(&number); i++) {
        connections[i].is_seen_to = true;
        begin(&connections[i], number);
    }
    uint64_t changed_ns = now_ns();
    for (unsigned seen = 0; all_ended() < last; pause_us(2000)) {
        if (all_ended() != seen)
            changed_ns = now_ns();
        else if (now_ns() - changed_ns > patience_ns)
            return false;
        seen = all_ended();
    }
    return true;
}

int main(int count, char **arguments)
{
    if (count != 5 && count != 6)
        return 2;
    unsigned total = (unsigned)atoi(arguments[1]), at_once = (unsigned)atoi(arguments[2]);
    uint64_t patience_ns = (uint64_t)atoi(arguments[3]) * 1000000;
    open_ns = (uint64_t)atoi(arguments[4]) * 1000000;
    is_all_at_once = count == 6;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    raise_limit();
    if (at_once > AT_ONCE_MAX || total % LAPS || epoll < 0)
        return 2;
    open_servers(servers, SERVERS);
    pthread_t server, threads[THREADS];
    if (pthread_create(&server, NULL, serve, NULL) != 0)
        die("thread");
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, wait_for_all, NULL) != 0)
            die("thread");
    struct usage usage[2] = {0};
    for (unsigned lap = 1; lap <= LAPS && run_lap(total / LAPS * lap, at_once, patience_ns); lap++)
        if (lap == 1 || lap == LAPS)
            usage[lap > 1] = measure();
    is_over = true;
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(server, NULL);
    _Atomic unsigned long *made = dlsym(RTLD_DEFAULT, "waits_made"),
                          *empty = dlsym(RTLD_DEFAULT, "waits_empty");
    printf(
        "{\"late\": %u, \"refused\": %u, \"silent\": %u, \"lost\": %u, \"unexpected\": %u, \"stray\": %u, "
        "\"doubled\": %u, \"hidden_seen\": %u, \"idle\": %u, \"early\": %u, \"events\": %u, \"waits\": %u, ",
        ended[LATE], ended[REFUSED], ended[SILENT], begun - all_ended(), unexpected, stray, doubled,
        hidden_seen, idle, early, events_seen, waits);
    printf("\"kernel_waits\": %lu, \"kernel_empty\": %lu, \"pages\": %ld, \"mapped\": %ld, "
           "\"descriptors\": %ld}\n",
           made ? *made : 0, empty ? *empty : 0, usage[1].pages - usage[0].pages,
           usage[1].mapped - usage[0].mapped, usage[1].descriptors - usage[0].descriptors);
    return 0;
}
