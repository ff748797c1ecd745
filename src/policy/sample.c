#include "policy/sample.h"

/* The word, from the top: second 32 bits | told in it 8 | left out since the last one that was told 24. */
#define LEFT_OUT_BITS 24
#define LEFT_OUT_MAX  ((1u << LEFT_OUT_BITS) - 1)
#define LEFT_OUT_SURE (LEFT_OUT_MAX / 2) /* up to here many may add 1 at the same time */
#define TOLD_BITS     8
#define TOLD_MAX      ((1u << TOLD_BITS) - 1)

#define NS_PER_S UINT64_C(1000000000)

/* Whoever read the clock a moment ago does not begin a second that is over. */
#define SKEW_S 60u

static uint64_t pack(uint32_t second, uint32_t told, uint32_t left_out)
{
    return (uint64_t)second << (LEFT_OUT_BITS + TOLD_BITS) | told << LEFT_OUT_BITS | left_out;
}

struct sample_answer sample_take(uint64_t word, uint32_t most_per_s, uint64_t now_ns)
{
    uint32_t now = (uint32_t)(now_ns / NS_PER_S);
    uint32_t second = (uint32_t)(word >> (LEFT_OUT_BITS + TOLD_BITS));
    uint32_t told = word >> LEFT_OUT_BITS & TOLD_MAX;
    uint32_t left_out = word & LEFT_OUT_MAX;
    if (second - now > SKEW_S) {
        second = now;
        told = 0;
    }
    if (told < most_per_s && told < TOLD_MAX)
        return (struct sample_answer){.word = pack(second, told + 1, 0), .count = left_out + 1};
    return (struct sample_answer){.word = pack(second, told, left_out + (left_out < LEFT_OUT_MAX))};
}

bool sample_leaves_out(uint64_t word, uint32_t most_per_s, uint64_t now_ns)
{
    return word >> (LEFT_OUT_BITS + TOLD_BITS) == now_ns / NS_PER_S &&
           (word >> LEFT_OUT_BITS & TOLD_MAX) >= most_per_s && (word & LEFT_OUT_MAX) < LEFT_OUT_SURE;
}
