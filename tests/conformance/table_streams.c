/* stdio on a socket: it reads, writes and closes past all hooks, and the number is somebody else's afterwards. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "conform.h"

static void act_feed_line(struct ends *ends, int step)
{
    const char *line = step ? "second\n" : "first\n";
    if (kind_is_socket(ends->kind))
        send(ends->peer, line, strlen(line), MSG_NOSIGNAL);
    else
        write(ends->peer, line, strlen(line));
}

static void act_close(struct ends *ends, int step)
{
    (void)step;
    end_reset(ends->peer);
    ends->peer = -1;
}

static void get_line(FILE *stream)
{
    char line[64] = "";
    errno = ERRNO_SENTINEL;
    atomic_store(&calling, CALLING);
    char *got = fgets(line, sizeof line, stream);
    int error = errno;
    atomic_store(&calling, RETURNED);
    say_result("fgets", got != NULL, error);
    say("(%.*s) eof=%d error=%d", got ? (int)strcspn(line, "\n") : 0, line, feof(stream) != 0,
        ferror(stream) != 0);
    clearerr(stream);
}

static void cell(enum kind kind, enum mode mode, const char *way, bool has_asked)
{
    if (!cell_begin("stream %s %s %s %s", kind_names[kind], mode_names[mode], way,
                    has_asked ? "asked" : "silent"))
        return;
    struct ends ends;
    if (!ends_open(&ends, kind, mode, INWARD, false)) {
        cell_end();
        return;
    }
    if (has_asked)
        send(ends.fd, "ask", 3, MSG_NOSIGNAL);
    errno = ERRNO_SENTINEL;
    FILE *stream = fdopen(ends.fd, kind == PIPE ? "r" : "r+");
    say_result("fdopen", stream != NULL, errno);
    CALL("bad_mode", fdopen(ends.fd, "x") != NULL);
    CALL("fd", fcntl(ends.fd, F_GETFD));
    if (stream) {
        act_feed_line(&ends, 0);
        get_line(stream);
        helper_begin(&ends, (struct plan){act_feed_line, 1, NULL, false});
        get_line(stream);
        helper_end();
        struct timeval own = {0, 20000};
        CALL("own", setsockopt(ends.fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own));
        if (kind_is_socket(kind))
            get_line(stream);
        if (kind != PIPE) {
            fseek(stream, 0, SEEK_CUR);
            CALL("fprintf", fprintf(stream, "out %d\n", 7));
            CALL("fflush", fflush(stream));
            char data[32];
            CALL("arrived", recv(ends.peer, data, sizeof data, MSG_DONTWAIT));
        }
        if (strcmp(way, "reset") == 0) {
            act_close(&ends, 0);
            get_line(stream);
            if (kind != PIPE) {
                fseek(stream, 0, SEEK_CUR);
                CALL("fprintf", fprintf(stream, "out %d\n", 7));
                CALL("fflush", fflush(stream));
            }
        }
        if (strncmp(way, "freopen", 7) == 0) {
            stream = way[7] ? freopen64("/dev/null", "r", stream) : freopen("/dev/null", "r", stream);
            say(" freopen=%d", stream != NULL);
            say_fd("number", fileno(stream), 0);
            get_line(stream);
        }
        int fd = fileno(stream);
        if (strcmp(way, "closed_before") == 0)
            CALL("close", close(fd));
        CALL("fclose", fclose(stream));
        /* The number again, for a file: nothing of the socket may cling to it. */
        int file = CALL_FD("open", open("/proc/self/stat", O_RDONLY));
        char data[8];
        CALL("read", read(file, data, sizeof data));
        CALL("recv", recv(file, data, sizeof data, 0));
        CALL("write", write(file, data, sizeof data));
        close(file);
        ends.fd = -1;
    }
    if (ends.peer >= 0)
        end_reset(ends.peer);
    if (ends.fd >= 0 && kind < CLOSED)
        close(ends.fd);
    cell_end();
}

void table_streams(void)
{
    static const enum kind kinds[] = {TCP4, TCP6, UNIX_STREAM, PIPE, CLOSED, MINUS_ONE};
    static const char *const ways[] = {"fclose", "reset", "freopen", "freopen64", "closed_before"};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (int mode = 0; mode < MODES; mode++)
            for (size_t w = 0; w < COUNT_OF(ways); w++)
                for (int has_asked = 0; has_asked < 2; has_asked++)
                    cell(kinds[k], mode, ways[w], has_asked);
}
