/* Faults switched on and off by hand, while programs run. */
#ifndef RESIL_FAULT_SWITCH_H
#define RESIL_FAULT_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "state/faults.h"

/* Does it, for `for_ns` or until it is said otherwise (0), and leaves word of it in the flight recorder. `identity` as in
 * struct named_fault. False: the segment has no room for another fault. */
bool fault_switch(struct segment *segment, const char *name, uint64_t identity, enum fault_steering steering,
                  uint64_t for_ns);

/* What has been said of it, and still holds. A slot of NULL: nobody has said anything. */
enum fault_steering fault_steering_now(const struct fault_slot *slot);

/* "as armed", "on", "off for another 52s": the same in words. */
struct fault_switched_text {
    char text[64];
};
struct fault_switched_text fault_switched_text(const struct fault_slot *slot);

#endif
