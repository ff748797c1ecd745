/* sendfile and splice: from files and pipes to sockets, from sockets to pipes. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <unistd.h>

#include "conform.h"

static uint64_t hash;
static size_t arrived;

static void drain(struct ends *ends)
{
    static char data[64 << 10];
    ssize_t size;
    while (ends->peer >= 0 && (size = recv(ends->peer, data, sizeof data, MSG_DONTWAIT)) > 0) {
        hash = hash_of(data, (size_t)size, hash);
        arrived += (size_t)size;
    }
}

static int file_of(size_t size)
{
    static char text[1024];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 3);
    int fd = memfd_create("moved", MFD_CLOEXEC);
    for (size_t done = 0; done < size; done += sizeof text)
        pwrite(fd, text, size - done < sizeof text ? size - done : sizeof text, (off_t)done);
    return fd;
}

enum { NO_OFFSET, OFFSET, BEHIND_END, NEGATIVE, BAD_OFFSET, OFFSETS };
static const char *const offset_names[] = {"none", "offset", "behind_end", "negative", "bad_page"};
static const size_t sizes[] = {0, 100, 3000, 400000};

static void cell_sendfile(enum kind kind, enum mode mode, bool is_64, int offset_kind, size_t size,
                          bool is_shut)
{
    if (!cell_begin("sendfile %s %s %s %s %zu%s", kind_names[kind], mode_names[mode],
                    is_64 ? "sendfile64" : "sendfile", offset_names[offset_kind], size,
                    is_shut ? " shut" : ""))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, mode, OUTWARD, false)) {
        hash = arrived = 0;
        int file = file_of(size < 3000 ? size : size - 500); /* the longer ones ask for more than there is */
        off_t start = offset_kind == OFFSET ? 10 : offset_kind == BEHIND_END ? 1 << 20 : -1, *offset = &start;
        offset = offset_kind == NO_OFFSET ? NULL : offset_kind == BAD_OFFSET ? bad_page() : offset;
        if (is_shut)
            shutdown(ends.fd, SHUT_WR);
        helper_begin(&ends, (struct plan){NULL, 0, drain, true});
        errno = ERRNO_SENTINEL;
        atomic_store(&calling, CALLING);
        ssize_t sent =
            is_64 ? sendfile64(ends.fd, file, offset, size) : sendfile(ends.fd, file, offset, size);
        int error = errno;
        helper_end();
        drain(&ends);
        off_t at = lseek(file, 0, SEEK_CUR);
        if (mode != BLOCKING && size > 100000 && sent > 0) /* as much as there was room for */
            say(" sent=part/%d offset=%d arrived=%d", error == ERRNO_SENTINEL,
                offset_kind == NO_OFFSET ? at == sent : start == sent + 10, arrived == (size_t)sent);
        else {
            say_result("sent", sent, error);
            say(" offset=%ld at=%ld arrived=%zu/%08x", (long)start, (long)at, arrived,
                (unsigned)(hash >> 16));
        }
        say_poll_of(ends.fd);
        close(file);
        ends_close(&ends);
    }
    cell_end();
}

static void cell_wrong(enum kind kind)
{
    if (!cell_begin("sendfile %s wrong", kind_names[kind]))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, BLOCKING, OUTWARD, false)) {
        int file = file_of(100);
        CALL("from_socket", sendfile(ends.fd, ends.fd, NULL, 10));
        CALL("from_closed", sendfile(ends.fd, -1, NULL, 10));
        CALL("to_itself", sendfile(file, file, NULL, 10));
        CALL("from_socket_to_file", sendfile(file, ends.fd, NULL, 10));
        CALL("negative_size", sendfile(ends.fd, file, NULL, (size_t)-1));
        say_poll_of(ends.fd);
        close(file);
        ends_close(&ends);
    }
    cell_end();
}

static void act_feed(struct ends *ends, int step)
{
    feed(ends, 40, step);
}

static void shut_peer(struct ends *ends)
{
    shutdown(ends->peer, SHUT_WR);
}

