/* Which of many alike events are told one by one: a few a second, and each says how many it stands for. */
#ifndef POLICY_SAMPLE_H
#define POLICY_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

struct sample_answer {
    uint64_t word;  /* to be published by compare-and-swap */
    uint32_t count; /* how many events this one stands for, itself included; 0: leave it out */
};

/* One more event at `now_ns`, of which at most `most_per_s` (up to 255) are told in a second. The word 0 has seen none. */
struct sample_answer sample_take(uint64_t word, uint32_t most_per_s, uint64_t now_ns);

/* Is one more event left out, and does adding 1 to the word note it? The same for less, where many are left out. */
bool sample_leaves_out(uint64_t word, uint32_t most_per_s, uint64_t now_ns);

#endif
