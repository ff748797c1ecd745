/* A program that registers descriptors with an epoll through io_uring, which nobody who stands between it and libc can see.
 *
 *   uring level|edge|once apart|together ADDRESS
 *
 * ADDRESS (127.x.y.z) is where connects are refused for OPEN_MS, and not from then on. A connection and a pipe, into which
 * is written meanwhile, are registered under data that do not tell their numbers: `together` under the same. Prints what the first
 * events of both are and SO_ERROR, and what else was reported. Exit status 77: the kernel has no io_uring for us. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WRITE_MS    100
#define OPEN_MS     300
#define PATIENCE_MS 5000
#define CONNECTION  UINT64_C(0x7f0000001000)
#define PIPE        UINT64_C(0x7f0000002000)

static struct {
    int fd;
    struct io_uring_params params;
    char *submissions, *completions;
    struct io_uring_sqe *entries;
} ring;
static int server, ends[2];
static struct sockaddr_in address = {.sin_family = AF_INET};

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void open_ring(void)
{
    ring.fd = (int)syscall(SYS_io_uring_setup, 4, &ring.params);
    if (ring.fd < 0)
        exit(77);
    size_t submissions = ring.params.sq_off.array + ring.params.sq_entries * sizeof(uint32_t);
    size_t completions = ring.params.cq_off.cqes + ring.params.cq_entries * sizeof(struct io_uring_cqe);
    int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    ring.submissions = mmap(NULL, submissions, protection, flags, ring.fd, IORING_OFF_SQ_RING);
    ring.completions = mmap(NULL, completions, protection, flags, ring.fd, IORING_OFF_CQ_RING);
    ring.entries = mmap(NULL, ring.params.sq_entries * sizeof *ring.entries, protection, flags, ring.fd,
                        IORING_OFF_SQES);
    if (ring.submissions == MAP_FAILED || ring.completions == MAP_FAILED || ring.entries == MAP_FAILED)
        die("ring");
}

static uint32_t *word(char *base, uint32_t offset)
{
    return (uint32_t *)(void *)(base + offset);
}

/* epoll_ctl: its result. */
static int control(int epoll, int operation, int fd, struct epoll_event *event)
{
    uint32_t *tail = word(ring.submissions, ring.params.sq_off.tail);
    uint32_t *head = word(ring.completions, ring.params.cq_off.head);
    uint32_t place = *tail & *word(ring.submissions, ring.params.sq_off.ring_mask);
    ring.entries[place] = (struct io_uring_sqe){.opcode = IORING_OP_EPOLL_CTL,
                                                .fd = epoll,
                                                .off = (uint64_t)fd,
                                                .len = (uint32_t)operation,
                                                .addr = (uint64_t)(uintptr_t)event};
    word(ring.submissions, ring.params.sq_off.array)[place] = place;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1 ||
        *head == __atomic_load_n(word(ring.completions, ring.params.cq_off.tail), __ATOMIC_ACQUIRE))
        die("io_uring_enter");
    struct io_uring_cqe *done = (struct io_uring_cqe *)(void *)(ring.completions + ring.params.cq_off.cqes) +
                                (*head & *word(ring.completions, ring.params.cq_off.ring_mask));
    int result = done->res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return result;
}

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_nanosleep, &time, NULL);
}

/* In a process of its own: this one has one thread only. */
static void write_and_open(void)
{
    if (fork() != 0)
        return;
    pause_ms(WRITE_MS);
    syscall(SYS_write, ends[1], "!", 1);
    pause_ms(OPEN_MS - WRITE_MS);
    syscall(SYS_listen, server, 8);
    _exit(0);
}

int main(int count, char **arguments)
{
    socklen_t length = sizeof address, size = sizeof(int);
    int epoll = epoll_create1(EPOLL_CLOEXEC), error = 0;
    if (count != 4 || epoll < 0 || pipe(ends) != 0)
        return 2;
    uint32_t mode = strcmp(arguments[1], "edge") == 0   ? EPOLLET
                    : strcmp(arguments[1], "once") == 0 ? EPOLLONESHOT
                                                        : 0;
    uint64_t other = strcmp(arguments[2], "together") == 0 ? CONNECTION : PIPE;
    open_ring();
    server = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    if (inet_pton(AF_INET, arguments[3], &address.sin_addr) != 1 ||
        syscall(SYS_bind, server, &address, length) != 0 ||
        syscall(SYS_getsockname, server, &address, &length) != 0)
        die("server");
    write_and_open();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, length) == 0 || errno != EINPROGRESS)
        die("connect");
    struct epoll_event first = {.events = EPOLLOUT | mode, .data.u64 = CONNECTION};
    struct epoll_event second = {.events = EPOLLIN | mode, .data.u64 = other}, event;
    if (control(epoll, EPOLL_CTL_ADD, fd, &first) != 0 ||
        control(epoll, EPOLL_CTL_ADD, ends[0], &second) != 0)
        die("epoll_ctl");
    unsigned of_connection = 0, of_pipe = 0, others = 0;
    while ((!of_connection || !of_pipe) && epoll_wait(epoll, &event, 1, PATIENCE_MS) == 1) {
        if (event.events & EPOLLIN && !of_pipe) {
            of_pipe = event.events;
            control(epoll, EPOLL_CTL_DEL, ends[0], NULL);
        } else if (!(event.events & EPOLLIN) && !of_connection) {
            of_connection = event.events;
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
                die("SO_ERROR");
            control(epoll, EPOLL_CTL_DEL, fd, NULL);
        } else {
            others++;
        }
    }
    printf("%x %d %x %u\n", of_connection, error, of_pipe, others);
    return 0;
}
