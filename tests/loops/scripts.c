/* Loop programs by the thousand, each made up from its seed: what it sees goes to standard output, a line for a script.
 *
 *   scripts plain|hidden FIRST COUNT [own]
 *
 * `plain` is told by the kernel alone: a descriptor is silent, then accepted or refused. `hidden` tells the same story to
 * the program by way of what libresil hides: refused again and again, or unanswered, until the server is there. The
 * servers live in this process and make their system calls themselves, so that no hook sees them, and nothing is decided
 * by how long anything takes. In some scripts another thread does a part of it while the first one is asleep in its wait, or
 * interrupts that by a signal. `own`: without what only the kernel could keep from being seen, which is when a child looks,
 * or when a descriptor is given up and not closed; and without threads. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 3
#define PATIENCE_MS 20000
#define BELL        UINT64_C(0x7e0000000000)

/* Networks of loopback, which the rules tell apart. */
enum net { NET_EAGER = 1, NET_PATIENT, NET_GIVES_UP, NET_IMPATIENT, NET_PLAIN };
/* What becomes of a connection, as the program sees it. */
enum story { SILENT, ACCEPTED, REFUSED };
enum loop {
    POLL,
    PPOLL,
    SELECT,
    PSELECT,
    LEVEL,
    EDGE,
    ONESHOT,
    EDGE_ONESHOT,
    EXCLUSIVE,
    EDGE_EXCLUSIVE,
    NESTED,
    TWO_EPOLLS,
    LOOPS
};

struct connection {
    enum story story;
    int fd;
    enum { V4, MAPPED, V6, FAMILIES } family;
    bool is_closed, is_over, is_armed, is_registered, is_black_hole;
    struct sockaddr_storage address;
    socklen_t length;
    int listener, filler, accepted;
    uint64_t data;
    uint32_t events, inbox;
};

static bool is_hidden, is_own;
static uint64_t script_random, hidden_random, bell_random;
static _Thread_local uint64_t *drawn = &script_random;
static bool is_threaded;
static pthread_t script_thread;
static pid_t script_thread_id;
static int bell[2];
static sem_t orders;
static pthread_t other;
static struct connection *ordered; /* of the other thread: a step of this one; NULL: the signal */
static _Atomic bool is_at_end;
static _Thread_local unsigned interruptions;
static enum loop loop;
static int epolls[2], outer;
static struct connection connections[CONNECTIONS];
static unsigned count;
static char line[1 << 16];
static size_t length;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int wrote = vsnprintf(line + length, sizeof line - length, format, arguments);
    va_end(arguments);
    if (wrote > 0 && length + (size_t)wrote < sizeof line)
        length += (size_t)wrote;
}

static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static unsigned draw(unsigned below)
{
    return (unsigned)(next(drawn) % below);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The servers. */
static int raw(long result)
{
    if (result < 0) {
        perror("server");
        exit(2);
    }
    return (int)result;
}

static void raw_close(int *fd)
{
    if (*fd >= 0)
        syscall(SYS_close, *fd);
    *fd = -1;
}

/* Waits until the kernel says so of a descriptor, whoever has it. */
static void raw_await(int fd, short events)
{
    struct pollfd asked = {.fd = fd, .events = events};
    struct timespec patience = {20, 0};
    syscall(SYS_ppoll, &asked, 1, &patience, NULL, 8);
}

/* Each process has addresses of its own, so that no two of them meet at a port. */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static union address address_in(const struct connection *connection, enum net net, unsigned port,
                                socklen_t *size)
{
    unsigned slot = (unsigned)(connection - connections);
    uint32_t host = ((uint32_t)getpid() & 0x3fff) << 2 | (slot + 1);
    uint32_t v4 = htonl(127u << 24 | (70u + net) << 16 | host);
    union address address = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)}};
    *size = sizeof address.v6;
    if (connection->family == V4) {
        address.v4 = (struct sockaddr_in){AF_INET, address.v6.sin6_port, {v4}, {0}};
        *size = sizeof address.v4;
        return address;
    }
    uint8_t *bytes = address.v6.sin6_addr.s6_addr;
    bytes[0] = connection->family == V6 ? 0xfd : 0;
    bytes[1] = connection->family == V6 ? (uint8_t)(0x70 + net) : 0;
    bytes[10] = bytes[11] = connection->family == MAPPED ? 0xff : 0;
    memcpy(bytes + 12, &v4, 4);
    return address;
}

