/* connect, one to four times on one socket, to what accepts, refuses, does not answer or is not an address at all. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "conform.h"

enum target {
    NOTHING,
    ACCEPTS,
    ACCEPTS6,
    ACCEPTS_MAPPED,
    REFUSES,
    REFUSES6,
    BLACK_HOLE,
    NO_SUCH_PATH,
    UNSPEC,
    PORT_0,
    ANY_ADDRESS,
    BROADCAST,
    SHORT_BY_ONE,
    TOO_LONG,
    FAMILY_ONLY,
    ONE_BYTE,
    NO_BYTES,
    NEGATIVE,
    NULL_ADDRESS,
    BAD_PAGE,
    STRANGE_FAMILY,
};
static const struct {
    const char *name;
    enum target steps[4];
} sequences[] = {
    {"accepts", {ACCEPTS}},
    {"twice", {ACCEPTS, ACCEPTS}},
    {"accepts6", {ACCEPTS6}},
    {"mapped", {ACCEPTS_MAPPED}},
    {"refuses", {REFUSES}},
    {"refuses6", {REFUSES6}},
    {"refuses_thrice", {REFUSES, REFUSES, REFUSES}},
    {"refuses_then_accepts", {REFUSES, ACCEPTS}},
    {"accepts_then_refuses", {ACCEPTS, REFUSES}},
    {"accepts_unspec_accepts", {ACCEPTS, UNSPEC, ACCEPTS}},
    {"accepts_unspec_refuses", {ACCEPTS, UNSPEC, REFUSES, ACCEPTS}},
    {"unspec", {UNSPEC}},
    {"black_hole", {BLACK_HOLE}},
    {"black_hole_twice", {BLACK_HOLE, BLACK_HOLE}},
    {"black_hole_unspec_accepts", {BLACK_HOLE, UNSPEC, ACCEPTS}},
    {"black_hole_accepts", {BLACK_HOLE, ACCEPTS}},
    {"no_such_path", {NO_SUCH_PATH}},
    {"port_0", {PORT_0}},
    {"any_address", {ANY_ADDRESS}},
    {"broadcast", {BROADCAST}},
    {"short_by_one", {SHORT_BY_ONE, ACCEPTS}},
    {"too_long", {TOO_LONG}},
    {"family_only", {FAMILY_ONLY, ACCEPTS}},
    {"one_byte", {ONE_BYTE, ACCEPTS}},
    {"no_bytes", {NO_BYTES, ACCEPTS}},
    {"negative", {NEGATIVE, ACCEPTS}},
    {"null", {NULL_ADDRESS, ACCEPTS}},
    {"bad_page", {BAD_PAGE, ACCEPTS}},
    {"strange_family", {STRANGE_FAMILY, ACCEPTS}},
};

enum before { AS_MADE, OWN_TIMEOUT, OWN_BOTH_TIMEOUTS, BOUND, LISTENING, SHUT, COPIED, BEFORES };
static const char *const before_names[] = {"as_made",   "own_timeout", "own_both", "bound",
                                           "listening", "shut",        "copied"};

static const struct {
    const char *name;
    int family, type, protocol;
    enum kind like;
} sockets[] = {
    {"tcp4", AF_INET, SOCK_STREAM, 0, TCP4},
    {"tcp4_by_number", AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP4},
    {"tcp6", AF_INET6, SOCK_STREAM, 0, TCP6},
    {"udp", AF_INET, SOCK_DGRAM, 0, UDP4},
    {"unix", AF_UNIX, SOCK_STREAM, 0, UNIX_STREAM},
};

static struct black_hole hole;
static int refused_port;

static socklen_t address_for(enum target target, enum kind like, struct sockaddr_storage *address)
{
    socklen_t length;
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    switch (target) {
    case ACCEPTS6:
        listener_address(TCP6, address, &length);
        return length;
    case ACCEPTS_MAPPED:
        listener_address(TCP4IN6, address, &length);
        return length;
    case REFUSES:
        *v4 = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)refused_port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        return sizeof *v4;
    case REFUSES6:
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                    .sin6_port = htons((uint16_t)refused_port),
                                    .sin6_addr = in6addr_loopback};
        return sizeof *v6;
    case BLACK_HOLE:
        *address = hole.address;
        return sizeof *v4;
    case NO_SUCH_PATH:
        address->ss_family = AF_UNIX;
        strcpy(((struct sockaddr_un *)address)->sun_path, "/nowhere/at/all");
        return sizeof(struct sockaddr_un);
    case UNSPEC:
        return sizeof *v4;
    default:
        listener_address(like, address, &length);
    }
    switch (target) {
    case PORT_0:
        v4->sin_port = 0;
        break;
    case ANY_ADDRESS:
        v4->sin_addr.s_addr = 0;
        break;
    case BROADCAST:
        v4->sin_addr.s_addr = INADDR_BROADCAST;
        break;
    case SHORT_BY_ONE:
        return length - 1;
    case TOO_LONG:
        return sizeof *address + 1;
    case FAMILY_ONLY:
        return sizeof(sa_family_t);
    case ONE_BYTE:
        return 1;
    case NO_BYTES:
        return 0;
    case NEGATIVE:
        return (socklen_t)-1;
    case STRANGE_FAMILY:
        address->ss_family = 77;
        break;
    default:
        break;
    }
    return length;
}

static void prepare(int fd, enum before before)
{
    struct timeval own = {0, 50000};
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    switch (before) {
    case OWN_BOTH_TIMEOUTS:
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
        /* fall through */
    case OWN_TIMEOUT:
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &own, sizeof own);
        break;
    case BOUND:
        CALL("bind", bind(fd, (struct sockaddr *)&local, sizeof local));
        break;
    case LISTENING:
        CALL("listen", listen(fd, 1));
        break;
    case SHUT:
        CALL("shutdown", shutdown(fd, SHUT_RDWR));
        break;
    default:
        break;
    }
}

