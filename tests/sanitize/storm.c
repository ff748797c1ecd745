/* Threads that connect, send, receive, duplicate, close and fork at once, under every feature, against servers of their
 * own that answer, reset, hang or are not there. The sanitizers watch; what the calls return does not matter, as long as
 * each of them comes back. The rules change meanwhile: a copy of them, under which the program starts itself again.
 *
 *   storm SECONDS */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS 6
#define SERVERS 3

enum kind { ANSWERS, RESETS, HANGS };
static struct server {
    enum kind kind;
    int listener;
    unsigned short port;
} servers[SERVERS];
static unsigned short absent_port; /* bound, and nobody listens */
static atomic_bool is_over;
static atomic_ulong connections, handled;
static atomic_int shared_fd = -1; /* one socket that all of them use */

static unsigned short bound(int fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        abort();
    return ntohs(address.sin_port);
}

static void *serve(void *given)
{
    const struct server *server = given;
    char data[256];
    while (!atomic_load(&is_over)) {
        struct pollfd waiting = {.fd = server->listener, .events = POLLIN};
        if (poll(&waiting, 1, 50) <= 0)
            continue;
        int fd = accept(server->listener, NULL, NULL);
        if (fd < 0)
            continue;
        struct timeval patience = {0, 50000}; /* a client may keep a copy, and send nothing */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (server->kind == RESETS) {
            struct linger at_once = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        } else if (server->kind == ANSWERS) {
            ssize_t got = recv(fd, data, sizeof data, 0);
            if (got > 0)
                send(fd, data, (size_t)got, MSG_NOSIGNAL);
        } else {
            poll(NULL, 0, 30);
        }
        close(fd);
    }
    return NULL;
}

static int connected(unsigned draw)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    unsigned which = draw % (SERVERS + 3); /* most often the one that answers */
    address.sin_port = htons(which == SERVERS ? absent_port : servers[which > SERVERS ? 0 : which].port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        atomic_fetch_add(&connections, 1);
    return fd;
}

static void look_up(unsigned draw)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(draw & 1 ? "localhost" : "127.0.0.1", "80", &hints, &found) == 0)
        freeaddrinfo(found);
}

