/* Several threads on one socket, threads that are cancelled in a call, and threads that fight for numbers. */
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conform.h"

#define THREADS 4
#define ROUNDS  400
#define CHUNK   1000

static struct ends shared;
static atomic_long sum, received;

static void *send_much(void *number)
{
    char data[CHUNK];
    memset(data, 1 + (int)(intptr_t)number, sizeof data);
    for (int i = 0; i < ROUNDS; i++)
        for (size_t done = 0; done < sizeof data;) {
            ssize_t sent = i % 2 ? send(shared.fd, data + done, sizeof data - done, MSG_NOSIGNAL)
                                 : write(shared.fd, data + done, sizeof data - done);
            if (sent <= 0)
                return NULL;
            done += (size_t)sent;
        }
    return NULL;
}

static void *echo(void *unused)
{
    char data[8192];
    (void)unused;
    for (ssize_t size; (size = recv(shared.peer, data, sizeof data, 0)) > 0;)
        for (ssize_t done = 0, sent; done < size; done += sent)
            if ((sent = send(shared.peer, data + done, (size_t)(size - done), MSG_NOSIGNAL)) <= 0)
                return NULL;
    shutdown(shared.peer, SHUT_WR);
    return NULL;
}

static void *receive_much(void *number)
{
    unsigned char data[3000];
    for (;;) {
        ssize_t size =
            (intptr_t)number % 2 ? read(shared.fd, data, sizeof data) : recv(shared.fd, data, sizeof data, 0);
        if (size <= 0)
            return NULL;
        long part = 0;
        for (ssize_t i = 0; i < size; i++)
            part += data[i];
        atomic_fetch_add(&sum, part);
        atomic_fetch_add(&received, size);
    }
}

