#ifndef MISBEHAVE_LOOP_H
#define MISBEHAVE_LOOP_H

#include "problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One thread, one epoll set, one heap of timers. */

/* The structure of `type` whose `member` this is. */
#define OWNER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* A descriptor that the loop may watch. The owner sets fd and ready; the rest, all zero at first, is the
 * loop's. */
struct source {
    int fd; /* -1 once retired */
    void (*ready)(struct source *source, uint32_t events);
    bool is_watched;
    uint32_t watched_events;
    void *memory;
    struct source *next_retired;
};

/* One deadline. The owner sets due; the rest, all zero at first, is the loop's. */
struct timer {
    void (*due)(struct timer *timer);
    uint64_t at; /* CLOCK_MONOTONIC, ns */
    size_t place;
};

#define MILLISECOND UINT64_C(1000000)
#define SECOND      (1000 * MILLISECOND)

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

/* `most_timers`: how many timers are ever set at once; setting one never fails. */
bool loop_open(size_t most_timers, struct problem *problem);
void loop_close(void);

/* Runs until loop_stop; calls after_batch when a batch of events has been dealt with. */
void loop_run(void (*after_batch)(void));
void loop_stop(void);

/* Watches for these events (level-triggered; errors and hang-up always) in place of the earlier ones.
 * false: the kernel has no memory for it. */
bool loop_watch(struct source *source, uint32_t events);
void loop_forget(struct source *source);

/* Closes the descriptor at once and frees `memory` after the batch: events of the same batch, and callers
 * further up the stack, may still look at it and find fd -1. */
void loop_retire(struct source *source, void *memory);

/* Sets the timer, or moves it if it is set. */
void timer_set(struct timer *timer, uint64_t at);
void timer_cancel(struct timer *timer);

#endif
