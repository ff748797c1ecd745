/* Under what data a descriptor is registered with an epoll. What epoll_wait returns is opaque: only who knows the
 * registrations can tell which descriptor an event is about. By number, one registration each, and elsewhere all of what is
 * with several epolls (state/more_registrations.h); the kernel is asked where none is known (/proc/self/fdinfo). */
#ifndef STATE_REGISTRATIONS_H
#define STATE_REGISTRATIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/hidden.h"

struct registration {
    int32_t epoll;   /* its number + 1; 0: none is known; REGISTERED_WITH_SEVERAL: they are kept elsewhere */
    uint32_t events; /* EPOLL... */
    uint64_t data;
};
#define REGISTERED_WITH_SEVERAL (-1)

extern struct registration *registration_table HIDDEN; /* by descriptor number */
extern unsigned registration_limit HIDDEN;             /* 0: there is none yet */
extern unsigned registration_end HIDDEN;               /* no number from here on was ever registered */

/* epoll_ctl is called. That is noted before the call: once it is made, another thread may be told of the descriptor, close it and
 * register another one under its number. */
void registration_note(int epoll, int operation, int fd, const struct epoll_event *event);

/* The call has failed, and before it that was registered; with epoll 0 nothing is known: then the kernel has to be asked. Nothing
 * is changed where something else has been noted since. */
void registration_undo(int epoll, int fd, const struct epoll_event *event, const struct registration *before);

/* The same where the call can hardly fail: what is known is taken out, asks for other events, or is put in again as it was.
 * `is_readable`: the event is. False: nothing is noted. */
static inline bool registration_note_early(int epoll, int operation, int fd, const struct epoll_event *event,
                                           bool is_readable)
{
    struct registration *known = registration_table + (unsigned)fd;
    bool is_known = (unsigned)fd < __atomic_load_n(&registration_limit, __ATOMIC_ACQUIRE);
    int32_t mine = epoll + 1, there = is_known ? __atomic_load_n(&known->epoll, __ATOMIC_RELAXED) : 0;
    if (operation == EPOLL_CTL_DEL) {
        if (there != mine)
            return there != REGISTERED_WITH_SEVERAL;
        __atomic_store_n(&known->epoll, 0, __ATOMIC_RELEASE);
        return true;
    }
    if (!is_known || !is_readable || __atomic_load_n(&known->data, __ATOMIC_RELAXED) != event->data.u64)
        return false;
    if (operation == EPOLL_CTL_MOD ? there != mine
                                   : operation != EPOLL_CTL_ADD || there || event->data.fd != fd)
        return false;
    __atomic_store_n(&known->events, event->events, __ATOMIC_RELAXED);
    if (!there)
        __atomic_store_n(&known->epoll, mine, __ATOMIC_RELEASE);
    return true;
}

/* The number has been closed: the kernel has forgotten its registrations. */
void registration_forget(int fd);

/* The registration of `fd` with that epoll. False: there is none that we know of. */
bool registration_find(int epoll, int fd, struct registration *found);

/* All that are known of `fd`, one by one; `turn` is 0 at first, and afterwards only where there is none. False: there are no
 * more. */
bool registration_known(int fd, unsigned *turn, struct registration *found);

/* Is it with several epolls, and not all of its registrations are kept? */
bool registration_is_unclear(int fd);

/* registration_find, asking the kernel where it is not known: system calls, and as slow as the epoll is large. errno is untouched. */
bool registration_look_up(int epoll, int fd, struct registration *found);

/* The kernel has said that of `fd`, of which nothing was known. Signals are blocked. */
void registration_note_asked(int fd, const struct registration *found);

/* The program waits in that epoll. registration_each: all registrations of `fd` with epolls that it has waited in of late, asking
 * the kernel as registration_look_up does where none is known; `turn` is 0 at first. False: there are no more. */
void registration_waits_in(int epoll);
bool registration_each(int fd, unsigned *turn, struct registration *found);

#endif
