/* Pairs of ends of every kind. The subject is the end that connects, as that is the one that a rule can guard. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "conform.h"

const char *const kind_names[KINDS] = {
    [TCP4] = "tcp4",
    [TCP6] = "tcp6",
    [TCP4IN6] = "tcp4in6",
    [UDP4] = "udp",
    [UDP4_FREE] = "udp_unconnected",
    [UNIX_STREAM] = "unix_stream",
    [UNIX_DGRAM] = "unix_dgram",
    [UNIX_SEQPACKET] = "unix_seqpacket",
    [PAIR] = "socketpair",
    [PIPE] = "pipe",
    [PLAIN_FILE] = "file",
    [TCP4_ALONE] = "tcp4_unconnected",
    [CLOSED] = "closed",
    [MINUS_ONE] = "minus_one",
    [HUGE_NUMBER] = "huge",
};
const char *const mode_names[MODES] = {"blocking", "o_nonblock", "sock_nonblock"};

static const struct {
    int family, type;
} sockets[KINDS] = {
    [TCP4] = {AF_INET, SOCK_STREAM},      [TCP6] = {AF_INET6, SOCK_STREAM},
    [TCP4IN6] = {AF_INET6, SOCK_STREAM},  [UDP4] = {AF_INET, SOCK_DGRAM},
    [UDP4_FREE] = {AF_INET, SOCK_DGRAM},  [UNIX_STREAM] = {AF_UNIX, SOCK_STREAM},
    [UNIX_DGRAM] = {AF_UNIX, SOCK_DGRAM}, [UNIX_SEQPACKET] = {AF_UNIX, SOCK_SEQPACKET},
    [PAIR] = {AF_UNIX, SOCK_STREAM},      [TCP4_ALONE] = {AF_INET, SOCK_STREAM},
};
static int listeners[KINDS];

static int bound(enum kind kind)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)sockets[kind].family};
    socklen_t length = sizeof(sa_family_t); /* AF_UNIX: the kernel picks a name */
    if (sockets[kind].family == AF_INET || kind == TCP4IN6) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        v4->sin_family = AF_INET;
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        length = sizeof *v4;
    } else if (sockets[kind].family == AF_INET6) {
        ((struct sockaddr_in6 *)&address)->sin6_addr = in6addr_loopback;
        length = sizeof(struct sockaddr_in6);
    }
    int fd = socket(address.ss_family, sockets[kind].type | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, length) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void listeners_open(void)
{
    static const enum kind kinds[] = {TCP4, TCP6, TCP4IN6, UNIX_STREAM, UNIX_SEQPACKET};
    for (size_t i = 0; i < KINDS; i++)
        listeners[i] = -1;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        listeners[kinds[i]] = bound(kinds[i]);
        if (listeners[kinds[i]] >= 0)
            listen(listeners[kinds[i]], 16);
    }
    /* The kernel begins to stamp packets a while after the first socket wants it: keep one that does. */
    int on = 1;
    listeners[UDP4] = bound(UDP4);
    setsockopt(listeners[UDP4], SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on);
    pause_ms(20);
}

int listener_of(enum kind kind)
{
    return listeners[kind];
}

void listeners_drain(void)
{
    static const enum kind kinds[] = {TCP4, TCP6, TCP4IN6, UNIX_STREAM};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        int listener = listeners[kinds[i]], accepted;
        fcntl(listener, F_SETFL, O_NONBLOCK);
        while ((accepted = accept(listener, NULL, NULL)) >= 0)
            end_reset(accepted);
        fcntl(listener, F_SETFL, 0);
    }
}

static void address_of(enum kind kind, int fd, struct sockaddr_storage *address, socklen_t *length)
{
    *length = sizeof *address;
    getsockname(fd, (struct sockaddr *)address, length);
    if (kind != TCP4IN6)
        return;
    struct sockaddr_in v4 = *(struct sockaddr_in *)address;
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    v6.sin6_addr.s6_addr[10] = v6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(&v6.sin6_addr.s6_addr[12], &v4.sin_addr, 4);
    memcpy(address, &v6, sizeof v6);
    *length = sizeof v6;
}

void listener_address(enum kind kind, struct sockaddr_storage *address, socklen_t *length)
{
    address_of(kind, listeners[kind], address, length);
}

