/* The last good answers of lookups, shared by all processes: what `stale` serves, and where fallback hosts are.
 *
 * Nothing of it is trusted: what is read is copied and has to agree with its checksum, so that whatever a writer left
 * behind when it was killed, or damage, reads as "not known". Lock-free and async-signal-safe. Times are
 * CLOCK_BOOTTIME: answers age while the machine sleeps, and no clock that is set makes them younger. */
#ifndef STATE_KEPT_NAMES_H
#define STATE_KEPT_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/ladder.h"
#include "rules/address.h"

#define KEPT_ADDRESSES_MAX 8u

/* What was asked for: the answer to a question about one family says nothing of the other one. */
enum kept_family { KEPT_ANY, KEPT_V4, KEPT_V6, KEPT_FAMILIES };

uint64_t kept_names_now_ns(void);

/* A lookup of `name`, in its normal form, has succeeded. Names longer than KEPT_NAME_BYTES are not kept. */
void kept_names_answered(const char *name, enum kept_family family, const struct address *addresses,
                         unsigned count);

/* A real lookup has failed, or was late. Remembered where there is an answer; or else too, if that is wanted. */
void kept_names_failed(const char *name, bool is_wanted);

/* What is known of it: the newest answer to this question, or to a wider one that has it too. `addresses`, of
 * KEPT_ADDRESSES_MAX, gets them. Gives their number. */
unsigned kept_names_find(const char *name, enum kept_family family, struct stale_state *state,
                         struct address *addresses);

/* The same, however old: at most so many addresses. */
unsigned kept_names_addresses(const char *name, struct address *addresses, unsigned most);

#endif
