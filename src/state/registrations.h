/* Under what data a descriptor is registered with an epoll. What epoll_wait returns is opaque: only who knows the
 * registrations can tell which descriptor an event is about. By number, one registration each; the kernel is asked where
 * that is not enough (/proc/self/fdinfo). */
#ifndef STATE_REGISTRATIONS_H
#define STATE_REGISTRATIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct registration {
    int32_t epoll;   /* its number + 1; 0: none is known; -1: several epolls */
    uint32_t events; /* EPOLL... */
    uint64_t data;
};

/* epoll_ctl has succeeded. */
void registration_note(int epoll, int operation, int fd, const struct epoll_event *event);

/* The number has been closed: the kernel has forgotten its registrations. */
void registration_forget(int fd);

/* The registration of `fd` with that epoll. False: there is none that we know of. */
bool registration_find(int epoll, int fd, struct registration *found);

/* The descriptor that is registered with that epoll under that data, where it is certain that there is no other;
 * REGISTRATION_UNCLEAR: it has to be looked for. */
#define REGISTRATION_UNCLEAR (-1)
int registration_by_data(int epoll, uint64_t data, struct registration *found);

/* The registration of `fd`, where it has one only. */
bool registration_only(int fd, struct registration *found);

/* Is it with several epolls, so that only the kernel knows them all? */
bool registration_is_several(int fd);

/* registration_find, asking the kernel where it is not known: system calls, and as slow as the epoll is large. errno is untouched. */
bool registration_look_up(int epoll, int fd, struct registration *found);

/* The program waits in that epoll. registration_each: all registrations of `fd` with epolls that it has waited in of late, asking
 * the kernel as registration_look_up does where none is known; `turn` is 0 at first. False: there are no more. */
void registration_waits_in(int epoll);
bool registration_each(int fd, unsigned *turn, struct registration *found);

#endif
