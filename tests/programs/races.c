/* Threads that get into each other's way on one descriptor, and calls behind our back; prints what came of it.
 *
 *     races STORY PORT [OTHER_PORT] */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int fd, port, other_port;
static char thread_said[100];

static void pause_ms(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000l};
    nanosleep(&time, NULL);
}

static struct sockaddr_in at(int number)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((unsigned short)number),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int connect_to(int socket, int number)
{
    struct sockaddr_in address = at(number);
    return connect(socket, (struct sockaddr *)&address, sizeof address);
}

static const char *outcome(long result)
{
    static char number[20];
    if (result < 0)
        return strerrorname_np(errno);
    snprintf(number, sizeof number, "%ld", result);
    return number;
}

static void *connects(void *unused)
{
    snprintf(thread_said, sizeof thread_said, "connect %s", outcome(connect_to(fd, port)));
    return unused;
}

static void *receives(void *unused)
{
    char data[100];
    snprintf(thread_said, sizeof thread_said, "recv %s", outcome(recv(fd, data, sizeof data, 0)));
    return unused;
}

/* Until the other thread's connect is on its way. */
static void wait_for_syn(void)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    for (int tries = 0; tries < 1000 && info.tcpi_state != TCP_SYN_SENT; tries++) {
        pause_ms(10);
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    }
}

/* A new connection under the same number. */
static void open_again(int number)
{
    int before = fd;
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd != before || connect_to(fd, number) != 0)
        exit(1);
}

static const char *ask(void)
{
    char data[1000];
    return send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0) == 18 && recv(fd, data, sizeof data, 0) > 0 ? "answered"
                                                                                                 : "lost";
}

/* The number of a connect that is waiting is closed, and is another connection's when its time is over. */
static void reused_in_connect(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, connects, NULL);
    wait_for_syn();
    open_again(other_port);
    pthread_join(thread, NULL);
    printf("%s, the other %s\n", thread_said, ask());
}

/* The same for a receive. */
static void reused_in_receive(void)
{
    pthread_t thread;
    if (connect_to(fd, port) != 0)
        exit(1);
    pthread_create(&thread, NULL, receives, NULL);
    pause_ms(1500);
    open_again(port);
    printf("%s\n", ask());
}

static sigjmp_buf before_receive;

static void jump(int number)
{
    siglongjmp(before_receive, number);
}

/* A handler jumps out of a receive; says how long the next one takes, in ms. */
static void jumps_out_of_receive(void)
{
    char data[100];
    struct timespec began, ended;
    struct itimerval soon = {.it_value.tv_usec = 100000};
    if (connect_to(fd, port) != 0 || send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0) != 18)
        exit(1);
    signal(SIGALRM, jump);
    for (volatile bool is_first = true;; is_first = false) {
        if (sigsetjmp(before_receive, 1))
            continue;
        clock_gettime(CLOCK_MONOTONIC, &began);
        if (is_first)
            setitimer(ITIMER_REAL, &soon, NULL);
        if (recv(fd, data, 1, 0) != 1)
            exit(1);
        break;
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%ld\n", (ended.tv_sec - began.tv_sec) * 1000 + (ended.tv_nsec - began.tv_nsec) / 1000000);
}

/* A connection is closed where no hook sees it, and the number is used for another one, which is reset. */
static void reused_unseen(void)
{
    char data[100];
    if (connect_to(fd, port) != 0 || send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0) != 18)
        exit(1);
    syscall(SYS_close, fd);
    struct sockaddr_in address = at(other_port);
    if (syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) != fd ||
        syscall(SYS_connect, fd, &address, sizeof address) != 0)
        exit(1);
    syscall(SYS_write, fd, "GET / HTTP/1.0\r\n\r\n", 18);
    printf("%s\n", outcome(recv(fd, data, sizeof data, 0)));
}

