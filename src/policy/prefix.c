#include "policy/prefix.h"

#include <string.h>

/* The state: seen 5 bits | possible 8 bits. */
#define POSSIBLE_MASK 0xffu
#define SEEN_SHIFT    8
#define SEEN_MASK     0x1fu

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

struct prefix_answer prefix_judge(const struct failure_prefixes *prefixes, uint16_t state, const void *bytes,
                                  size_t size)
{
    size_t seen = state >> SEEN_SHIFT & SEEN_MASK;
    unsigned possible = seen ? state & POSSIBLE_MASK : POSSIBLE_MASK;
    unsigned left = 0;
    for (unsigned i = 0; i < prefixes->count && i < FAILURE_PREFIXES_MAX; i++) {
        size_t length = min(prefixes->items[i].length, FAILURE_PREFIX_BYTES_MAX);
        if (!(possible & 1u << i) || length <= seen)
            continue;
        size_t compared = min(length - seen, size);
        if (compared && memcmp(prefixes->items[i].bytes + seen, bytes, compared) != 0)
            continue;
        if (seen + compared == length)
            return (struct prefix_answer){.verdict = PREFIX_MATCH};
        left |= 1u << i;
    }
    if (!left)
        return (struct prefix_answer){.verdict = PREFIX_NO};
    /* What is left is longer than all that was seen, so the sum has room. */
    return (struct prefix_answer){
        .verdict = PREFIX_NEED_MORE,
        .state = (uint16_t)((seen + size) << SEEN_SHIFT | left),
    };
}
