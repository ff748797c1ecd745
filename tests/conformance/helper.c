/* Somebody else, who acts once the caller is really asleep in its call: the kernel says so, no time is guessed. */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "conform.h"

atomic_int calling;

static sem_t begun, ended;
static struct plan current;
static struct ends *current_ends;
static int stat_fd, rescues;
static pthread_t caller;

static bool is_asleep(void)
{
    char text[256];
    ssize_t size = pread(stat_fd, text, sizeof text - 1, 0);
    if (size <= 0)
        return false;
    text[size] = '\0';
    const char *after = strrchr(text, ')');
    return after && after[2] == 'S';
}

/* True: asleep for `looks` looks in a row. False: the call has returned. */
static bool wait_for_sleep(int looks)
{
    for (int seen = 0; seen < looks;) {
        if (atomic_load(&calling) == RETURNED)
            return false;
        seen = atomic_load(&calling) == CALLING && is_asleep() ? seen + 1 : 0;
        syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &(struct timespec){0, 100000}, NULL);
    }
    return true;
}

static void *help(void *unused)
{
    (void)unused;
    for (;;) {
        sem_wait(&begun);
        bool is_waiting = true;
        for (int step = 0; is_waiting && step < current.steps; step++)
            if ((is_waiting = wait_for_sleep(3)))
                current.act(current_ends, step);
        while (is_waiting && current.rescue && (is_waiting = wait_for_sleep(current.is_patient ? 2 : 15))) {
            rescues += !current.is_patient;
            current.rescue(current_ends);
        }
        sem_post(&ended);
    }
    return NULL;
}

void helper_start(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", syscall(SYS_gettid));
    stat_fd = open(path, O_RDONLY | O_CLOEXEC);
    caller = pthread_self();
    sem_init(&begun, 0, 0);
    sem_init(&ended, 0, 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_t thread;
    if (stat_fd < 0 || pthread_create(&thread, NULL, help, NULL) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void helper_begin(struct ends *ends, struct plan plan)
{
    atomic_store(&calling, IDLE);
    rescues = 0;
    current = plan;
    current_ends = ends;
    sem_post(&begun);
}

void helper_end(void)
{
    atomic_store(&calling, RETURNED);
    sem_wait(&ended);
    if (rescues)
        say(" rescued");
}

void helper_signal(void)
{
    pthread_kill(caller, SIGUSR1);
}