enum { READY, LATER, PEER_CLOSED, OWN_TIMEOUT, FULL_PIPE, WITH_OFFSET, SPLICE_CASES };
static const char *const splice_names[] = {"ready", "later", "closed", "own_timeout", "full_pipe", "offset"};
static const unsigned splice_flags[] = {0, SPLICE_F_NONBLOCK, SPLICE_F_MORE | SPLICE_F_MOVE, 0x100};

static void cell_splice_in(enum kind kind, enum mode mode, int what, unsigned flags)
{
    if (!cell_begin("splice_in %s %s %s flags=%x", kind_names[kind], mode_names[mode], splice_names[what],
                    flags))
        return;
    struct ends ends;
    int pair[2];
    if (pipe(pair) == 0 && ends_open(&ends, kind, mode, INWARD, false)) {
        off64_t start = 0;
        char data[4096] = {0};
        struct timeval own = {0, 30000};
        if (what == READY || what == FULL_PIPE || what == WITH_OFFSET)
            feed(&ends, 50, 9);
        if (what == PEER_CLOSED)
            shut_peer(&ends);
        if (what == OWN_TIMEOUT)
            setsockopt(ends.fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
        if (what == FULL_PIPE) {
            fcntl(pair[1], F_SETFL, O_NONBLOCK);
            while (write(pair[1], data, sizeof data) > 0)
                ;
        }
        helper_begin(&ends,
                     (struct plan){act_feed, what == LATER, what == OWN_TIMEOUT ? NULL : shut_peer, false});
        CALL("splice", splice(ends.fd, what == WITH_OFFSET ? &start : NULL, pair[1], NULL, 100, flags));
        helper_end();
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        CALL("read", read(pair[0], data, sizeof data));
        say_data("data", data, sizeof data);
        say_poll_of(ends.fd);
        ends_close(&ends);
        close(pair[0]);
        close(pair[1]);
    }
    cell_end();
}

static void cell_splice_out(enum kind kind, enum mode mode, bool is_shut, size_t size, unsigned flags)
{
    if (!cell_begin("splice_out %s %s %zu flags=%x%s", kind_names[kind], mode_names[mode], size, flags,
                    is_shut ? " shut" : ""))
        return;
    struct ends ends;
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) == 0 && ends_open(&ends, kind, mode, OUTWARD, false)) {
        char data[300];
        memset(data, 'p', sizeof data);
        write(pair[1], data, sizeof data);
        if (is_shut)
            shutdown(ends.fd, SHUT_WR);
        hash = arrived = 0;
        helper_begin(&ends, (struct plan){NULL, 0, drain, true});
        CALL("splice", splice(pair[0], NULL, ends.fd, NULL, size, flags));
        helper_end();
        drain(&ends);
        say(" arrived=%zu/%08x", arrived, (unsigned)(hash >> 16));
        say_poll_of(pair[0]);
        say_poll_of(ends.fd);
        CALL("both_sockets", splice(ends.fd, NULL, ends.peer, NULL, 10, 0));
        CALL("closed", splice(ends.fd, NULL, -1, NULL, 10, 0));
        ends_close(&ends);
        close(pair[0]);
        close(pair[1]);
    }
    cell_end();
}

void table_move(void)
{
    static const enum kind kinds[] = {TCP4, TCP6, UDP4, UNIX_STREAM};
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        cell_wrong(kinds[k]);
        for (int mode = 0; mode < MODES; mode++) {
            for (int offset = 0; offset < OFFSETS; offset++)
                for (size_t s = 0; s < COUNT_OF(sizes); s++)
                    for (int variant = 0; variant < 4; variant++)
                        if (kinds[k] != UDP4 || s < 2)
                            cell_sendfile(kinds[k], mode, variant & 1, offset, sizes[s], variant & 2);
            for (size_t f = 0; f < COUNT_OF(splice_flags); f++) {
                for (int what = 0; what < SPLICE_CASES && kinds[k] != UDP4; what++)
                    if (mode != BORN_NON_BLOCKING)
                        cell_splice_in(kinds[k], mode, what, splice_flags[f]);
                for (int is_shut = 0; is_shut < 2; is_shut++)
                    for (size_t s = 0; s < 3; s++)
                        cell_splice_out(kinds[k], mode, is_shut, sizes[s], splice_flags[f]);
            }
        }
    }
}
