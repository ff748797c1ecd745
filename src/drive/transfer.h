/* Sending and receiving on a guarded, blocking descriptor.
 *
 * The kernel watches the time: SO_RCVTIMEO and SO_SNDTIMEO are set once, when the connection is made, to the smallest
 * timeout in force. So a call that goes through costs no clock and no system call of ours; only when it comes back
 * with EAGAIN (or EINTR, which these options cause) is there anything to find out. */
#ifndef DRIVE_TRANSFER_H
#define DRIVE_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "drive/connect.h"
#include "state/descriptors.h"

/* One call of the program, kept so that it can be made again with what is left of it. */
struct transfer {
    enum {
        TRANSFER_READ,
        TRANSFER_READV,
        TRANSFER_RECV,
        TRANSFER_RECVFROM,
        TRANSFER_RECVMSG,
        TRANSFER_RECVMMSG,
        TRANSFER_WRITE,
        TRANSFER_WRITEV,
        TRANSFER_SEND,
        TRANSFER_SENDTO,
        TRANSFER_SENDMSG,
        TRANSFER_SENDMMSG,
        TRANSFER_SENDFILE,
        TRANSFER_SPLICE_IN,  /* from the guarded descriptor */
        TRANSFER_SPLICE_OUT, /* to it */
    } call;
    int fd;
    uint64_t cookie;          /* of the entry when it was made: the number may be used again while it waits */
    int flags;                /* MSG_... */
    unsigned count;           /* parts of an iovec, or messages */
    void *data;               /* buffer, iovec, msghdr or mmsghdr */
    size_t size;              /* of the buffer */
    struct sockaddr *address; /* of recvfrom, sendto */
    socklen_t *address_length; /* of recvfrom */
    socklen_t length;          /* of sendto */
    bool is_begun;             /* a send: its answer is awaited already (drive/quick.h) */
    struct timespec *timeout;  /* of recvmmsg */
    int other;                 /* of sendfile, splice: the descriptor at the other end ... */
    off64_t *offset;           /* ... where in it, or NULL ... */
    off64_t *own_offset;       /* ... and the one for the guarded end (the kernel refuses it) */
    uintptr_t caller;          /* where the program makes it; 0 = not known */
};

/* From here on a partial count is worth a clock: why it is partial cannot be told without. */
#define LARGE_BYTES (16u << 10)

#define NOT_YET (-2) /* the real call has not been made */

/* States in which a call needs more than the real function. */
/* IDLE too: another thread may send a request while this one receives, so under a response timeout the state has to be
 * looked at after each call. */
#define NOT_AS_USUAL (CONNECTING | CONNECT_ERROR_DUE | CUT_OFF)
#define RECEIVE_NEEDS_CARE                                                                                   \
    (IDLE | AWAITING_ANSWER | HOLDS_TICKET | RECV_ERROR_DUE | NOT_AS_USUAL | FAULTY | WAITS_ARE_TIMED)
#define SEND_NEEDS_CARE (IDLE | SEND_ERROR_DUE | OPENING | TIMED | NOT_AS_USUAL | FAULTY | WAITS_ARE_TIMED)

/* Goes on after the real call ended with `result` and errno (or NOT_YET). `began_ns` is when it was made, 0 = not
 * known. Returns as the call does. */
ssize_t transfer_receive(struct descriptor *entry, const struct transfer *transfer, ssize_t result,
                         uint64_t began_ns);
ssize_t transfer_send(struct descriptor *entry, const struct transfer *transfer, ssize_t result,
                      uint64_t began_ns);

/* Waits until `due_ns`, or for one of `events` (POLL...; 0: for none), within the timeouts that a call that began then has, by
 * the rule and by the program. False: one of those is over, or a signal came, and errno says so. */
bool transfer_wait(struct descriptor *entry, const struct transfer *transfer, bool is_sending, short events,
                   uint64_t due_ns, uint64_t began_ns);

/* A connection has been made: sets the options that the rule needs and guards the descriptor, if it needs to.
 * `holds_ticket`: the breaker is told what became of the call when the first answer comes, or does not. */
void transfer_adopt(struct connecting *call, bool holds_ticket);

/* The other numbers of the socket, made before it was connected, lead to the entry too. */
void transfer_adopt_copies(const struct descriptor *entry, int fd);

/* The descriptor number is about to be closed, or connected anew: forgets it, settles what the breaker waits for, and gives
 * its place among the connections back. */
void transfer_let_go(int fd);

/* The same for all numbers of the socket: it is about to be connected anew, perhaps to something that no rule is for. */
void transfer_let_go_of_socket(int fd);

/* The program made it so. Only a blocking descriptor has our options: they mean nothing to the other kind, and if it is
 * made blocking where we do not see it, they must not be there. */
void transfer_made_blocking(struct descriptor *entry, int fd, bool is_blocking);

/* It was made to block while it was connecting (drive/midway.h), and is connected now. */
void transfer_connected_midway(struct descriptor *entry, int fd);

/* Takes our options off a descriptor that stdio will use: its reads and writes do not pass our hooks. */
bool transfer_hand_over(int fd);

/* The program has made it blocking or not: from now on its calls wait, within our options, or they do not. */
void transfer_blocks(int fd, bool is_blocking);

/* Nobody will see whether an answer comes on it: connected is the best that is known, and the breaker is told so. */
void transfer_trust(int fd);

/* The same for every descriptor that another program is about to inherit, by exec. In a fork child these are the standard
 * streams only: whatever else stays open shares its options with the parent, whose connection it is. */
struct handed {
    unsigned count;
    int fds[16];
};
void transfer_hand_over_all(struct handed *handed);

/* The exec has failed: the rules hold on. Gives back `result`; errno is untouched. */
int transfer_take_back(const struct handed *handed, int result);

/* The program sets its own timeout: the shorter one goes to the kernel. Returns as setsockopt does. */
int transfer_set_timeout(struct descriptor *entry, int fd, int option, const struct timeval *own);

/* The program's own value of SO_RCVTIMEO or SO_SNDTIMEO, where the kernel holds ours; else false. */
bool transfer_own_timeout(struct descriptor *entry, int fd, int option, uint64_t *own_ns);

/* Is it still the socket that was guarded? If not it is forgotten, and that is counted. errno is untouched. */
bool transfer_is_same(struct descriptor *entry, int fd);

#endif
