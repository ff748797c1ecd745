/* Many connections in one loop, over and over: each ends in success, in refusal or in a timeout, and begins anew.
 *
 *   stress level|edge|poll|select COUNT AT_ONCE PATIENCE_MS [OPEN_MS]
 *
 * Prints what it counted. A third goes to servers that are up only now and then, a third to one that never is, a third to
 * one that does not answer. The servers live in this process and make their system calls themselves, so that no hook
 * sees them. What has not ended after PATIENCE_MS has not ended well.
 *
 * OPEN_MS: all of them begin before the first wait, so that what is due to them is due at about the same time, and begin
 * anew once all have ended; the servers are up from so long on after they have begun. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "servers.h"
#include "unseen.h"

#define AT_ONCE_MAX 10000
#define NUMBERS_MAX (AT_ONCE_MAX + 1024)
#define SERVERS     4 /* of those that are up now and then */
#define TICK_MS     5
#define LAPS        4 /* after the first nothing grows */
#define NO_NUMBER   (UINT64_C(1) << 30)

enum loop { LEVEL, EDGE, POLL, SELECT, LOOPS };

struct connection {
    enum { FREE, CONNECTING, READING } at;
    enum kind kind;
    int fd;
    uint32_t life; /* how often it has begun */
    uint64_t began_ns;
};

static enum loop loop;
static int epoll;
static struct connection connections[AT_ONCE_MAX], *by_number[NUMBERS_MAX];
static unsigned at_once;
static struct server servers[SERVERS];
static bool is_up[SERVERS];
static uint64_t patience_ns, random_state = 1, change_ns, open_ns;
static unsigned begun, ended[KINDS], unexpected, stray, hidden_seen, idle, early, events_seen, waits;

static unsigned draw(unsigned below)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    return (unsigned)((z ^ z >> 31) >> 16) % below;
}

static void change_server(unsigned number)
{
    int fd = servers[number].fd;
    if (is_up[number] ? syscall(SYS_shutdown, fd, SHUT_RDWR) : syscall(SYS_listen, fd, 4096))
        die("change");
    is_up[number] = !is_up[number];
}

/* All that has come is answered before a server goes down. */
static void change_servers(void)
{
    if (now_ns() < change_ns)
        return;
    if (open_ns) {
        for (unsigned i = 0; i < SERVERS; i++)
            change_server(i);
        change_ns = UINT64_MAX;
        return;
    }
    change_server(draw(SERVERS));
    change_ns = now_ns() + 1000000 + draw(4000000);
}

/* The program. */
static uint64_t data_of(const struct connection *connection)
{
    if (loop == LEVEL)
        return (uint64_t)connection->fd;
    return (uint64_t)connection->life << 32 | NO_NUMBER | (uint64_t)(connection - connections);
}

static void control(struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = data_of(connection)};
    if (epoll_ctl(epoll, operation, connection->fd, &event) != 0)
        die("epoll_ctl");
}

static void end(struct connection *connection, int error)
{
    if (error != expected[connection->kind])
        unexpected++;
    if (close(connection->fd) != 0)
        die("close");
    ended[connection->kind]++;
    connection->at = FREE;
    by_number[connection->fd] = NULL;
}

