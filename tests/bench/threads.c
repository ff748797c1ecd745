/* Threads that send and receive, each on a connection of its own to itself.
 *
 *     threads THREADS COUNT
 *
 * Each sends and receives one byte COUNT times. Prints how long it took from where all had their connections until all
 * were done, in ns. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 16

static pthread_barrier_t barrier;
static long count;

static void open_pair(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
        connect(ends[0], (struct sockaddr *)&address, length) != 0 ||
        (ends[1] = accept(listener, NULL, NULL)) < 0) {
        perror("threads");
        exit(1);
    }
    close(listener);
}

static void *work(void *unused)
{
    int ends[2];
    char byte = 1;
    open_pair(ends);
    pthread_barrier_wait(&barrier);
    for (long i = 0; i < count; i++)
        if (send(ends[0], &byte, 1, 0) != 1 || recv(ends[1], &byte, 1, 0) != 1)
            exit(1);
    return unused;
}

static long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    int number = argc == 3 ? atoi(argv[1]) : 0;
    count = argc == 3 ? atol(argv[2]) : 0;
    if (number < 1 || number > THREADS_MAX || count < 1)
        return 2;
    pthread_barrier_init(&barrier, NULL, (unsigned)number + 1);
    for (int i = 0; i < number; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    pthread_barrier_wait(&barrier);
    long began = now_ns();
    for (int i = 0; i < number; i++)
        pthread_join(threads[i], NULL);
    printf("%ld\n", now_ns() - began);
    return 0;
}
