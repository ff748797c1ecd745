/* What include/resil.h declares. */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "drive/transfer.h"
#include "hooks/export.h"
#include "resil.h"
#include "state/degraded.h"
#include "state/last.h"

_Static_assert(RESIL_HOST == (int)RUNG_HOST && RESIL_STALE == (int)RUNG_STALE &&
                   RESIL_RESPOND == (int)RUNG_RESPOND && RESIL_ADDRESSES == (int)RUNG_ADDRESSES &&
                   RESIL_ERROR == (int)RUNG_ERROR,
               "the numbers are told to programs");

EXPORT int resil_degraded(int fd)
{
    struct descriptor *entry = descriptor_of(fd);
    struct degraded *degraded = entry ? degraded_of(entry) : NULL;
    return degraded && transfer_is_same(entry, fd) ? (int)degraded->rung : RESIL_FULL;
}

EXPORT int resil_last(struct resil_decision *decision, size_t size)
{
    struct last last = last_decision();
    if (!last.kept)
        return -1;
    struct resil_decision full = {
        .rung = last.rung,
        .number = last.number,
        .error = last.error,
        .is_lookup = last.is_lookup,
        .age_ms = last.age_ms,
    };
    struct text text = text_begin(full.rule, sizeof full.rule);
    text_add(&text, "%s", last.kept->rule.name);
    memset(decision, 0, size);
    memcpy(decision, &full, size < sizeof full ? size : sizeof full);
    return 0;
}
