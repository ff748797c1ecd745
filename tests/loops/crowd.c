/* Several threads wait in one epoll: each connection ends as it must, whoever is told of it.
 *
 *   crowd once|exclusive|edge|level pointer|number|both COUNT
 *
 * A connection is registered under a pointer, under its number, or under its place beside its number. Half of them go to
 * servers that come up one after the other, a quarter to one that never does and is not tried again, a quarter to one that is,
 * in vain. Who is told of one first sees to it, closes it and begins the next one, which mostly gets its number. Prints what it
 * counted: `false_ends` are events of what has neither failed nor connected. The servers make their system calls themselves, so
 * that no hook sees them. */
#include <dirent.h>
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
#include <time.h>
#include <unistd.h>

#define THREADS     4
#define COUNT_MAX   10000
#define AT_ONCE     200
#define NUMBERS_MAX 4096
#define SERVERS     50 /* of those that come up */
#define STEP_MS     10 /* from one to the next */
#define PATIENCE_MS 15000

enum mode { ONCE, EXCLUSIVE, EDGE, LEVEL, MODES };
enum data { POINTER, NUMBER, BOTH, DATA_KINDS };
enum kind { LATE, REFUSED, RETRIED, KINDS };

struct connection {
    enum kind kind;
    int fd;
    _Atomic bool has_ended;
};

static const uint32_t asked[MODES] = {EPOLLOUT | EPOLLONESHOT, EPOLLOUT | EPOLLEXCLUSIVE,
                                      EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLLOUT};
static enum mode mode;
static enum data data;
static int epoll;
static unsigned count;
static struct connection connections[COUNT_MAX];
static struct connection *_Atomic by_number[NUMBERS_MAX];
static int listeners[SERVERS];
static struct sockaddr_in addresses[SERVERS], refusing[KINDS];
static _Atomic unsigned begun, ended[KINDS], unexpected, false_ends, strange, events_seen;

static void die(const char *what)
{
    perror(what);
    exit(2);
}

/* Twice: only a port that was asked for stays with a socket that does not listen any more. Each process has addresses of its
 * own. */
static int bind_server(struct sockaddr_in *address, enum kind kind, unsigned number)
{
    uint32_t host = ((uint32_t)getpid() & 0x3ff) << 6 | number;
    int fd = -1, on = 1;
    *address = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(127u << 24 | (81 + kind) << 16 | host)};
    for (unsigned i = 0; i < 2; i++) {
        socklen_t length = sizeof *address;
        syscall(SYS_close, fd);
        fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
            syscall(SYS_bind, fd, address, length) != 0 ||
            syscall(SYS_getsockname, fd, address, &length) != 0)
            die("server");
    }
    return fd;
}

/* One comes up at each step, and is up from then on. */
static void *serve(void *unused)
{
    unsigned up = 0;
    for (unsigned step = 1;; step++) {
        struct timespec pause = {0, STEP_MS * 1000000};
        syscall(SYS_nanosleep, &pause, NULL);
        if (up < SERVERS && syscall(SYS_listen, listeners[up++], 4096) != 0)
            die("listen");
        for (unsigned i = 0; i < up; i++) {
            int fd;
            while ((fd = (int)syscall(SYS_accept4, listeners[i], NULL, NULL, 0)) >= 0)
                syscall(SYS_close, fd);
        }
    }
    return unused;
}

static uint64_t data_of(const struct connection *connection)
{
    uint64_t place = (uint64_t)(connection - connections);
    return data == POINTER  ? (uint64_t)(uintptr_t)connection
           : data == NUMBER ? (uint64_t)connection->fd
                            : (place + 1) << 32 | (uint32_t)connection->fd;
}

static struct connection *connection_of(uint64_t seen)
{
    return data == POINTER  ? (struct connection *)(uintptr_t)seen
           : data == NUMBER ? by_number[seen]
                            : &connections[(seen >> 32) - 1];
}

