/* Is interrupted by a timer while it connects and receives, and prints what the calls returned.
 *
 *     interrupted connect|recv|jump PORT restart|interrupt MS
 *
 * The timer fires every MS milliseconds; its handler has SA_RESTART or not. `jump` leaves connect by siglongjmp out of
 * the handler, as wget does, and then connects again without a timer. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t fired;
static sigjmp_buf out;
static int leaves;
static int fd; /* not on the stack: it has to survive siglongjmp */

static void count(int number)
{
    (void)number;
    fired++;
    if (leaves)
        siglongjmp(out, 1);
}

static void set_timer(long ms)
{
    struct itimerval every = {.it_interval = {0, ms * 1000}, .it_value = {0, ms * 1000}};
    setitimer(ITIMER_REAL, &every, NULL);
}

static const char *name(int error)
{
    return error == EINTR          ? "EINTR"
           : error == ETIMEDOUT    ? "ETIMEDOUT"
           : error == ECONNREFUSED ? "ECONNREFUSED"
           : error == EAGAIN       ? "EAGAIN"
                                   : strerror(error);
}

static int try_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int port = atoi(argv[2]);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sigaction action = {.sa_handler = count,
                               .sa_flags = strcmp(argv[3], "restart") == 0 ? SA_RESTART : 0};
    sigaction(SIGALRM, &action, NULL);
    char buffer[1000];
    ssize_t result;
    if (strcmp(argv[1], "recv") == 0) {
        if (try_connect(port) != 0 || write(fd, "GET / HTTP/1.0\r\n\r\n", 18) != 18)
            return 1;
        set_timer(atol(argv[4]));
        result = recv(fd, buffer, sizeof buffer, 0);
    } else {
        leaves = strcmp(argv[1], "jump") == 0;
        if (sigsetjmp(out, 1) == 0)
            set_timer(atol(argv[4]));
        else
            leaves = 0;
        if (leaves || strcmp(argv[1], "connect") == 0) {
            result = try_connect(port);
        } else {
            set_timer(0);
            close(fd);
            fd = socket(AF_INET, SOCK_STREAM, 0);
            result = try_connect(port);
        }
    }
    int error = errno;
    set_timer(0);
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    printf("%s %s %s\n", result >= 0 ? "good" : name(error), fired ? "fired" : "never",
           sigismember(&blocked, SIGALRM) ? "blocked" : "open");
    return 0;
}
