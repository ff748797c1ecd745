/* Everything is closed at once, and opened anew under the same numbers. In a child: our own descriptors go too. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conform.h"

static void by_close_range(void)
{
    CALL("close_range", close_range(3, ~0u, 0));
}

static void by_close_on_exec(void)
{
    CALL("cloexec", close_range(3, ~0u, CLOSE_RANGE_CLOEXEC));
    CALL("close_range", close_range(3, ~0u, CLOSE_RANGE_UNSHARE));
    CALL("backwards", close_range(9, 3, 0));
    CALL("unknown", close_range(3, 9, 0x80));
}

static void by_closefrom(void)
{
    closefrom(3);
}

static void by_loop(void)
{
    for (int fd = 3; fd < 300; fd++)
        close(fd);
}

static void behind_our_back(void)
{
    syscall(SYS_close_range, 3, ~0u, 0);
}

static const struct {
    const char *name;
    void (*close_all)(void);
} ways[] = {
    {"close_range", by_close_range}, {"close_on_exec", by_close_on_exec},
    {"closefrom", by_closefrom},     {"loop", by_loop},
    {"raw", behind_our_back},
};
static size_t way;

static void story(struct ends *ends)
{
    char data[64];
    ways[way].close_all();
    CALL("send", send(ends->fd, "x", 1, MSG_NOSIGNAL));
    CALL("read", read(ends->fd, data, sizeof data));
    for (int i = 3; i <= ends->peer; i++) { /* every number is a file now */
        open("/proc/self/stat", O_RDONLY);
    }
    CALL("file", read(ends->fd, data, 8));
    CALL("file_write", write(ends->fd, data, 8));
    CALL("file_recv", recv(ends->fd, data, 8, 0));
    ways[way].close_all();
    listeners_open();
    struct ends fresh;
    ends_open(&fresh, TCP4, BLOCKING, INWARD, false);
    feed(&fresh, 20, 1);
    CALL("recv", recv(fresh.fd, data, sizeof data, 0));
    CALL("send", send(fresh.fd, "x", 1, MSG_NOSIGNAL));
    CALL("arrived", recv(fresh.peer, data, sizeof data, 0));
    say_poll_of(fresh.fd);
}

void stories_mass(void)
{
    for (way = 0; way < COUNT_OF(ways); way++)
        for (int mode = 0; mode < MODES; mode++)
            if (cell_begin("mass %s %s", ways[way].name, mode_names[mode])) {
                struct ends ends;
                ends_open(&ends, TCP4, mode, INWARD, false);
                say_from_child(story, &ends, NULL);
                ends_close(&ends);
                cell_end();
            }
}
