#include "fault_switch.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "state/recorder.h"

bool fault_switch(struct segment *segment, const char *name, uint64_t identity, enum fault_steering steering,
                  uint64_t for_ns)
{
    struct fault_slot *slot = fault_slot_find(segment, name, identity);
    if (!slot)
        return false;
    atomic_store_explicit(&slot->steering,
                          fault_steering_word(steering, for_ns ? clock_now_ns() + for_ns : 0),
                          memory_order_release);
    atomic_fetch_add_explicit(&segment->faults_steered, 1, memory_order_release);
    struct event event = {.kind = EVENT_FAULT_STEERED, .count = (uint32_t)steering, .delay_ns = for_ns};
    memcpy(event.fault, name, strnlen(name, sizeof event.fault - 1));
    segment_current = segment;
    recorder_note(&event);
    return true;
}

static enum fault_steering steering_of(const struct fault_slot *slot, uint64_t now_ns, uint64_t *until_ns)
{
    uint64_t word = slot ? atomic_load_explicit(&slot->steering, memory_order_relaxed) : 0;
    return fault_steering_of(word, now_ns, until_ns);
}

enum fault_steering fault_steering_now(const struct fault_slot *slot)
{
    return steering_of(slot, clock_now_ns(), NULL);
}

struct fault_switched_text fault_switched_text(const struct fault_slot *slot)
{
    static const char *const words[] = {"as armed", "on", "off"};
    struct fault_switched_text result;
    uint64_t until_ns = 0, now = clock_now_ns();
    enum fault_steering steering = steering_of(slot, now, &until_ns);
    if (steering != FAULT_AS_ARMED && until_ns)
        snprintf(result.text, sizeof result.text, "%s for another %s", words[steering],
                 duration_text(until_ns - now).text);
    else
        snprintf(result.text, sizeof result.text, "%s", words[steering]);
    return result;
}