/* Connects, waits for a line on stdin, and connects again. */
static void again(int flags)
{
    char line[10];
    fcntl(fd, F_SETFL, flags);
    printf("%s\n", outcome(connect_to(fd, port)));
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(1);
    printf("%s\n", outcome(connect_to(fd, port)));
}

static void shut_in_connect(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, connects, NULL);
    wait_for_syn();
    shutdown(fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    printf("%s\n", thread_said);
}

/* What lies in the error queue is reported by poll until it is read from there; no receive takes it. */
static void waits_on_errors(void)
{
    char data[1000];
    int on = 1;
    struct rusage used;
    if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) != 0 || connect_to(fd, port) != 0 ||
        send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_ZEROCOPY) != 18)
        exit(1);
    int answers = 0;
    while (recv(fd, data, sizeof data, 0) > 0)
        answers++;
    const char *said = outcome(-1);
    getrusage(RUSAGE_SELF, &used);
    long ms = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
              (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
    printf("%s, %s %s\n", answers ? "answered" : "not answered", said, ms < 700 ? "asleep" : "awake");
}

/* Made non-blocking where the hooks see it, and blocking where they do not. */
static void blocking_unseen(void)
{
    char data[1000];
    if (connect_to(fd, port) != 0 || send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0) != 18)
        exit(1);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    printf("%s ", outcome(recv(fd, data, sizeof data, 0)));
    syscall(SYS_fcntl, fd, F_SETFL, 0);
    printf("%s\n", recv(fd, data, sizeof data, 0) > 0 ? "answered" : strerrorname_np(errno));
}

static volatile sig_atomic_t pipes;
static void count_pipe(int number)
{
    (void)number;
    pipes++;
}

/* Another thread ends the sending while the peer is reading: what was sent is counted, and the error with its signal
 * comes with the next call. */
static void *reads_a_little(void *listener)
{
    static char data[65536];
    int peer = accept(*(int *)listener, NULL, NULL);
    for (int i = 0; i < 300; i++) {
        recv(peer, data, sizeof data, MSG_WAITALL);
        pause_ms(20);
    }
    shutdown(fd, SHUT_WR);
    return NULL;
}

static void cut_in_send(void)
{
    static char data[40 << 20];
    struct sockaddr_in address = at(0);
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&address, sizeof address);
    listen(listener, 1);
    getsockname(listener, (struct sockaddr *)&address, &length);
    signal(SIGPIPE, count_pipe);
    pthread_t thread;
    pthread_create(&thread, NULL, reads_a_little, &listener);
    if (connect_to(fd, ntohs(address.sin_port)) != 0)
        exit(1);
    ssize_t sent = send(fd, data, sizeof data, 0);
    printf("%s, %d signals, ", sent > 0 && sent < (ssize_t)sizeof data ? "a part" : outcome(sent), pipes);
    printf("%s, ", outcome(send(fd, data, 1, 0)));
    printf("%s, %d signals\n", outcome(send(fd, data, 1, 0)), pipes);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    const char *story = argc > 1 ? argv[1] : "";
    port = argc > 2 ? atoi(argv[2]) : 0;
    other_port = argc > 3 ? atoi(argv[3]) : 0;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (strcmp(story, "reused-in-connect") == 0)
        reused_in_connect();
    else if (strcmp(story, "reused-in-receive") == 0)
        reused_in_receive();
    else if (strcmp(story, "jumps-out-of-receive") == 0)
        jumps_out_of_receive();
    else if (strcmp(story, "reused-unseen") == 0)
        reused_unseen();
    else if (strcmp(story, "again") == 0)
        again(0);
    else if (strcmp(story, "again-in-flight") == 0)
        again(O_NONBLOCK);
    else if (strcmp(story, "shut-in-connect") == 0)
        shut_in_connect();
    else if (strcmp(story, "waits-on-errors") == 0)
        waits_on_errors();
    else if (strcmp(story, "blocking-unseen") == 0)
        blocking_unseen();
    else if (strcmp(story, "cut-in-send") == 0)
        cut_in_send();
    else
        return 2;
    return 0;
}
