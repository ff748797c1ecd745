#include "unseen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void die(const char *what)
{
    perror(what);
    exit(2);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t now_ms(void)
{
    return now_ns() / 1000000;
}

void pause_us(unsigned us)
{
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    syscall(SYS_nanosleep, &time, NULL);
}

bool is_asleep(pid_t process, pid_t thread)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)process, (int)thread);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : syscall(SYS_read, fd, line, sizeof line - 1);
    syscall(SYS_close, fd);
    const char *state = got > 0 ? strrchr(line, ')') : NULL;
    return state && state[2] == 'S';
}

int bind_unseen(int type, const char *where, struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = (int)syscall(SYS_socket, AF_INET, type | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET};
    if (inet_pton(AF_INET, where, &address->sin_addr) != 1 || syscall(SYS_bind, fd, address, length) != 0 ||
        syscall(SYS_getsockname, fd, address, &length) != 0)
        die(where);
    return fd;
}