static void begin(void)
{
    unsigned place = begun++;
    if (place >= count)
        return;
    struct connection *connection = &connections[place];
    connection->kind = place % 2 ? LATE : place % 4 ? REFUSED : RETRIED;
    const struct sockaddr_in *address = connection->kind == LATE
                                            ? &addresses[(uint64_t)place * SERVERS / count]
                                            : &refusing[connection->kind];
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connection->fd >= NUMBERS_MAX)
        die("socket");
    by_number[connection->fd] = connection;
    struct epoll_event event = {.events = asked[mode], .data.u64 = data_of(connection)};
    if (connect(connection->fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
        errno != EINPROGRESS || epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        die("connect");
}

/* Who is told of one that another thread sees to already has been told of the same: an event may go to several. */
static void happened(const struct epoll_event *event)
{
    struct connection *connection = connection_of(event->data.u64);
    struct sockaddr_in peer;
    socklen_t length = sizeof peer, size = sizeof(int);
    int error = 0;
    events_seen++;
    if (!connection || connection->has_ended)
        return;
    if (atomic_exchange(&connection->has_ended, true))
        return;
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        die("SO_ERROR");
    bool is_connected = getpeername(connection->fd, (struct sockaddr *)&peer, &length) == 0;
    false_ends += !error && !is_connected;
    strange += is_connected && (error || event->events & EPOLLERR);
    unexpected += error != (connection->kind == LATE ? 0 : ECONNREFUSED);
    by_number[connection->fd] = NULL;
    if (close(connection->fd) != 0)
        die("close");
    ended[connection->kind]++;
    begin();
}

static bool is_over(void)
{
    return ended[LATE] + ended[REFUSED] + ended[RETRIED] >= count;
}

static void *wait_for_all(void *unused)
{
    struct epoll_event events[16];
    for (int waited_ms = 0; !is_over() && waited_ms < PATIENCE_MS;) {
        int ready = epoll_wait(epoll, events, 16, 50);
        waited_ms += ready ? 0 : 50;
        for (int i = 0; i < ready; i++)
            happened(&events[i]);
    }
    return unused;
}

static unsigned descriptors(void)
{
    unsigned found = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder))
        found++;
    closedir(folder);
    return found;
}

int main(int argument_count, char **arguments)
{
    static const char *const modes[MODES] = {"once", "exclusive", "edge", "level"};
    static const char *const kinds[DATA_KINDS] = {"pointer", "number", "both"};
    if (argument_count != 4)
        return 2;
    while (mode < MODES && strcmp(arguments[1], modes[mode]) != 0)
        mode++;
    while (data < DATA_KINDS && strcmp(arguments[2], kinds[data]) != 0)
        data++;
    count = (unsigned)atoi(arguments[3]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (mode == MODES || data == DATA_KINDS || count < AT_ONCE || count > COUNT_MAX || epoll < 0)
        return 2;
    for (unsigned i = 0; i < SERVERS; i++)
        listeners[i] = bind_server(&addresses[i], LATE, i);
    bind_server(&refusing[REFUSED], REFUSED, 0);
    bind_server(&refusing[RETRIED], RETRIED, 0);
    pthread_t server, threads[THREADS];
    unsigned before = descriptors();
    if (pthread_create(&server, NULL, serve, NULL) != 0)
        die("thread");
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, wait_for_all, NULL) != 0)
            die("thread");
    for (unsigned i = 0; i < AT_ONCE; i++)
        begin();
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    printf("{\"late\": %u, \"refused\": %u, \"retried\": %u, \"unexpected\": %u, \"false_ends\": %u, "
           "\"strange\": %u, \"events\": %u, \"descriptors\": %d, \"cpu_ms\": %ld}\n",
           ended[LATE], ended[REFUSED], ended[RETRIED], unexpected, false_ends, strange, events_seen,
           (int)(descriptors() - before), (long)(used.tv_sec * 1000 + used.tv_nsec / 1000000));
    fflush(stdout);
    _exit(0); /* the servers' thread goes on */
}