static void many_on_one(enum kind kind)
{
    if (!cell_begin("thread %s many_on_one", kind_names[kind]))
        return;
    pthread_t senders[THREADS], receivers[THREADS], mirror;
    sum = received = 0;
    ends_open(&shared, kind, BLOCKING, INWARD, false);
    pthread_create(&mirror, NULL, echo, NULL);
    for (intptr_t i = 0; i < THREADS; i++) {
        pthread_create(&receivers[i], NULL, receive_much, (void *)i);
        pthread_create(&senders[i], NULL, send_much, (void *)i);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(senders[i], NULL);
    shutdown(shared.fd, SHUT_WR);
    pthread_join(mirror, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(receivers[i], NULL);
    say(" received=%ld sum=%ld", (long)received, (long)sum);
    ends_close(&shared);
    cell_end();
}

static struct black_hole hole;
static atomic_bool has_cleaned;

static void clean(void *unused)
{
    (void)unused;
    atomic_store(&has_cleaned, true);
}

enum { IN_RECV, IN_READ, IN_RECVMSG, IN_POLL, IN_CONNECT, PENDING_IN_SEND, CANCELS };
static const char *const cancel_names[] = {"recv", "read", "recvmsg", "poll", "connect", "send_pending"};

static void *wait_to_be_cancelled(void *what)
{
    char data[16];
    struct msghdr message = {.msg_iov = &(struct iovec){data, sizeof data}, .msg_iovlen = 1};
    pthread_cleanup_push(clean, NULL);
    switch ((intptr_t)what) {
    case IN_RECV:
        recv(shared.fd, data, sizeof data, 0);
        break;
    case IN_READ:
        read(shared.fd, data, sizeof data);
        break;
    case IN_RECVMSG:
        recvmsg(shared.fd, &message, 0);
        break;
    case IN_POLL:
        pause_ms(0);
        while (recv(shared.fd, data, sizeof data, MSG_PEEK) < 0)
            ;
        break;
    case IN_CONNECT:
        connect(hole.waiting[0], (struct sockaddr *)&hole.address, sizeof(struct sockaddr_in));
        break;
    case PENDING_IN_SEND:
        pthread_cancel(pthread_self());
        send(shared.fd, "x", 1, MSG_NOSIGNAL);
        break;
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void cancelled(enum kind kind, int what)
{
    if (!cell_begin("thread %s cancel_in_%s", kind_names[kind], cancel_names[what]))
        return;
    pthread_t thread;
    void *result = NULL;
    ends_open(&shared, kind, BLOCKING, INWARD, false);
    send(shared.fd, "ask", 3, MSG_NOSIGNAL);
    if (what == IN_CONNECT) {
        hole = black_hole_open();
        end_reset(hole.waiting[0]);
        hole.waiting[0] = socket(AF_INET, SOCK_STREAM, 0);
    }
    atomic_store(&has_cleaned, false);
    pthread_create(&thread, NULL, wait_to_be_cancelled, (void *)(intptr_t)what);
    pause_ms(20);
    if (what != PENDING_IN_SEND)
        pthread_cancel(thread);
    pthread_join(thread, &result);
    say(" cancelled=%d cleaned=%d", result == PTHREAD_CANCELED, atomic_load(&has_cleaned));
    feed(&shared, 20, 1);
    char data[64];
    CALL("recv", recv(shared.fd, data, sizeof data, 0));
    CALL("arrived", recv(shared.peer, data, sizeof data, MSG_DONTWAIT));
    if (what == IN_CONNECT)
        black_hole_close(&hole);
    ends_close(&shared);
    cell_end();
}

#define RACE_MS 500
static atomic_long wrong;
static atomic_bool stop, is_last; /* for the racers; for the server */
static struct sockaddr_storage race_address;
static socklen_t race_length;

static void *answer_all(void *unused)
{
    (void)unused;
    int listener = listener_of(TCP4), fd;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        char data[8];
        struct timeval own = {0, 50000};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
        if (recv(fd, data, 4, MSG_WAITALL) == 4)
            send(fd, data, 4, MSG_NOSIGNAL);
        end_reset(fd);
        if (is_last)
            return NULL;
    }
    return NULL;
}

/* Each asks for its own word back; closing and opening go on beside it, and numbers change hands. */
static void *race(void *number)
{
    char word[5] = {'w', 'o', 'r', (char)('0' + (intptr_t)number), 0}, data[8];
    while (!stop) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), copy = dup(fd);
        if (connect(fd, (struct sockaddr *)&race_address, race_length) == 0) {
            send(copy, word, 4, MSG_NOSIGNAL);
            if (recv(fd, data, 4, MSG_WAITALL) == 4 && memcmp(data, word, 4) != 0)
                atomic_fetch_add(&wrong, 1);
        }
        end_reset(copy);
        close(fd);
        int pair[2];
        if (pipe(pair) == 0) {
            if (write(pair[1], word, 4) != 4 || read(pair[0], data, 4) != 4 || memcmp(data, word, 4) != 0)
                atomic_fetch_add(&wrong, 1);
            close(pair[0]);
            close(pair[1]);
        }
    }
    return NULL;
}

static void race_for_numbers(void)
{
    if (!cell_begin("thread race_for_numbers"))
        return;
    pthread_t racers[2], server;
    wrong = 0;
    stop = is_last = false;
    listener_address(TCP4, &race_address, &race_length);
    pthread_create(&server, NULL, answer_all, NULL);
    for (intptr_t i = 0; i < 2; i++)
        pthread_create(&racers[i], NULL, race, (void *)i);
    pause_ms(RACE_MS);
    stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(racers[i], NULL);
    is_last = true;
    int last = socket(AF_INET, SOCK_STREAM, 0); /* wakes the server a last time */
    connect(last, (struct sockaddr *)&race_address, race_length);
    pthread_join(server, NULL);
    end_reset(last);
    listeners_drain();
    say(" wrong=%ld", (long)wrong);
    cell_end();
}

void stories_threads(void)
{
    static const enum kind kinds[] = {TCP4, UNIX_STREAM};
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        many_on_one(kinds[k]);
        for (int what = 0; what < CANCELS; what++)
            cancelled(kinds[k], what);
    }
    race_for_numbers();
}
