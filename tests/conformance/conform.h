/* What the tables of cells share. A cell makes one call (or a short story of calls) and prints one line about all that
 * the program could see of it. Nothing that differs from run to run is printed: no time, port, pid or pointer. */
#ifndef CONFORM_H
#define CONFORM_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define ERRNO_SENTINEL  4242 /* a call that succeeds leaves it alone */
#define BUFFER_BYTES    128

/* --- cells and their lines (line.c, main.c) --- */

/* False: this cell is not wanted now. Otherwise cell_end must follow. */
bool cell_begin(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cell_end(void);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_result(const char *what, long result, int error);
void say_fd(const char *what, long fd,
            int error); /* relative to the lowest free number at the cell's start */
void say_data(const char *what, const void *data, size_t size);
void say_poll(const char *what, int events);
void say_poll_of(int fd); /* as poll sees it now, and the bytes to read */
void say_address(const char *what, const void *address, socklen_t room, socklen_t length);
void say_message(const struct msghdr *message);
/* What a story says that is told in a fork child; the parent does something of its own meanwhile. */
struct ends;
void say_from_child(void (*story)(struct ends *ends), struct ends *ends,
                    void (*meanwhile)(struct ends *ends));
uint64_t hash_of(const void *data, size_t size, uint64_t before);
/* The process is about to become another: what is written so far must not be lost or written twice. */
void line_flush(void);

/* `result` of an expression that is a call, with errno watched and the helper told. */
#define CALL(what, expression)                                                                               \
    ({                                                                                                       \
        errno = ERRNO_SENTINEL;                                                                              \
        atomic_store(&calling, CALLING);                                                                     \
        long call_result_ = (long)(expression);                                                              \
        int call_error_ = errno;                                                                             \
        atomic_store(&calling, RETURNED);                                                                    \
        say_result(what, call_result_, call_error_);                                                         \
        call_result_;                                                                                        \
    })
/* The same for a call that makes a descriptor. */
#define CALL_FD(what, expression)                                                                            \
    ({                                                                                                       \
        errno = ERRNO_SENTINEL;                                                                              \
        int call_fd_ = (expression);                                                                         \
        say_fd(what, call_fd_, errno);                                                                       \
        call_fd_;                                                                                            \
    })

/* --- what goes on beside the call (helper.c) --- */

enum { IDLE, CALLING, RETURNED };
extern atomic_int calling;

struct plan {
    /* Done one after the other, each when the caller is blocked; nothing once the call has returned. */
    void (*act)(struct ends *ends, int step);
    int steps;
    /* Done if it is still blocked after all steps: lets every cell end. The line then says so. */
    void (*rescue)(struct ends *ends);
    bool is_patient; /* the rescue is the whole plan, is done as often as it takes, and not worth a word */
};
void helper_start(void);
void helper_begin(struct ends *ends, struct plan plan);
void helper_end(void);    /* says if it had to come to the rescue */
void helper_signal(void); /* SIGUSR1 to the thread that runs the cells */

/* --- sockets and other descriptors (ends.c) --- */

enum mode { BLOCKING, MADE_NON_BLOCKING, BORN_NON_BLOCKING, MODES };
enum kind {
    TCP4,
    TCP6,
    TCP4IN6, /* ::ffff:127.0.0.1 */
    UDP4,    /* connected */
    UDP4_FREE,
    UNIX_STREAM,
    UNIX_DGRAM,
    UNIX_SEQPACKET,
    PAIR,
    PIPE,
    PLAIN_FILE,
    TCP4_ALONE, /* never connected */
    CLOSED,
    MINUS_ONE,
    HUGE_NUMBER,
    KINDS
};
enum direction { INWARD, OUTWARD }; /* which end of a pipe the subject is */
struct ends {
    enum kind kind;
    enum mode mode;
    int fd, peer;                    /* the subject, always the side that connected; the other side, or -1 */
    struct sockaddr_storage address; /* of the other side */
    socklen_t length;
};
extern const char *const kind_names[KINDS], *const mode_names[MODES];

void listeners_open(void);
void listeners_drain(void); /* a connection left in a queue would be the next cell's */
bool ends_open(struct ends *ends, enum kind kind, enum mode mode, enum direction direction, bool is_small);
void ends_close(struct ends *ends);
bool kind_is_stream(enum kind kind);
bool kind_is_tcp(enum kind kind);
bool kind_is_socket(enum kind kind);
void listener_address(enum kind kind, struct sockaddr_storage *address, socklen_t *length);
int listener_of(enum kind kind);
struct black_hole {
    int fd, waiting[3];
    struct sockaddr_storage address;
};
struct black_hole black_hole_open(void); /* a listener that answers no more SYNs */
void black_hole_close(struct black_hole *hole);
int free_port(void);                                 /* where nobody listens */
void end_reset(int fd);                              /* closes a TCP socket with a reset */
void feed(struct ends *ends, size_t size, int seed); /* the other side sends */
void *bad_page(void); /* what is before it may be used, it and what follows may not */
void pause_ms(int ms);

/* --- the tables --- */

void table_receive(void);
void table_send(void);
void table_vectors(void);
void table_messages(void);
void table_move(void);
void table_signals(void);
void table_connect(void);
void table_descriptors(void);
void table_options(void);
void table_waits(void);
void table_names(void);
void table_streams(void);
void stories_processes(const char *self);
void stories_threads(void);
void stories_jumps(void);
void stories_mass(void);
int became_another(int argc, char **argv); /* what the exec'ed self does */

#endif
