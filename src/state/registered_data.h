/* Registrations by their data: which descriptors an epoll's event may be about. One that is registered under its own number is
 * found by that, the others are remembered here. Lock-free, as whoever calls epoll_ctl may be in a signal handler. */
#ifndef STATE_REGISTERED_DATA_H
#define STATE_REGISTERED_DATA_H

#include "state/registrations.h"

#define REGISTERED_DATA_BITS   14
#define REGISTERED_DATA_EACH   8u /* where one may be, from its home on */
#define REGISTERED_DATA_PLACES ((1u << REGISTERED_DATA_BITS) + REGISTERED_DATA_EACH)
#define REGISTERED_DATA_BYTES  (REGISTERED_DATA_PLACES * (sizeof(int32_t) + 1))

/* So many bytes of zeros, for good. Until then nothing is remembered. */
void registered_data_begin(void *memory);

/* `fd`, whose registration has been noted, is with that epoll under those data, which do not tell its number. */
void registered_data_remember(int epoll, int fd, uint64_t data);

/* All descriptors that are known to be with that epoll under those data, one by one, some perhaps twice; `turn` is 0 at first.
 * -1: there are no more, or only such as could not be remembered. */
int registered_data_next(int epoll, uint64_t data, unsigned *turn, struct registration *found);

/* The only descriptor that is with that epoll under those data, and what it asks for; -1: there is none, or there are several, or
 * it is not as simple. */
int registered_data_only(int epoll, uint64_t data, uint32_t *events);

/* There are some that could not be, whatever their data. */
void registered_data_cut(void);

/* May there be such? Then registered_data_next_of_all finds them too, by looking at all numbers; `turn` is 0 at first. */
bool registered_data_is_cut(int epoll, uint64_t data);
int registered_data_next_of_all(int epoll, uint64_t data, unsigned *turn, struct registration *found);

#endif
