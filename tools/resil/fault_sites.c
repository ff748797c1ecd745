#include "fault_sites.h"

#include <string.h>

#include "printable.h"

const struct fault_slot *fault_slot_named(const struct segment *segment, const char *name)
{
    size_t length = strlen(name);
    for (uint32_t i = 0; segment && i < FAULT_SLOTS; i++) {
        const struct fault_slot *slot = &segment->faults[i];
        if (atomic_load_explicit(&slot->key, memory_order_acquire) &&
            strncmp(slot->name, name, length) == 0 &&
            (length + 1 == sizeof((struct event *)0)->fault || !slot->name[length]))
            return slot;
    }
    return NULL;
}

struct fault_site_text fault_site_of(const struct segment *segment, const struct event *event)
{
    const struct fault_slot *slot = event_site(event) ? fault_slot_named(segment, event->fault) : NULL;
    if (slot && event_site(event) <= FAULT_SITES)
        return fault_site_text(&slot->sites[event_site(event) - 1]);
    return (struct fault_site_text){""};
}

struct fault_site_text fault_site_text(const struct fault_site *site)
{
    struct fault_site_text result;
    memcpy(result.text, site->text, sizeof result.text);
    result.text[sizeof result.text - 1] = '\0';
    printable(result.text);
    return result;
}