static void fork_once(int fd)
{
    pid_t child = fork();
    if (child == 0) {
        char byte = 'x';
        send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
        _exit(0);
    }
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* The socket of all: used, replaced and closed under the others' feet. */
static void replace_shared(int fd)
{
    close(atomic_exchange(&shared_fd, dup(fd)));
}

static void use(int fd, unsigned draw)
{
    char data[64] = "ping";
    struct iovec part = {data, 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct timeval own = {0, 5000};
    switch (draw % 8) {
    case 0:
        send(fd, data, 4, MSG_NOSIGNAL);
        recv(fd, data, sizeof data, 0);
        break;
    case 1:
        sendmsg(fd, &message, MSG_NOSIGNAL);
        recvmsg(fd, &message, 0);
        break;
    case 2:
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
        send(fd, data, 4, MSG_NOSIGNAL);
        if (read(fd, data, sizeof data) < 0)
            errno = 0;
        break;
    case 3: {
        int copy = dup(fd);
        send(copy, data, 4, MSG_NOSIGNAL);
        close(copy);
        recv(fd, data, sizeof data, MSG_PEEK);
        break;
    }
    case 4:
        replace_shared(fd);
        break;
    case 5:
        send(atomic_load(&shared_fd), data, 4, MSG_NOSIGNAL);
        recv(atomic_load(&shared_fd), data, sizeof data, MSG_DONTWAIT);
        break;
    case 6:
        send(fd, data, 4, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        recv(fd, data, sizeof data, 0);
        break;
    case 7: {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        send(fd, data, 4, MSG_NOSIGNAL);
        poll(&waiting, 1, 10);
        recv(fd, data, sizeof data, MSG_DONTWAIT);
        break;
    }
    }
}

static void *storm(void *given)
{
    unsigned seed = (unsigned)(size_t)given, turn = 0;
    while (!atomic_load(&is_over)) {
        unsigned draw = (unsigned)rand_r(&seed);
        int fd = connected(draw);
        if (fd < 0)
            continue;
        use(fd, draw / 8);
        if (draw % 16 == 1)
            look_up(draw / 16);
        if (++turn % 64 == 0)
            fork_once(fd);
        close(fd);
    }
    return NULL;
}

/* A handler that connects, as some do. */
static void handle(int number)
{
    (void)number;
    int error = errno;
    int fd = connected(0);
    if (fd >= 0)
        close(fd);
    atomic_fetch_add(&handled, 1);
    errno = error;
}

static char rules[] = "/tmp/resil-storm-XXXXXX";

static size_t read_rules(const char *path, char *text, size_t capacity)
{
    int file = open(path, O_RDONLY);
    ssize_t size = file >= 0 ? read(file, text, capacity) : -1;
    close(file);
    if (size < 0)
        abort();
    return (size_t)size;
}

/* Renamed into place. Each time another text: a comment. */
static void change_rules(const char *path, const char *text, size_t size, unsigned version)
{
    char aside[256];
    snprintf(aside, sizeof aside, "%s.new", path);
    FILE *file = fopen(aside, "w");
    if (!file)
        abort();
    fwrite(text, 1, size, file);
    fprintf(file, "# version %u\n", version);
    fclose(file);
    rename(aside, path);
}

static void start_again_with_a_copy(char **arguments)
{
    char text[16384];
    size_t size = read_rules(getenv("RESIL_RULES"), text, sizeof text);
    close(mkstemp(rules));
    change_rules(rules, text, size, 0);
    setenv("RESIL_RULES", rules, 1);
    setenv("STORM_RULES", rules, 1);
    execv("/proc/self/exe", arguments);
    abort();
}

int main(int count, char **arguments)
{
    unsigned seconds = count > 1 ? (unsigned)atoi(arguments[1]) : 3;
    const char *own_rules = getenv("STORM_RULES");
    if (!own_rules && getenv("RESIL_RULES"))
        start_again_with_a_copy(arguments);
    char text[16384];
    size_t size = own_rules ? read_rules(own_rules, text, sizeof text) : 0;
    pthread_t threads[SERVERS + CLIENTS];
    for (int i = 0; i < SERVERS; i++) {
        servers[i].kind = (enum kind)i;
        servers[i].listener = socket(AF_INET, SOCK_STREAM, 0);
        servers[i].port = bound(servers[i].listener);
        listen(servers[i].listener, 64);
    }
    int absent = socket(AF_INET, SOCK_STREAM, 0);
    absent_port = bound(absent);
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t none, usr;
    sigemptyset(&none);
    sigemptyset(&usr);
    sigaddset(&usr, SIGUSR1);

    pthread_sigmask(SIG_BLOCK, &usr, NULL); /* servers are left alone */
    for (int i = 0; i < SERVERS; i++)
        pthread_create(&threads[i], NULL, serve, &servers[i]);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < CLIENTS; i++)
        pthread_create(&threads[SERVERS + i], NULL, storm, (void *)(size_t)(i + 1));
    for (unsigned i = 0; i < seconds * 50; i++) {
        struct timespec pause = {0, 20 * 1000 * 1000};
        nanosleep(&pause, NULL);
        if (own_rules)
            change_rules(own_rules, text, size, i);
        pthread_kill(threads[SERVERS + i % CLIENTS], SIGUSR1);
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < SERVERS; i++) {
        pthread_join(threads[i], NULL);
        close(servers[i].listener); /* resets what it has not accepted */
    }
    for (int i = SERVERS; i < SERVERS + CLIENTS; i++)
        pthread_join(threads[i], NULL);
    if (own_rules)
        unlink(own_rules);
    printf("%lu connections, %lu signals handled\n", atomic_load(&connections), atomic_load(&handled));
    return connections > 20 && handled > 0 ? 0 : 1;
}
