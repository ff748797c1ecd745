/* Requests and answers on a connection, as far as a breaker cares: something was sent, and the first byte came back,
 * or did not, or began like a failure. Kept only under a `response` timeout. errno is untouched, unless said. */
#ifndef DRIVE_EXCHANGE_H
#define DRIVE_EXCHANGE_H

#include "base/clock.h"
#include "drive/transfer.h"

/* A request is about to be sent: an answer is awaited from now on, so that not even the fastest one is missed. False
 * when one was awaited already. `now_ns` 0: it is not known. exchange_undo: nothing was sent after all. */
bool exchange_begin(struct descriptor *entry, uint64_t now_ns);
void exchange_undo(struct descriptor *entry);

/* The times of descriptor.sent_us. Differences hold for 71 minutes; 0 says that it is not known. */
static inline uint32_t exchange_us(uint64_t ns)
{
    uint32_t us = (uint32_t)(ns / NS_PER_US);
    return us || !ns ? us : 1;
}

/* May a request be sent? NOT_ADMITTED, with errno: the circuit is open, and it is the rule's wish that this fails too.
 * Half-open it may become the probe. NOT_ITS_OWN: the number has become another's, whom that does not concern, and the entry
 * is let go of. `now_ns` is asked for what has not begun. */
enum admitted { ADMITTED, NOT_ADMITTED, NOT_ITS_OWN };
enum admitted exchange_ask(struct descriptor *entry, int fd, uint64_t now_ns);
static inline enum admitted exchange_admit(struct descriptor *entry, int fd, uint64_t now_ns)
{
    bool is_asked = descriptor_guard(entry)->rejects_exchanges;
    return __builtin_expect(is_asked, 0) ? exchange_ask(entry, fd, now_ns) : ADMITTED;
}

/* The call has received `result` bytes, or messages. */
void exchange_answered(struct descriptor *entry, const struct transfer *transfer, ssize_t result);

/* What has come was held back, for it may have been something else than the answer (policy/opening.h): nothing more has. */
void exchange_settle(struct descriptor *entry);

/* Is its circuit closed, and has nothing failed? */
bool exchange_is_unharmed(const struct descriptor *entry);

/* A call ended with `error`; 0: the peer has closed. Counts where an answer was due. */
void exchange_broken(struct descriptor *entry, int fd, int error);

/* What becomes of the connection will not be seen: counts it as good. */
void exchange_trusted(struct descriptor *entry);

/* The descriptor goes away with this entry: gives back what it held. */
void exchange_abandoned(struct descriptor *entry);

/* The program itself is about to end what it would receive: that no answer comes then says nothing of the host. */
void exchange_given_up(struct descriptor *entry, int fd);

#endif
