#include "fault_table.h"

#include <string.h>

#include "fault_sites.h"
#include "table.h"

struct fault_counts fault_counts_of(const struct segment *segment)
{
    struct fault_counts counts = {0};
    for (uint32_t i = 0; segment && i < FAULT_SLOTS; i++) {
        counts.fired[i] = atomic_load_explicit(&segment->faults[i].fired, memory_order_relaxed);
        for (uint32_t n = 0; n < FAULT_SITES; n++)
            counts.sites[i][n] =
                atomic_load_explicit(&segment->faults[i].sites[n].fired, memory_order_relaxed);
    }
    return counts;
}

struct fault_account fault_account_of(const struct segment *segment, const struct named_fault *fault,
                                      const struct fault_counts *before)
{
    struct fault_account account = {0};
    for (uint32_t i = 0; segment && i < FAULT_SLOTS; i++) {
        const struct fault_slot *slot = &segment->faults[i];
        if (atomic_load_explicit(&slot->key, memory_order_acquire) != (fault->identity | 1))
            continue;
        account.slot = slot;
        account.fired = atomic_load_explicit(&slot->fired, memory_order_relaxed) - before->fired[i];
        account.has_more = atomic_load_explicit(&slot->more_sites, memory_order_relaxed);
        for (uint32_t n = 0; n < FAULT_SITES; n++)
            account.sites +=
                atomic_load_explicit(&slot->sites[n].fired, memory_order_relaxed) != before->sites[i][n];
        break;
    }
    return account;
}

struct sites_text sites_text(const struct fault_account *account)
{
    struct sites_text result = {"-"};
    if (account->fired && account->sites)
        snprintf(result.text, sizeof result.text, "%u%s", account->sites, account->has_more ? "+" : "");
    return result;
}

void fault_table_print(const struct ruleset *rules, const struct segment *segment,
                       const struct fault_counts *before, FILE *to)
{
    struct table table = table_begin("lrrl");
    table_row(&table, "FAULT", "FIRED", "PLACES", "WHAT");
    uint32_t count = fault_names(rules);
    for (uint32_t i = 0; i < count; i++) {
        const struct named_fault fault = fault_name(rules, i);
        struct fault_account account = fault_account_of(segment, &fault, before);
        char fired[24];
        snprintf(fired, sizeof fired, "%lu", (unsigned long)account.fired);
        table_row(&table, fault.name, account.fired ? fired : "never", sites_text(&account).text,
                  fault_name_text(&fault).text);
    }
    table_end(&table, to);
}