/* A small buffer fills quickly. Only the sender's: with a small window TCP would wait for its probes. */
static void make_small(int fd)
{
    int size = 4096;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

/* Cells are full of requests without an answer, which count as failures; now and then one goes well, so that a breaker
 * stays closed. */
static void exchange_well(enum kind kind)
{
    struct sockaddr_storage address;
    socklen_t length;
    char data[2];
    listener_address(kind, &address, &length);
    int fd = socket(sockets[kind].family, sockets[kind].type, 0);
    connect(fd, (struct sockaddr *)&address, length);
    int peer = accept(listeners[kind], NULL, NULL);
    send(fd, "?", 1, MSG_NOSIGNAL);
    send(peer, "!", 1, MSG_NOSIGNAL);
    recv(fd, data, 1, 0);
    end_reset(peer);
    end_reset(fd);
}

static bool open_connected(struct ends *ends, int type, bool is_small)
{
    static unsigned opened;
    enum kind kind = ends->kind;
    bool is_datagram = sockets[kind].type == SOCK_DGRAM;
    if (!is_datagram && listeners[kind] >= 0 && ++opened % 16 == 0)
        exchange_well(kind);
    int other = is_datagram ? bound(kind) : listeners[kind];
    if (other < 0)
        return false;
    address_of(kind, other, &ends->address, &ends->length);
    ends->fd = kind == UNIX_DGRAM ? bound(kind) : socket(sockets[kind].family, type, 0);
    if (is_small)
        make_small(ends->fd);
    if (kind == UNIX_DGRAM && type & SOCK_NONBLOCK)
        fcntl(ends->fd, F_SETFL, O_NONBLOCK);
    if (kind == UDP4_FREE) {
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        bind(ends->fd, (struct sockaddr *)&any, sizeof any);
    } else if (connect(ends->fd, (struct sockaddr *)&ends->address, ends->length) != 0) {
        struct pollfd wanted = {.fd = ends->fd, .events = POLLOUT};
        if (errno != EINPROGRESS || poll(&wanted, 1, 1000) != 1)
            return false;
    }
    ends->peer = is_datagram ? other : accept(other, NULL, NULL);
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    if (is_datagram && getsockname(ends->fd, (struct sockaddr *)&own, &length) == 0)
        connect(ends->peer, (struct sockaddr *)&own, length);
    return true;
}

bool ends_open(struct ends *ends, enum kind kind, enum mode mode, enum direction direction, bool is_small)
{
    *ends = (struct ends){.kind = kind, .mode = mode, .fd = -1, .peer = -1};
    int pair[2], born = mode == BORN_NON_BLOCKING ? SOCK_NONBLOCK : 0;
    switch (kind) {
    case PAIR:
        if (socketpair(AF_UNIX, SOCK_STREAM | born, 0, pair) != 0)
            return false;
        ends->fd = pair[0];
        ends->peer = pair[1];
        if (is_small)
            make_small(pair[0]);
        fcntl(ends->peer, F_SETFL, 0);
        break;
    case PIPE:
        if (pipe2(pair, born ? O_NONBLOCK : 0) != 0)
            return false;
        ends->fd = pair[direction == INWARD ? 0 : 1];
        ends->peer = pair[direction == INWARD ? 1 : 0];
        fcntl(ends->peer, F_SETFL, 0);
        break;
    case PLAIN_FILE:
        ends->fd = memfd_create("file", 0);
        fcntl(ends->fd, F_SETFL, born ? O_NONBLOCK : 0);
        break;
    case TCP4_ALONE:
        ends->fd = socket(AF_INET, SOCK_STREAM | born, 0);
        break;
    case CLOSED:
        ends->fd = socket(AF_INET, SOCK_STREAM, 0);
        close(ends->fd);
        break;
    case MINUS_ONE:
        break;
    case HUGE_NUMBER:
        ends->fd = 0x7ffffff0;
        break;
    default:
        if (!open_connected(ends, sockets[kind].type | born, is_small))
            return false;
    }
    if (mode == MADE_NON_BLOCKING)
        fcntl(ends->fd, F_SETFL, fcntl(ends->fd, F_GETFL) | O_NONBLOCK);
    return true;
}

/* TCP ends go with a reset: thousands of them in TIME_WAIT would use up the ports. */
void ends_close(struct ends *ends)
{
    if (ends->peer >= 0)
        end_reset(ends->peer);
    if (ends->kind < CLOSED && ends->fd >= 0)
        end_reset(ends->fd);
}

void end_reset(int fd)
{
    struct linger linger = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

bool kind_is_tcp(enum kind kind)
{
    return kind <= TCP4IN6;
}

bool kind_is_stream(enum kind kind)
{
    return kind_is_tcp(kind) || kind == UNIX_STREAM || kind == PAIR || kind == PIPE;
}

bool kind_is_socket(enum kind kind)
{
    return kind <= PAIR;
}

struct black_hole black_hole_open(void)
{
    struct black_hole hole = {.fd = bound(TCP4)};
    socklen_t length;
    address_of(TCP4, hole.fd, &hole.address, &length);
    listen(hole.fd, 0);
    for (size_t i = 0; i < COUNT_OF(hole.waiting); i++) {
        hole.waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(hole.waiting[i], (struct sockaddr *)&hole.address, length);
    }
    return hole;
}

void black_hole_close(struct black_hole *hole)
{
    if (hole->fd >= 0)
        end_reset(hole->fd);
    for (size_t i = 0; i < COUNT_OF(hole->waiting); i++)
        end_reset(hole->waiting[i]);
}

/* Below the ports that the kernel gives out, so that no other socket happens to get it meanwhile. */
int free_port(void)
{
    static int next;
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    if (!next)
        next = 20000 + getpid() % 48 * 250;
    for (int tries = 0; tries < 12000; tries++) {
        next = next < 32000 ? next + 1 : 20000;
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)next)};
        bool is_free = true;
        for (size_t i = 0; i < COUNT_OF(types); i++) {
            int fd = socket(AF_INET, types[i], 0);
            is_free = bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && is_free;
            close(fd);
        }
        if (is_free)
            break;
    }
    return next;
}

void feed(struct ends *ends, size_t size, int seed)
{
    char data[BUFFER_BYTES * 2];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)((int)i * 7 + seed);
    if (size > sizeof data)
        size = sizeof data;
    if (ends->kind == PLAIN_FILE) {
        off_t at = lseek(ends->fd, 0, SEEK_CUR);
        pwrite(ends->fd, data, size, at);
    } else if (ends->peer >= 0 && kind_is_socket(ends->kind)) {
        send(ends->peer, data, size, MSG_NOSIGNAL);
    } else if (ends->peer >= 0) {
        write(ends->peer, data, size);
    }
}

void *bad_page(void)
{
    static char *pages;
    if (!pages) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        mprotect(pages + page, page, PROT_NONE);
        pages += page;
    }
    return pages;
}

void pause_ms(int ms)
{
    syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &(struct timespec){0, ms * 1000000l}, NULL);
}
