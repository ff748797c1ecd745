#include "fault_table.h"

#include <string.h>

#include "base/text.h"
#include "fault_sites.h"
#include "table.h"

struct fault_counts fault_counts_of(const struct segment *segment)
{
    struct fault_counts counts = {0};
    for (uint32_t i = 0; segment && i < FAULT_SLOTS; i++) {
        counts.fired[i] = atomic_load_explicit(&segment->faults[i].fired, memory_order_relaxed);
        counts.would_fire[i] = atomic_load_explicit(&segment->faults[i].would_fire, memory_order_relaxed);
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
        account.would_fire =
            atomic_load_explicit(&slot->would_fire, memory_order_relaxed) - before->would_fire[i];
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
    if (account->fired + account->would_fire && account->sites)
        snprintf(result.text, sizeof result.text, "%u%s", account->sites, account->has_more ? "+" : "");
    return result;
}

struct fired_text fired_text(const struct fault_account *account, const char *none)
{
    struct fired_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    if (account->fired)
        text_add(&text, "%lu", (unsigned long)account->fired);
    else if (!account->would_fire)
        text_add(&text, "%s", none);
    if (account->would_fire)
        text_add(&text, "%swould %lu", account->fired ? ", " : "", (unsigned long)account->would_fire);
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
        table_row(&table, fault.name, fired_text(&account, "never").text, sites_text(&account).text,
                  fault_name_text(&fault).text);
    }
    table_end(&table, to);
}
