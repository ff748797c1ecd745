#include "servers.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unseen.h"

const int expected[KINDS] = {0, ECONNREFUSED, ETIMEDOUT};
struct server refusing, silent;

/* Twice: only a port that was asked for stays with a socket that does not listen any more. */
static void bind_server(struct server *server, enum kind kind, unsigned number)
{
    uint32_t host = ((uint32_t)getpid() & 0x1fff) << 3 | number;
    int on = 1;
    server->fd = -1;
    server->address = (struct sockaddr_in){.sin_family = AF_INET,
                                           .sin_addr.s_addr = htonl(127u << 24 | (81 + kind) << 16 | host)};
    for (unsigned i = 0; i < 2; i++) {
        socklen_t length = sizeof server->address;
        syscall(SYS_close, server->fd);
        server->fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (server->fd < 0 ||
            syscall(SYS_setsockopt, server->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
            syscall(SYS_bind, server->fd, &server->address, length) != 0 ||
            syscall(SYS_getsockname, server->fd, &server->address, &length) != 0)
            die("server");
    }
}

void open_servers(struct server *late, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bind_server(&late[i], LATE, i);
    bind_server(&refusing, REFUSED, 0);
    bind_server(&silent, SILENT, 0);
    int filler = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (syscall(SYS_listen, silent.fd, 0) != 0 ||
        syscall(SYS_connect, filler, &silent.address, sizeof silent.address) != 0)
        die("silent server");
}

void answer_all(const struct server *server)
{
    int fd;
    while ((fd = (int)syscall(SYS_accept4, server->fd, NULL, NULL, 0)) >= 0) {
        syscall(SYS_sendto, fd, "!", 1, MSG_NOSIGNAL, NULL, 0);
        syscall(SYS_close, fd);
    }
}

int so_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

void raise_limit(void)
{
    struct rlimit most;
    if (getrlimit(RLIMIT_NOFILE, &most) == 0) {
        most.rlim_cur = most.rlim_max;
        setrlimit(RLIMIT_NOFILE, &most);
    }
}

struct usage measure(void)
{
    struct usage usage = {0};
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &usage.mapped, &usage.pages) != 2)
        die("statm");
    fclose(file);
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        die("descriptors");
    while (readdir(folder))
        usage.descriptors++;
    closedir(folder);
    return usage;
}