static void say_socket(int fd, bool is_non_blocking)
{
    struct pollfd wanted = {.fd = fd, .events = POLLOUT};
    if (is_non_blocking)
        poll(&wanted, 1, 10);
    say_poll_of(fd);
    int error = -1;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    say(" so_error=%d", error);
    struct sockaddr_storage address;
    length = sizeof address;
    if (CALL("peer", getpeername(fd, (struct sockaddr *)&address, &length)) == 0)
        say_address("is", &address, sizeof address, length);
    struct timeval send_time = {-1, -1}, receive_time = {-1, -1};
    length = sizeof send_time;
    getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_time, &length);
    getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &receive_time, &length);
    say(" times=%ld.%06ld,%ld.%06ld", (long)send_time.tv_sec, (long)send_time.tv_usec,
        (long)receive_time.tv_sec, (long)receive_time.tv_usec);
    say(" fl=%x", (unsigned)fcntl(fd, F_GETFL));
}

static void cell(size_t s, enum mode mode, enum before before, size_t q)
{
    if (!cell_begin("connect %s %s %s %s", sockets[s].name, mode_names[mode], before_names[before],
                    sequences[q].name))
        return;
    bool has_hole = sequences[q].steps[0] == BLACK_HOLE;
    if (has_hole)
        hole = black_hole_open();
    refused_port = free_port(); /* a new one each time: as many failures on one would open a breaker */
    int fd = socket(sockets[s].family, sockets[s].type | (mode == BORN_NON_BLOCKING ? SOCK_NONBLOCK : 0),
                    sockets[s].protocol);
    prepare(fd, before);
    if (mode == MADE_NON_BLOCKING)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    int used = before == COPIED ? dup(fd) : fd;
    for (size_t i = 0; i < COUNT_OF(sequences[q].steps) && sequences[q].steps[i]; i++) {
        struct sockaddr_storage address;
        enum target target = sequences[q].steps[i];
        socklen_t length = address_for(target, sockets[s].like, &address);
        const struct sockaddr *where = target == NULL_ADDRESS ? NULL
                                       : target == BAD_PAGE   ? bad_page()
                                                              : (const struct sockaddr *)&address;
        say(" (%zu)", i + 1);
        CALL("connect", connect(used, where, length));
        say_socket(fd, mode != BLOCKING);
    }
    CALL("send", send(used, "x", 1, MSG_DONTWAIT));
    char data[4];
    CALL("recv", recv(used, data, sizeof data, MSG_DONTWAIT));
    end_reset(fd);
    if (used != fd)
        end_reset(used);
    if (has_hole)
        black_hole_close(&hole);
    listeners_drain();
    cell_end();
}

static bool is_wanted(size_t s, enum mode mode, enum before before, size_t q)
{
    bool has_hole = sequences[q].steps[0] == BLACK_HOLE;
    bool is_tcp = sockets[s].type == SOCK_STREAM && sockets[s].family == AF_INET;
    if (has_hole && !is_tcp)
        return false;
    /* What blocks needs a timeout of its own to come back. */
    return !has_hole || mode != BLOCKING || before == OWN_TIMEOUT || before == OWN_BOTH_TIMEOUTS;
}

void table_connect(void)
{
    for (size_t s = 0; s < COUNT_OF(sockets); s++)
        for (int mode = 0; mode < MODES; mode++)
            for (int before = 0; before < BEFORES; before++)
                for (size_t q = 0; q < COUNT_OF(sequences); q++)
                    if (is_wanted(s, mode, before, q))
                        cell(s, mode, before, q);
    static const int odd[] = {-1, 0x7ffffff0};
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        if (cell_begin("connect descriptor %d", odd[i])) {
            struct sockaddr_storage address;
            socklen_t length;
            listener_address(TCP4, &address, &length);
            CALL("connect", connect(odd[i], (struct sockaddr *)&address, length));
            CALL("null", connect(odd[i], NULL, 0));
            int pair[2];
            pipe(pair);
            CALL("pipe", connect(pair[0], (struct sockaddr *)&address, length));
            close(pair[0]);
            close(pair[1]);
            CALL("closed", connect(pair[0], (struct sockaddr *)&address, length));
            cell_end();
        }
}
