/* Loop programs by the thousand, each made up from its seed: what it sees goes to standard output, a line for a script.
 *
 *   scripts plain|hidden FIRST COUNT [own] [threads]
 *
 * `plain` is told by the kernel alone: a descriptor is silent, then accepted or refused. `hidden` tells the same story to
 * the program by way of what libresil hides: refused again and again, or unanswered, until the server is there. The
 * servers live in this process and make their system calls themselves, so that no hook sees them, and nothing is decided
 * by how long anything takes. `own`: without what only the kernel could keep from being seen, which is when a child looks,
 * or when a descriptor is given up and not closed. `threads`: another thread does some of it while the program waits, and
 * signals interrupt the waits. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
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
#define IPV6_HOPS   73 /* IPV6_MINHOPCOUNT of linux/in6.h, which cannot be included beside netinet/in.h */
#define PATIENCE_MS 20000

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
    bool is_mapped, is_v6, is_over, is_armed, is_registered, is_black_hole;
    _Atomic bool is_closed;
    enum net net;
    struct sockaddr_storage address;
    socklen_t length;
    int listener, filler, accepted;
    uint64_t data;
    uint32_t events, inbox;
};

static bool is_hidden, is_own, has_threads;
static _Atomic bool was_interrupted;
static uint64_t script_random, hidden_random;
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
    return (unsigned)(next(&script_random) % below);
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
        fprintf(stderr, "  after %s\n", line);
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
static bool raw_await(int fd, short events)
{
    struct pollfd asked = {.fd = fd, .events = events};
    struct timespec patience = {20, 0}; /* the kernel leaves in it what is left */
    long ready;
    do
        ready = syscall(SYS_ppoll, &asked, 1, &patience, NULL, 8);
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

/* Each process has IPv4 addresses of its own, so that no two of them meet at a port. */
static struct sockaddr_in address_in(enum net net, unsigned slot, unsigned port)
{
    uint32_t host = ((uint32_t)getpid() & 0x3fff) << 2 | (slot + 1);
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(127u << 24 | (70u + net) << 16 | host)};
}

static socklen_t server_address(const struct connection *connection, unsigned port,
                                struct sockaddr_storage *address)
{
    unsigned slot = (unsigned)(connection - connections);
    memset(address, 0, sizeof *address);
    if (!connection->is_v6) {
        struct sockaddr_in v4 = address_in(connection->net, slot, port);
        memcpy(address, &v4, sizeof v4);
        return sizeof v4;
    }
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    v6.sin6_addr.s6_addr[0] = 0xfd;
    v6.sin6_addr.s6_addr[1] = (uint8_t)(0x70 + connection->net);
    v6.sin6_addr.s6_addr[15] = (uint8_t)(slot + 1);
    memcpy(address, &v6, sizeof v6);
    return sizeof v6;
}

static unsigned port_of(const struct sockaddr_storage *address)
{
    return ntohs(((const struct sockaddr_in *)address)->sin_port); /* where it is in IPv6 too */
}

