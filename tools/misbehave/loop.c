#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static int epoll_fd = -1;
static bool is_stopping;
static struct source *retired;

/* A binary heap, the earliest first. A timer's place is its index here plus 1, and 0 when it is not set. */
static struct timer **heap;
static size_t heap_size;

static int milliseconds_to_first_timer(void);
static void run_timers(void);
static void free_retired(void);

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

bool loop_open(size_t most_timers, struct problem *problem)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    heap = calloc(most_timers, sizeof(struct timer *));
    if (epoll_fd >= 0 && heap)
        return true;
    problem_say(problem, "cannot start the event loop: %s", strerror(errno));
    return false;
}

void loop_close(void)
{
    free_retired();
    free(heap);
    if (epoll_fd >= 0)
        close(epoll_fd);
}

void loop_run(void (*after_batch)(void))
{
    while (!is_stopping) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll_fd, events, 256, milliseconds_to_first_timer());
        for (int i = 0; i < count; i++) {
            struct source *source = events[i].data.ptr;
            if (source->is_watched)
                source->ready(source, events[i].events);
        }
        run_timers();
        after_batch();
        free_retired();
    }
}

void loop_stop(void)
{
    is_stopping = true;
}

bool loop_watch(struct source *source, uint32_t events)
{
    if (source->is_watched && source->watched_events == events)
        return true;
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(epoll_fd, source->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, source->fd, &event) != 0)
        return false;
    source->is_watched = true;
    source->watched_events = events;
    return true;
}

void loop_forget(struct source *source)
{
    if (source->is_watched)
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->is_watched = false;
}

void loop_retire(struct source *source, void *memory)
{
    loop_forget(source);
    close(source->fd);
    source->fd = -1;
    source->memory = memory;
    source->next_retired = retired;
    retired = source;
}

static void free_retired(void)
{
    while (retired) {
        void *memory = retired->memory;
        retired = retired->next_retired;
        free(memory);
    }
}

static void put(size_t index, struct timer *timer)
{
    heap[index] = timer;
    timer->place = index + 1;
}

/* Lets the timer at `index` rise or sink to where it belongs. */
static void settle(size_t index)
{
    struct timer *timer = heap[index];
    while (index > 0 && heap[(index - 1) / 2]->at > timer->at) {
        put(index, heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * index + 1;
        if (child + 1 < heap_size && heap[child + 1]->at < heap[child]->at)
            child++;
        if (child >= heap_size || heap[child]->at >= timer->at)
            break;
        put(index, heap[child]);
        index = child;
    }
    put(index, timer);
}

void timer_set(struct timer *timer, uint64_t at)
{
    timer->at = at;
    if (!timer->place)
        put(heap_size++, timer);
    settle(timer->place - 1);
}

void timer_cancel(struct timer *timer)
{
    if (!timer->place)
        return;
    size_t index = timer->place - 1;
    timer->place = 0;
    struct timer *last = heap[--heap_size];
    if (last == timer)
        return;
    put(index, last);
    settle(index);
}

static int milliseconds_to_first_timer(void)
{
    if (!heap_size)
        return -1;
    uint64_t now = now_ns();
    if (heap[0]->at <= now)
        return 0;
    /* Rounded up: a delay is never shorter than what was asked for. */
    uint64_t wait = (heap[0]->at - now + MILLISECOND - 1) / MILLISECOND;
    return wait > INT_MAX ? INT_MAX : (int)wait;
}

static void run_timers(void)
{
    /* One reading of the clock for all: a timer that sets itself again for `now` waits for the next batch. */
    uint64_t now = now_ns();
    while (heap_size && heap[0]->at <= now) {
        struct timer *timer = heap[0];
        timer_cancel(timer);
        timer->due(timer);
    }
}
