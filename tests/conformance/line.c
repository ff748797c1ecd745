/* One line a cell. It is put together here and written with one raw write, past all hooks and stdio. */
#include "line.h"

#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform.h"

static char line[16384];
static size_t used;
static int base_fd;
int pipe_signals;

static int lowest_free(void)
{
    int fd = (int)syscall(SYS_dup, STDOUT_FILENO);
    syscall(SYS_close, fd);
    return fd;
}

static const char *error_name(int error)
{
    const char *name = error == ERRNO_SENTINEL ? "kept" : strerrorname_np(error);
    return name ? name : "?";
}

void line_begin(const char *name)
{
    used = 0;
    pipe_signals = 0;
    base_fd = lowest_free();
    say("%s:", name);
}

void line_end(void)
{
    if (pipe_signals)
        say(" sigpipe=%d", pipe_signals);
    int now = lowest_free();
    if (now != base_fd)
        say(" lowest_fd=%+d", now - base_fd);
    line_flush();
}

void line_flush(void)
{
    if (!used)
        return;
    line[used++] = '\n';
    syscall(SYS_write, STDOUT_FILENO, line, used);
    used = 0;
}

void say_from_child(void (*story)(struct ends *ends), struct ends *ends, void (*meanwhile)(struct ends *ends))
{
    int pair[2], status = 0;
    if (pipe2(pair, O_CLOEXEC) != 0)
        return;
    pid_t child = fork();
    if (child == 0) {
        used = 0;
        dup2(pair[1], STDOUT_FILENO);
        close(pair[0]);
        close(pair[1]);
        story(ends);
        line_flush();
        _exit(0);
    }
    close(pair[1]);
    if (meanwhile)
        meanwhile(ends);
    char text[8192];
    size_t size = 0;
    for (ssize_t got; size < sizeof text && (got = read(pair[0], text + size, sizeof text - size)) > 0;)
        size += (size_t)got;
    close(pair[0]);
    waitpid(child, &status, 0);
    while (size && text[size - 1] == '\n')
        size--;
    for (size_t i = 0; i < size; i++)
        text[i] = text[i] == '\n' ? '|' : text[i];
    say(" {%.*s} status=%x", (int)size, text, (unsigned)status);
}

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof line - used - 1;
    int size = vsnprintf(line + used, room, format, arguments);
    va_end(arguments);
    used += size < 0 ? 0 : (size_t)size >= room ? room - 1 : (size_t)size;
}

void say_result(const char *what, long result, int error)
{
    say(" %s=%ld/%s", what, result, error_name(error));
}

void say_fd(const char *what, long fd, int error)
{
    say_result(what, fd < 0 ? fd : fd - base_fd, error);
}

uint64_t hash_of(const void *data, size_t size, uint64_t before)
{
    uint64_t hash = before ? before : 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return hash;
}

void say_data(const char *what, const void *data, size_t size)
{
    say(" %s=%08x", what, (unsigned)(hash_of(data, size, 0) >> 16));
}

void say_poll(const char *what, int events)
{
    static const struct {
        int bit;
        const char *name;
    } bits[] = {{POLLIN, "in"},   {POLLOUT, "out"},   {POLLPRI, "pri"},    {POLLERR, "err"},
                {POLLHUP, "hup"}, {POLLNVAL, "nval"}, {POLLRDHUP, "rdhup"}};
    say(" %s=", what);
    for (size_t i = 0; i < COUNT_OF(bits); i++)
        if (events & bits[i].bit)
            say("%s.", bits[i].name);
}

void say_poll_of(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP};
    if (poll(&wanted, 1, 0) >= 0)
        say_poll("poll", wanted.revents);
    int left = -1;
    if (ioctl(fd, FIONREAD, &left) == 0)
        say(" left=%d", left);
}

void say_address(const char *what, const void *address, socklen_t room, socklen_t length)
{
    const struct sockaddr *any = address;
    say(" %s=%u", what, length);
    if (length < sizeof any->sa_family || room < sizeof any->sa_family)
        return;
    say("/%d", any->sa_family);
    if (any->sa_family == AF_INET && room >= sizeof(struct sockaddr_in))
        say("/%08x%s", ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr),
            ((const struct sockaddr_in *)address)->sin_port ? ":port" : ":0");
    else if (any->sa_family == AF_INET6 && room >= sizeof(struct sockaddr_in6))
        say_data("ip", &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
}

/* Everything that recvmsg fills in, beside the data. */
void say_message(const struct msghdr *message)
{
    say(" flags=%x", (unsigned)message->msg_flags);
    if (message->msg_name)
        say_address("from", message->msg_name, sizeof(struct sockaddr_storage), message->msg_namelen);
    if (!message->msg_control)
        return;
    say(" control=%zu", (size_t)message->msg_controllen);
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
         part = CMSG_NXTHDR((struct msghdr *)message, part)) {
        say("[%d/%d/%zu", part->cmsg_level, part->cmsg_type, (size_t)part->cmsg_len);
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            int count = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            for (int i = 0; i < count; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(part) + (size_t)i * sizeof fd, sizeof fd);
                say(" fd%+d cloexec=%d", fd - base_fd, fcntl(fd, F_GETFD) & FD_CLOEXEC);
                close(fd);
            }
        } else if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_RECVERR) {
            struct sock_extended_err told;
            memcpy(&told, CMSG_DATA(part), sizeof told);
            say(" error=%s origin=%d type=%d code=%d", error_name((int)told.ee_errno), told.ee_origin,
                told.ee_type, told.ee_code);
        }
        say("]");
    }
}