static int server_socket(const struct connection *connection)
{
    return raw(syscall(SYS_socket, connection->is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

/* One that is bound: whoever connects is refused until it listens. */
static int bind_server(const struct connection *connection, unsigned *port)
{
    int fd = server_socket(connection), on = 1;
    syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_storage address;
    socklen_t size = server_address(connection, *port, &address);
    raw(syscall(SYS_bind, fd, &address, size));
    size = sizeof address;
    syscall(SYS_getsockname, fd, &address, &size);
    *port = port_of(&address);
    return fd;
}

/* One that does not answer: its queue is full. */
static void make_silent(struct connection *connection, unsigned port)
{
    struct sockaddr_storage address;
    socklen_t size = server_address(connection, port, &address);
    raw(syscall(SYS_listen, connection->listener, 0));
    connection->filler = server_socket(connection);
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
    connection->is_armed = connection->is_registered = operation != EPOLL_CTL_DEL;
    for (int i = 0; i < (loop == TWO_EPOLLS ? 2 : 1); i++)
        if (epoll_ctl(epolls[i], operation, connection->fd, &event) != 0)
            say(" ctl%d:%d", operation, errno);
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

/* Signals interrupt any wait, where there are any. */
static void has_failed(int ready)
{
    was_interrupted = ready < 0 && errno == EINTR && has_threads;
    if (ready < 0 && !was_interrupted)
        say(" wait:%d", errno);
}

static unsigned wait_poll_for(struct connection *wanted, int timeout_ms)
{
    struct pollfd fds[CONNECTIONS];
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    for (unsigned i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = connections[i].is_closed ? -1 : connections[i].fd,
                                 .events = (short)connections[i].events};
    const sigset_t *mask = some_mask();
    int ready = loop == POLL ? poll(fds, count, timeout_ms) : ppoll(fds, count, &timeout, mask);
    has_failed(ready);
    return ready > 0 && wanted ? (unsigned short)fds[wanted - connections].revents : 0;
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
    struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    struct timespec precise = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    const sigset_t *mask = some_mask();
    int ready = loop == SELECT ? select(most + 1, &reads, &writes, NULL, &timeout)
                               : pselect(most + 1, &reads, &writes, NULL, &precise, mask);
    has_failed(ready);
    if (ready <= 0 || !wanted || wanted->is_closed)
        return 0;
    return (FD_ISSET(wanted->fd, &reads) ? EPOLLIN : 0) | (FD_ISSET(wanted->fd, &writes) ? EPOLLOUT : 0);
}

static unsigned wait_epoll_for(struct connection *wanted, int timeout_ms)
{
    struct epoll_event events[CONNECTIONS + 1];
    int most = 1 + (int)draw(CONNECTIONS), epoll = epolls[0], ready;
    unsigned form = draw(3);
    const sigset_t *mask = some_mask();
    if (loop == TWO_EPOLLS)
        epoll = epolls[draw(2)];
    if (loop == NESTED) {
        ready = epoll_wait(outer, events, 1, timeout_ms);
        has_failed(ready);
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
    has_failed(ready);
    unsigned seen = 0;
    for (int i = 0; i < ready; i++) {
        for (unsigned j = 0; j < count; j++) {
            struct connection *connection = &connections[j];
            if (connection->data != events[i].data.u64 || connection->is_closed)
                continue;
            if (mode_bits() & EPOLLONESHOT)
                connection->is_armed = false;
            if (connection == wanted)
                seen = events[i].events;
            else if (is_edge())
                connection->inbox |= events[i].events;
        }
    }
    return seen;
}

/* One wait; what it shows of that connection. NULL: of none that is waited for now. */
static unsigned look(struct connection *connection, int timeout_ms)
{
    if (connection && connection->inbox) {
        unsigned seen = connection->inbox;
        connection->inbox = 0;
        return seen;
    }
    if (loop == POLL || loop == PPOLL)
        return wait_poll_for(connection, timeout_ms);
    if (loop == SELECT || loop == PSELECT)
        return wait_select_for(connection, timeout_ms);
    return wait_epoll_for(connection, timeout_ms);
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
    return syscall(SYS_getsockopt, connection->fd, connection->is_v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                   connection->is_v6 ? IPV6_HOPS : IP_MINTTL, &hops, &size) == 0 &&
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

/* Other threads. */
static pthread_t program;
static pid_t program_id;

static void pause_us(unsigned us)
{
    struct timespec time = {0, us * 1000};
    syscall(SYS_nanosleep, &time, NULL);
}

/* Does the program sleep? Asked in a way that no hook sees. */
static bool is_asleep(void)
{
    char path[64], said[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)program_id);
    int fd = raw(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    syscall(SYS_read, fd, said, sizeof said - 1);
    syscall(SYS_close, fd);
    const char *state = strrchr(said, ')');
    return state && state[2] == 'S';
}

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
    for (unsigned tries = 0; tries < 100 && !is_asleep(); tries++)
        pause_us(20);
    errand->result = connect(connection->fd, (struct sockaddr *)&connection->address, connection->length);
    errand->error = errno;
    connection->is_closed = false;
    add(connection);
    errand->is_done = true;
    return NULL;
}

static void begin_in_thread(struct connection *connection)
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
    while (!is_asleep())
        pause_us(20);
    pthread_kill(program, SIGUSR1);
    return unused;
}

/* A wait while nothing is to be seen ends by a signal. */
static void be_interrupted(void)
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
static _Atomic bool may_interrupt, has_ended, is_surprised;
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

static pthread_t others[2];

static void begin_threads(void)
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

static void end_threads(void)
{
    has_ended = true;
    pthread_join(others[0], NULL);
    pthread_join(others[1], NULL);
}

/* The script is over: has it got each signal, and the other thread nothing? */
static void settle_threads(void)
{
    may_interrupt = false;
    for (unsigned tries = 0; tries < 1000 && handled != sent; tries++)
        pause_us(1000);
    say(" signals:%d", handled == sent);
    if (is_surprised)
        say(" SURPRISED");
}

/* While it is silent. */
static void pending_step(struct connection *connection)
{
    switch (draw(has_threads ? 12 : 11)) {
    case 11:
        be_interrupted();
        break;
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

static int new_socket(const struct connection *connection)
{
    bool is_inet6 = connection->is_mapped || connection->is_v6;
    return socket(is_inet6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
}

/* A new socket to where it is accepted or refused at once: the program goes on as if it were the same one. */
static void begin_anew(struct connection *connection)
{
    if (is_epoll() && connection->is_registered)
        control(connection, EPOLL_CTL_DEL);
    close(connection->fd);
    connection->fd = new_socket(connection);
    if (connect(connection->fd, (struct sockaddr *)&connection->address, connection->length) == 0 ||
        errno != EINPROGRESS)
        say(" anew?");
    add(connection);
}

static void set_address(struct connection *connection, unsigned port)
{
    connection->length = server_address(connection, port, &connection->address);
    if (!connection->is_mapped)
        return;
    struct sockaddr_in v4;
    memcpy(&v4, &connection->address, sizeof v4);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(v6.sin6_addr.s6_addr + 12, &v4.sin_addr, 4);
    memcpy(&connection->address, &v6, connection->length = sizeof v6);
}

static unsigned ports[2][8][CONNECTIONS];

static unsigned *port_for(const struct connection *connection)
{
    return &ports[connection->is_v6][connection->net][connection - connections];
}

static void begin(struct connection *connection)
{
    bool is_second = next(&hidden_random) & 1;
    *connection = (struct connection){
        .listener = -1, .filler = -1, .accepted = -1, .net = NET_PLAIN, .is_closed = true};
    connection->story = (enum story)draw(3);
    unsigned family = draw(6);
    connection->is_mapped = family < 2;
    connection->is_v6 = family == 2 || family == 3;
    connection->events = draw(2) ? EPOLLIN | EPOLLOUT : EPOLLOUT;
    if (draw(3) == 0 && loop != SELECT && loop != PSELECT)
        connection->events |= EPOLLRDHUP;
    connection->data = draw(2) ? 4096 : 0;
    bool is_silent = connection->story != REFUSED;
    if (is_hidden) {
        static const enum net nets[3][2] = {[SILENT] = {NET_PATIENT, NET_PLAIN},
                                            [ACCEPTED] = {NET_EAGER, NET_IMPATIENT},
                                            [REFUSED] = {NET_GIVES_UP, NET_GIVES_UP}};
        connection->net = nets[connection->story][is_second];
        is_silent = connection->net == NET_PLAIN || connection->net == NET_IMPATIENT;
    }
    unsigned *port = port_for(connection);
    connection->listener = bind_server(connection, port);
    if (is_silent)
        make_silent(connection, *port);
    set_address(connection, *port);
    connection->fd = new_socket(connection);
    if (has_threads && draw(2)) {
        begin_in_thread(connection);
        return;
    }
    connect_it(connection);
    connection->is_closed = false;
    add(connection);
}

/* The server is there. */
static void open_server(struct connection *connection)
{
    if (connection->is_black_hole) {
        raw_close(&connection->filler);
        raw_close(&connection->listener);
        connection->listener = bind_server(connection, port_for(connection));
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
        if (!raw_await(connection->listener, POLLIN))
            raw(-1);
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

static void step(struct connection *connection, unsigned *steps)
{
    if (*steps && connection->story != REFUSED) {
        --*steps;
        say(" |%d", (int)(connection - connections));
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
    say("%u %s", seed, names[loop]);
    if (has_threads)
        may_interrupt = draw(2);
    unsigned steps[CONNECTIONS], left = count;
    for (unsigned i = 0; i < count; i++)
        connections[i].is_closed = true; /* those that have not begun */
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
    for (unsigned i = 0; i < count; i++) {
        raw_close(&connections[i].listener);
        raw_close(&connections[i].filler);
        raw_close(&connections[i].accepted);
    }
    if (has_threads)
        settle_threads();
    close(outer);
    close(epolls[0]);
    close(epolls[1]);
    puts(line);
}

int main(int arguments, char **argument)
{
    if (arguments < 4)
        return 2;
    for (int i = 4; i < arguments; i++) {
        is_own |= strcmp(argument[i], "own") == 0;
        has_threads |= strcmp(argument[i], "threads") == 0;
    }
    is_hidden = strcmp(argument[1], "hidden") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (has_threads)
        begin_threads();
    unsigned first = (unsigned)atoi(argument[2]), last = first + (unsigned)atoi(argument[3]);
    for (unsigned seed = first; seed < last; seed++)
        run(seed);
    if (has_threads)
        end_threads();
    return 0;
}