/* One that is bound: whoever connects is refused until it listens. Mapped addresses are those of servers of IPv4. */
static union address address_of_server(const struct connection *connection, enum net net, unsigned port,
                                       socklen_t *size)
{
    union address address = address_in(connection, net, port, size);
    if (connection->family == MAPPED) {
        uint32_t v4;
        memcpy(&v4, address.v6.sin6_addr.s6_addr + 12, 4);
        address.v4 = (struct sockaddr_in){AF_INET, htons((uint16_t)port), {v4}, {0}};
        *size = sizeof address.v4;
    }
    return address;
}

static int bind_server(const struct connection *connection, enum net net, unsigned *port)
{
    socklen_t size;
    union address address = address_of_server(connection, net, *port, &size);
    int fd = raw(syscall(SYS_socket, address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)), on = 1;
    syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    raw(syscall(SYS_bind, fd, &address, size));
    syscall(SYS_getsockname, fd, &address, &size);
    *port = ntohs(address.v4.sin_port); /* at the same place */
    return fd;
}

/* One that does not answer: its queue is full. */
static void make_silent(struct connection *connection, enum net net, unsigned port)
{
    socklen_t size;
    union address address = address_of_server(connection, net, port, &size);
    raw(syscall(SYS_listen, connection->listener, 0));
    connection->filler = raw(syscall(SYS_socket, address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    raw(syscall(SYS_connect, connection->filler, &address, size));
    connection->is_black_hole = true;
}

static void raw_read_all(int fd, size_t size, char *got)
{
    for (size_t done = 0; done < size;) {
        raw_await(fd, POLLIN);
        ssize_t more = syscall(SYS_recvfrom, fd, got + done, size - done, MSG_DONTWAIT, NULL, NULL);
        if (more <= 0)
            break;
        done += (size_t)more;
    }
}

/* The program. */
static uint32_t mode_bits(void)
{
    switch (loop) {
    case EDGE:
        return EPOLLET;
    case ONESHOT:
        return EPOLLONESHOT;
    case EDGE_ONESHOT:
        return EPOLLET | EPOLLONESHOT;
    case EXCLUSIVE:
        return EPOLLEXCLUSIVE;
    case EDGE_EXCLUSIVE:
        return EPOLLET | EPOLLEXCLUSIVE;
    default:
        return 0;
    }
}

static bool is_epoll(void)
{
    return loop >= LEVEL;
}

static bool is_edge(void)
{
    return mode_bits() & (EPOLLET | EPOLLONESHOT);
}

static void control(struct connection *connection, int operation)
{
    struct epoll_event event = {.events = connection->events | mode_bits(), .data.u64 = connection->data};
    if (loop == EXCLUSIVE || loop == EDGE_EXCLUSIVE)
        event.events &= ~(uint32_t)EPOLLRDHUP; /* the kernel refuses it together */
    for (int i = 0; i < (loop == TWO_EPOLLS ? 2 : 1); i++)
        if (epoll_ctl(epolls[i], operation, connection->fd, &event) != 0)
            say(" ctl%d:%d", operation, errno);
    connection->is_armed = connection->is_registered = operation != EPOLL_CTL_DEL;
}

static void set_data(struct connection *connection)
{
    /* Its number, as most programs do, or what is no number. */
    unsigned index = (unsigned)(connection - connections);
    if (connection->data < 4096)
        connection->data = (uint64_t)connection->fd;
    else
        connection->data = 0x7f0000000000 + index * 4096;
}

static void add(struct connection *connection)
{
    set_data(connection);
    if (is_epoll())
        control(connection, EPOLL_CTL_ADD);
}

static const sigset_t *some_mask(void)
{
    static sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    return draw(2) ? &mask : NULL;
}

/* What a wait returned; one that is only for the bell tells nothing. */
static void note_wait(int ready)
{
    if (ready >= 0 || drawn != &script_random)
        return;
    interruptions += errno == EINTR;
    if (errno != EINTR)
        say(" wait:%d", errno);
}

/* `wanted`, here and below: NULL for the bell. */
static unsigned wait_poll_for(struct connection *wanted, int timeout_ms)
{
    struct pollfd fds[CONNECTIONS + 1];
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    for (unsigned i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = connections[i].is_closed ? -1 : connections[i].fd,
                                 .events = (short)connections[i].events};
    fds[count] = (struct pollfd){.fd = wanted ? -1 : bell[0], .events = POLLIN};
    const sigset_t *mask = some_mask();
    int ready = loop == POLL ? poll(fds, count + 1, timeout_ms) : ppoll(fds, count + 1, &timeout, mask);
    note_wait(ready);
    return ready > 0 ? (unsigned short)fds[wanted ? wanted - connections : count].revents : 0;
}

static unsigned wait_select_for(struct connection *wanted, int timeout_ms)
{
    fd_set reads, writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    int most = 0;
    for (unsigned i = 0; i < count; i++) {
        struct connection *connection = &connections[i];
        if (connection->is_closed)
            continue;
        if (connection->events & EPOLLIN)
            FD_SET(connection->fd, &reads);
        if (connection->events & EPOLLOUT)
            FD_SET(connection->fd, &writes);
        most = connection->fd > most ? connection->fd : most;
    }
    if (!wanted) {
        FD_SET(bell[0], &reads);
        most = bell[0] > most ? bell[0] : most;
    }
    struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    struct timespec precise = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    const sigset_t *mask = some_mask();
    int ready = loop == SELECT ? select(most + 1, &reads, &writes, NULL, &timeout)
                               : pselect(most + 1, &reads, &writes, NULL, &precise, mask);
    note_wait(ready);
    if (ready > 0 && !wanted)
        return FD_ISSET(bell[0], &reads) ? EPOLLIN : 0;
    if (ready <= 0 || wanted->is_closed)
        return 0;
    return (FD_ISSET(wanted->fd, &reads) ? EPOLLIN : 0) | (FD_ISSET(wanted->fd, &writes) ? EPOLLOUT : 0);
}

static unsigned wait_epoll_for(struct connection *wanted, int timeout_ms)
{
    struct epoll_event events[CONNECTIONS + 2];
    int most = 1 + (int)draw(CONNECTIONS), epoll = epolls[0], ready;
    unsigned form = draw(3);
    const sigset_t *mask = some_mask();
    if (loop == TWO_EPOLLS)
        epoll = epolls[draw(2)];
    if (loop == NESTED) {
        ready = epoll_wait(outer, events, 1, timeout_ms);
        note_wait(ready);
        if (ready <= 0)
            return 0;
        timeout_ms = 0;
    }
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    if (form == 0)
        ready = epoll_wait(epoll, events, most, timeout_ms);
    else if (form == 1)
        ready = epoll_pwait(epoll, events, most, timeout_ms, mask);
    else
        ready = epoll_pwait2(epoll, events, most, &timeout, mask);
    note_wait(ready);
    unsigned seen = 0;
    for (int i = 0; i < ready; i++) {
        if (events[i].data.u64 == BELL) {
            seen |= wanted ? 0 : EPOLLIN;
            continue;
        }
        for (unsigned j = 0; j < count; j++) {
            struct connection *connection = &connections[j];
            if (connection->data != events[i].data.u64 || connection->is_closed)
                continue;
            if (mode_bits() & EPOLLONESHOT)
                connection->is_armed = false;
            if (connection == wanted)
                seen = events[i].events;
            else if (is_edge())
                __atomic_fetch_or(&connection->inbox, events[i].events, __ATOMIC_RELAXED);
        }
    }
    return seen;
}

/* One wait; what it shows of that connection. */
static unsigned wait_for(struct connection *connection, int timeout_ms)
{
    if (loop == POLL || loop == PPOLL)
        return wait_poll_for(connection, timeout_ms);
    if (loop == SELECT || loop == PSELECT)
        return wait_select_for(connection, timeout_ms);
    return wait_epoll_for(connection, timeout_ms);
}

/* The same, unless something of it has been seen already. */
static unsigned look(struct connection *connection, int timeout_ms)
{
    unsigned seen = __atomic_exchange_n(&connection->inbox, 0, __ATOMIC_RELAXED);
    return seen ? seen : wait_for(connection, timeout_ms);
}

static void rearm(struct connection *connection)
{
    if (is_epoll() && connection->is_registered && !connection->is_armed)
        control(connection, EPOLL_CTL_MOD);
}

static void await_event(struct connection *connection)
{
    uint64_t patience = now_ms() + PATIENCE_MS;
    unsigned seen = 0;
    rearm(connection);
    /* How often it comes back for others, or for nothing, is none of the story. */
    uint64_t before = script_random;
    while (!seen && now_ms() < patience)
        seen = look(connection, 1000);
    script_random = before + 7;
    if (!seen) {
        say(" NOTHING");
        return;
    }
    say(" sees:%x", seen);
}

static void outcome(const char *what, long result)
{
    if (result < 0)
        say(" %s!%d", what, errno);
    else
        say(" %s=%ld", what, result);
}

static void so_error(struct connection *connection)
{
    int error = -1;
    socklen_t size = sizeof error;
    outcome("so_error", getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size));
    say(":%d", error);
}

static void connect_it(struct connection *connection)
{
    outcome("connect", connect(connection->fd, (struct sockaddr *)&connection->address, connection->length));
}

static void send_something(struct connection *connection)
{
    char data[] = "question";
    struct iovec parts[2] = {{data, 3}, {data + 3, 5}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    int fd = connection->fd;
    switch (draw(6)) {
    case 0:
        outcome("send", send(fd, data, 8, MSG_NOSIGNAL));
        break;
    case 1:
        outcome("write", write(fd, data, 8));
        break;
    case 2:
        outcome("writev", writev(fd, parts, 2));
        break;
    case 3:
        outcome("sendmsg", sendmsg(fd, &message, MSG_DONTWAIT));
        break;
    case 4:
        outcome("sendto", sendto(fd, data, 8, 0, NULL, 0));
        break;
    default:
        outcome("send", send(fd, data, 8, MSG_DONTWAIT | MSG_MORE));
    }
}

static void receive_something(struct connection *connection, bool may_peek)
{
    char data[64] = "";
    struct iovec parts[2] = {{data, 5}, {data + 5, 50}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    int fd = connection->fd;
    ssize_t got;
    switch (draw(may_peek ? 7 : 5)) {
    case 0:
        outcome("recv", got = recv(fd, data, sizeof data, 0));
        break;
    case 1:
        outcome("read", got = read(fd, data, sizeof data));
        break;
    case 2:
        outcome("readv", got = readv(fd, parts, 2));
        break;
    case 3:
        outcome("recvmsg", got = recvmsg(fd, &message, MSG_DONTWAIT));
        break;
    case 4:
        outcome("recvfrom", got = recvfrom(fd, data, sizeof data, MSG_DONTWAIT, NULL, NULL));
        break;
    case 5:
        outcome("peek", got = recv(fd, data, sizeof data, MSG_PEEK));
        break;
    default:
        outcome("waitall", got = recv(fd, data, 4, MSG_WAITALL | MSG_DONTWAIT));
    }
    if (got > 0)
        say(":%.*s", (int)got, data);
}

static void peer_name(struct connection *connection)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int result = getpeername(connection->fd, (struct sockaddr *)&peer, &size);
    outcome("peer", result);
    if (result == 0)
        say(":%d", size == connection->length && memcmp(&peer, &connection->address, size) == 0);
}

/* Another number takes over. Its registrations lead to the same socket, under the old number. */
static void move_to_copy(struct connection *connection)
{
    if (is_epoll()) {
        control(connection, EPOLL_CTL_DEL);
        int copy = dup(connection->fd);
        close(connection->fd);
        connection->fd = copy;
        add(connection);
        return;
    }
    int copy = fcntl(connection->fd, F_DUPFD_CLOEXEC, 0);
    close(connection->fd);
    connection->fd = copy;
}

static bool is_parked(const struct connection *connection)
{
    int hops = 0;
    socklen_t size = sizeof hops;
    bool is_v6 = connection->family == V6;
    return syscall(SYS_getsockopt, connection->fd, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                   is_v6 ? IPV6_MINHOPCOUNT : IP_MINTTL, &hops, &size) == 0 &&
           hops == 255;
}

/* A child sees the descriptor as it is. */
static void fork_child(struct connection *connection)
{
    uint64_t before_waits = script_random;
    if (is_hidden && !connection->is_black_hole)
        for (unsigned tries = 0; tries < 1000 && !is_parked(connection); tries++)
            if (look(connection, 1))
                say(" SEEN");
    script_random = before_waits;
    size_t before = length;
    int pipes[2];
    if (pipe(pipes) != 0)
        exit(2);
    pid_t child = fork();
    if (child == 0) {
        so_error(connection);
        send_something(connection);
        receive_something(connection, true);
        connect_it(connection);
        struct pollfd asked = {.fd = connection->fd, .events = POLLIN | POLLOUT};
        outcome("poll", poll(&asked, 1, 1));
        _exit(write(pipes[1], line + before, length - before) < 0);
    }
    close(pipes[1]);
    char said[1024];
    for (ssize_t got; (got = read(pipes[0], said, sizeof said)) > 0;)
        say(" child{%.*s}", (int)got, said);
    close(pipes[0]);
    waitpid(child, NULL, 0);
}

/* While it is silent. */
static void pending_step(struct connection *connection)
{
    switch (draw(11)) {
    case 0:
        so_error(connection);
        break;
    case 1:
        connect_it(connection);
        break;
    case 2:
        peer_name(connection);
        break;
    case 3:
        send_something(connection);
        break;
    case 4:
        receive_something(connection, true);
        break;
    case 5:
    case 6:
    case 7: {
        int timeout_ms = (int)draw(3);
        rearm(connection);
        say(" looks:%x", look(connection, timeout_ms));
        break;
    }
    case 8:
        move_to_copy(connection);
        break;
    case 9:
        if (!is_epoll())
            break;
        connection->events ^= EPOLLIN;
        if (!(mode_bits() & EPOLLEXCLUSIVE) && draw(2)) {
            control(connection, EPOLL_CTL_MOD);
        } else {
            control(connection, EPOLL_CTL_DEL);
            control(connection, EPOLL_CTL_ADD);
        }
        break;
    default:
        if (connection->story == SILENT && draw(8) == 0 && !is_own)
            fork_child(connection);
    }
}

static void close_it(struct connection *connection)
{
    outcome("close", close(connection->fd));
    connection->is_closed = true;
}

/* It is given up while it is silent. */
static void give_up(struct connection *connection)
{
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    switch (is_own ? 0 : draw(3)) {
    case 0:
        break;
    case 1:
        outcome("shutdown", shutdown(connection->fd, (int)draw(3)));
        await_event(connection);
        so_error(connection);
        receive_something(connection, true);
        send_something(connection);
        break;
    case 2:
        outcome("disconnect", connect(connection->fd, &nothing, sizeof nothing));
        so_error(connection);
        peer_name(connection);
    }
    close_it(connection);
}

/* A new socket to where it is accepted or refused at once: the program goes on as if it were the same one. */
static void begin_anew(struct connection *connection)
{
    if (is_epoll() && connection->is_registered)
        control(connection, EPOLL_CTL_DEL);
    close(connection->fd);
    connection->fd = socket(connection->family == V4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(connection->fd, (struct sockaddr *)&connection->address, connection->length) == 0 ||
        errno != EINPROGRESS)
        say(" anew?");
    add(connection);
}

static unsigned ports[FAMILIES][8][CONNECTIONS];

static void begin(struct connection *connection)
{
    unsigned slot = (unsigned)(connection - connections);
    bool is_second = next(&hidden_random) & 1;
    enum net net = NET_PLAIN;
    *connection = (struct connection){.listener = -1, .filler = -1, .accepted = -1};
    connection->story = (enum story)draw(3);
    connection->family = draw(FAMILIES);
    connection->events = draw(2) ? EPOLLIN | EPOLLOUT : EPOLLOUT;
    if (draw(3) == 0 && loop != SELECT && loop != PSELECT)
        connection->events |= EPOLLRDHUP;
    connection->data = draw(2) ? 4096 : 0;
    bool is_silent = connection->story != REFUSED;
    if (is_hidden) {
        static const enum net nets[3][2] = {[SILENT] = {NET_PATIENT, NET_PLAIN},
                                            [ACCEPTED] = {NET_EAGER, NET_IMPATIENT},
                                            [REFUSED] = {NET_GIVES_UP, NET_GIVES_UP}};
        net = nets[connection->story][is_second];
        is_silent = net == NET_PLAIN || net == NET_IMPATIENT;
    }
    unsigned *port = &ports[connection->family][net][slot];
    connection->listener = bind_server(connection, net, port);
    if (is_silent)
        make_silent(connection, net, *port);
    union address address = address_in(connection, net, *port, &connection->length);
    memcpy(&connection->address, &address, connection->length);
    connection->fd = socket(connection->family == V4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect_it(connection);
    add(connection);
}

/* The server is there. */
static void open_server(struct connection *connection)
{
    unsigned slot = (unsigned)(connection - connections);
    enum net net = NET_PLAIN;
    unsigned port = ntohs(((struct sockaddr_in *)&connection->address)->sin_port);
    for (unsigned i = NET_EAGER; i <= NET_PLAIN; i++)
        if (ports[connection->family][i][slot] == port)
            net = (enum net)i;
    if (connection->is_black_hole) {
        raw_close(&connection->filler);
        raw_close(&connection->listener);
        connection->listener = bind_server(connection, net, &port);
    }
    raw(syscall(SYS_listen, connection->listener, 16));
    if (!is_hidden)
        begin_anew(connection);
}

/* An attempt that was given up may have got through at the last moment: that one is not it. */
static void accept_it(struct connection *connection)
{
    struct sockaddr_in6 own = {0}, peer = {0};
    socklen_t size = sizeof own;
    raw(syscall(SYS_getsockname, connection->fd, &own, &size));
    do {
        raw_close(&connection->accepted);
        raw_await(connection->listener, POLLIN);
        size = sizeof peer;
        connection->accepted = raw(syscall(SYS_accept4, connection->listener, &peer, &size, SOCK_CLOEXEC));
    } while (peer.sin6_port != own.sin6_port);
}

static void converse(struct connection *connection)
{
    char got[16] = "";
    accept_it(connection);
    int on = 1;
    syscall(SYS_setsockopt, connection->accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (draw(2))
        so_error(connection);
    for (unsigned times = draw(3); times; times--)
        connect_it(connection);
    if (draw(2))
        peer_name(connection);
    if (draw(3) == 0)
        receive_something(connection, true);
    if (draw(4) == 0)
        move_to_copy(connection);
    connection->events = EPOLLIN;
    if (is_epoll() && connection->is_registered) {
        control(connection, EPOLL_CTL_DEL);
        control(connection, EPOLL_CTL_ADD);
    }
    for (unsigned pieces = draw(4); pieces; pieces--) {
        outcome("send", send(connection->fd, "question", 8, MSG_NOSIGNAL));
        raw_read_all(connection->accepted, 8, got);
        say(":%.8s", got);
        unsigned parts = 1 + draw(3);
        for (unsigned i = 0; i < parts; i++) {
            raw(syscall(SYS_sendto, connection->accepted, "an answer", 3 + i, MSG_NOSIGNAL, NULL, 0));
            raw_await(connection->fd, POLLIN);
            await_event(connection);
            receive_something(connection, false);
            receive_something(connection, false);
        }
    }
    switch (draw(4)) {
    case 0:
        break; /* it stays silent */
    case 1: {
        struct linger none = {1, 0};
        syscall(SYS_setsockopt, connection->accepted, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        raw_close(&connection->accepted);
        raw_await(connection->fd, POLLHUP);
        await_event(connection);
        if (draw(2))
            so_error(connection);
        receive_something(connection, false);
        send_something(connection);
        receive_something(connection, false);
        break;
    }
    case 2:
        raw_close(&connection->accepted);
        raw_await(connection->fd, POLLIN);
        await_event(connection);
        receive_something(connection, false);
        receive_something(connection, false);
        break;
    default:
        outcome("shutdown", shutdown(connection->fd, SHUT_WR));
        raw_read_all(connection->accepted, 1, got);
        send_something(connection);
    }
}

static void suffer(struct connection *connection)
{
    for (unsigned steps = 1 + draw(6); steps; steps--) {
        switch (draw(7)) {
        case 0:
            so_error(connection);
            break;
        case 1:
            send_something(connection);
            break;
        case 2:
            receive_something(connection, false);
            break;
        case 3:
            if (!is_edge())
                await_event(connection);
            break;
        case 4:
            peer_name(connection);
            break;
        case 5:
            so_error(connection);
            outcome("shutdown", shutdown(connection->fd, SHUT_RDWR));
            return;
        default:
            connect_it(connection);
            return;
        }
    }
}

/* The other thread. */
static bool is_asleep(void)
{
    char path[64], stat[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)script_thread_id);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : syscall(SYS_read, fd, stat, sizeof stat - 1);
    raw_close(&fd);
    const char *state = got > 0 ? strrchr(stat, ')') : NULL;
    return state && state[2] == 'S';
}

/* It need not fall asleep where another connection keeps it awake, unless there is to be a signal. */
static void await_sleep(bool is_needed)
{
    struct timespec moment = {0, 50000};
    for (unsigned tries = 0; (is_needed || tries < 20) && !is_asleep(); tries++)
        syscall(SYS_nanosleep, &moment, NULL);
}

static void *follow_orders(void *unused)
{
    for (;;) {
        while (sem_wait(&orders) != 0)
            ;
        if (atomic_load(&is_at_end))
            return unused;
        await_sleep(!ordered);
        if (!ordered) {
            pthread_kill(script_thread, SIGUSR1);
            continue;
        }
        pending_step(ordered);
        raw(syscall(SYS_write, bell[1], "!", 1));
    }
}

/* It takes the step while this thread waits. */
static void step_elsewhere(struct connection *connection)
{
    char byte;
    ordered = connection;
    sem_post(&orders);
    drawn = &bell_random;
    while (!wait_for(NULL, 1000))
        ;
    drawn = &script_random;
    raw(syscall(SYS_read, bell[0], &byte, 1));
}

static void handle(int number)
{
    (void)number;
}

/* An epoll that is in another one wakes it for what is hidden: there a wait may end for nothing. */
static bool all_are_silent(void)
{
    if (loop == NESTED)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!connections[i].is_over && (connections[i].story == REFUSED || connections[i].inbox))
            return false;
    return true;
}

/* Nothing but the signal ends the wait. */
static void be_interrupted(struct connection *connection)
{
    uint64_t before_waits = script_random;
    unsigned before = interruptions, seen;
    ordered = NULL;
    sem_post(&orders);
    seen = wait_for(connection, PATIENCE_MS);
    script_random = before_waits;
    say(" interrupted:%u:%x", interruptions - before, seen);
}

static void begin_thread(void)
{
    is_threaded = draw(4) == 0 && !is_own;
    if (!is_threaded)
        return;
    atomic_store(&is_at_end, false);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = BELL};
    for (int i = 0; i < 2; i++)
        epoll_ctl(epolls[i], EPOLL_CTL_ADD, bell[0], &event);
    pthread_create(&other, NULL, follow_orders, NULL);
}

static void end_thread(void)
{
    if (!is_threaded)
        return;
    atomic_store(&is_at_end, true);
    sem_post(&orders);
    pthread_join(other, NULL);
}

static void step(struct connection *connection, unsigned *steps)
{
    if (*steps && connection->story != REFUSED) {
        --*steps;
        say(" |%d", (int)(connection - connections));
        unsigned how = is_threaded ? draw(4) : 3;
        if (how == 0 && all_are_silent())
            be_interrupted(connection);
        else if (how < 2)
            step_elsewhere(connection);
        else
            pending_step(connection);
        return;
    }
    say(" |%d", (int)(connection - connections));
    if (connection->story == SILENT) {
        give_up(connection);
    } else {
        if (connection->story == ACCEPTED)
            open_server(connection);
        await_event(connection);
        if (connection->story == ACCEPTED)
            converse(connection);
        else
            suffer(connection);
        close_it(connection);
    }
    connection->is_over = true;
}

static void run(unsigned seed)
{
    static const char *const names[LOOPS] = {"poll",      "ppoll",          "select",  "pselect",
                                             "level",     "edge",           "oneshot", "edge-oneshot",
                                             "exclusive", "edge-exclusive", "nested",  "two-epolls"};
    script_random = seed * 0x9e3779b97f4a7c15 + 1;
    hidden_random = seed + 1;
    length = 0;
    loop = (enum loop)draw(LOOPS);
    count = 1 + draw(CONNECTIONS);
    epolls[0] = epoll_create1(EPOLL_CLOEXEC);
    epolls[1] = epoll_create1(EPOLL_CLOEXEC);
    outer = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event inner = {.events = EPOLLIN};
    epoll_ctl(outer, EPOLL_CTL_ADD, epolls[0], &inner);
    begin_thread();
    say("%u %s%s", seed, names[loop], is_threaded ? " threads" : "");
    unsigned steps[CONNECTIONS], left = count;
    for (unsigned i = 0; i < count; i++) {
        begin(&connections[i]);
        steps[i] = draw(7);
    }
    while (left) {
        unsigned i = draw(count);
        if (connections[i].is_over)
            continue;
        step(&connections[i], &steps[i]);
        left -= connections[i].is_over;
    }
    end_thread();
    for (unsigned i = 0; i < count; i++) {
        raw_close(&connections[i].listener);
        raw_close(&connections[i].filler);
        raw_close(&connections[i].accepted);
    }
    close(outer);
    close(epolls[0]);
    close(epolls[1]);
    puts(line);
}

int main(int arguments, char **argument)
{
    if (arguments != 4 && arguments != 5)
        return 2;
    is_own = arguments == 5;
    is_hidden = strcmp(argument[1], "hidden") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = handle};
    sigaction(SIGUSR1, &action, NULL);
    script_thread = pthread_self();
    script_thread_id = (pid_t)syscall(SYS_gettid);
    sem_init(&orders, 0, 0);
    raw(syscall(SYS_pipe2, bell, O_CLOEXEC));
    unsigned first = (unsigned)atoi(argument[2]), last = first + (unsigned)atoi(argument[3]);
    for (unsigned seed = first; seed < last; seed++)
        run(seed);
    return 0;
}