static void begin(struct connection *connection)
{
    connection->kind = (enum kind)(begun++ % KINDS);
    connection->life++;
    connection->at = CONNECTING;
    connection->began_ns = now_ns();
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        die("socket");
    if (connection->fd >= NUMBERS_MAX)
        die("number");
    by_number[connection->fd] = connection;
    const struct server *server = connection->kind == LATE      ? &servers[draw(SERVERS)]
                                  : connection->kind == REFUSED ? &refusing
                                                                : &silent;
    if (connect(connection->fd, (const struct sockaddr *)&server->address, sizeof server->address) != 0 &&
        errno != EINPROGRESS) {
        end(connection, errno);
        return;
    }
    if (loop == LEVEL)
        control(connection, EPOLL_CTL_ADD, EPOLLOUT);
    else if (loop == EDGE)
        control(connection, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void read_answer(struct connection *connection)
{
    char byte;
    ssize_t got = recv(connection->fd, &byte, 1, 0);
    if (got < 0 && errno == EAGAIN)
        idle++;
    else
        end(connection, got == 1 && byte == '!' ? 0 : got == 0 ? ENODATA : errno);
}

static void happened(struct connection *connection)
{
    events_seen++;
    if (connection->at == FREE) {
        stray++;
    } else if (connection->at == READING) {
        read_answer(connection);
    } else {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        int error = so_error(connection->fd);
        if (error) {
            unexpected += so_error(connection->fd) != 0; /* it is told once */
            end(connection, error);
        } else if (getpeername(connection->fd, (struct sockaddr *)&peer, &length) != 0) {
            hidden_seen++; /* it is not connected, and nothing is wrong */
        } else {
            connection->at = READING;
            if (loop == LEVEL)
                control(connection, EPOLL_CTL_MOD, EPOLLIN);
            else if (loop == EDGE) {
                unsigned before = idle;
                read_answer(connection);
                idle = before; /* it has connected, at least */
            }
        }
    }
}

static int wait_in_epoll(void)
{
    static struct epoll_event events[256];
    int ready = epoll_wait(epoll, events, 256, TICK_MS);
    for (int i = 0; i < ready; i++) {
        struct connection *connection = NULL;
        uint64_t data = events[i].data.u64;
        if (loop == LEVEL && data < NUMBERS_MAX)
            connection = by_number[data];
        if (loop == EDGE)
            connection = &connections[(uint32_t)data & ~(uint32_t)NO_NUMBER];
        if (connection && data_of(connection) == data)
            happened(connection);
        else
            stray++;
    }
    return ready;
}

static int wait_in_poll(void)
{
    static struct pollfd fds[AT_ONCE_MAX];
    for (unsigned i = 0; i < at_once; i++)
        fds[i] = (struct pollfd){.fd = connections[i].at == FREE ? -1 : connections[i].fd,
                                 .events = connections[i].at == READING ? POLLIN : POLLOUT};
    int ready = poll(fds, at_once, TICK_MS), seen = 0;
    for (unsigned i = 0; i < at_once; i++) {
        if (fds[i].revents) {
            seen++;
            happened(&connections[i]);
        }
    }
    stray += ready != seen;
    return ready;
}

static int wait_in_select(void)
{
    fd_set reads, writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    int most = -1;
    for (unsigned i = 0; i < at_once; i++) {
        const struct connection *connection = &connections[i];
        if (connection->at == FREE)
            continue;
        if (connection->fd >= FD_SETSIZE)
            die("too many for select");
        FD_SET(connection->fd, connection->at == READING ? &reads : &writes);
        most = connection->fd > most ? connection->fd : most;
    }
    struct timeval timeout = {.tv_usec = TICK_MS * 1000};
    int ready = select(most + 1, &reads, &writes, NULL, &timeout), seen = 0;
    for (unsigned i = 0; i < at_once && ready > 0; i++) {
        struct connection *connection = &connections[i];
        if (connection->at != FREE &&
            FD_ISSET(connection->fd, connection->at == READING ? &reads : &writes)) {
            seen++;
            happened(connection);
        }
    }
    stray += ready != seen;
    return ready;
}

static void wait_once(void)
{
    uint64_t before = now_ns();
    int ready = loop == POLL ? wait_in_poll() : loop == SELECT ? wait_in_select() : wait_in_epoll();
    waits++;
    if (ready < 0)
        die("wait");
    if (ready == 0 && now_ns() - before < TICK_MS * 1000000)
        early++;
}

/* Down, to be up in a while. */
static void close_servers(void)
{
    for (unsigned i = 0; i < SERVERS; i++)
        if (is_up[i])
            change_server(i);
    change_ns = now_ns() + open_ns;
}

/* The first one begins as many as there may be at once, so that no later one can need more than it did. */
static void run_lap(unsigned until, bool is_first)
{
    if (open_ns)
        close_servers();
    for (unsigned left = 1; left;) {
        unsigned fresh = 0;
        left = 0;
        for (unsigned i = 0; i < at_once; i++) {
            struct connection *connection = &connections[i];
            if (connection->at != FREE && now_ns() - connection->began_ns > patience_ns)
                end(connection, ETIME);
            if (connection->at == FREE && begun < until && (open_ns || is_first || fresh++ < 64))
                begin(connection);
            left += connection->at != FREE || begun < until;
        }
        if (left)
            wait_once();
        for (unsigned i = 0; i < SERVERS; i++)
            if (is_up[i])
                answer_all(&servers[i]);
        change_servers();
    }
}

int main(int count, char **arguments)
{
    static const char *const names[LOOPS] = {"level", "edge", "poll", "select"};
    if (count != 5 && count != 6)
        return 2;
    while (loop < LOOPS && strcmp(arguments[1], names[loop]) != 0)
        loop++;
    unsigned total = (unsigned)atoi(arguments[2]);
    at_once = (unsigned)atoi(arguments[3]);
    patience_ns = (uint64_t)atoi(arguments[4]) * 1000000;
    open_ns = count == 6 ? (uint64_t)atoi(arguments[5]) * 1000000 : 0;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop != SELECT)
        raise_limit();
    if (loop == LOOPS || at_once > AT_ONCE_MAX || epoll < 0)
        return 2;
    open_servers(servers, SERVERS);
    struct usage usage[2];
    for (unsigned lap = 1; lap <= LAPS; lap++) {
        run_lap(total / LAPS * lap, lap == 1);
        if (lap == 1 || lap == LAPS)
            usage[lap > 1] = measure();
    }
    unsigned long *made = dlsym(RTLD_DEFAULT, "waits_made");
    printf("{\"late\": %u, \"refused\": %u, \"silent\": %u, \"unexpected\": %u, \"stray\": %u, "
           "\"hidden_seen\": %u, \"idle\": %u, \"early\": %u, \"events\": %u, \"waits\": %u, "
           "\"kernel_waits\": %lu, \"pages\": %ld, \"mapped\": %ld, \"descriptors\": %ld}\n",
           ended[LATE], ended[REFUSED], ended[SILENT], unexpected, stray, hidden_seen, idle, early,
           events_seen, waits, made ? *made : 0, usage[1].pages - usage[0].pages,
           usage[1].mapped - usage[0].mapped, usage[1].descriptors - usage[0].descriptors);
    return 0;
}
