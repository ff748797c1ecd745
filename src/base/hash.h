/* A small, good enough hash for tables: eight bytes at a time, multiplied and mixed. Not against attackers. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t hash_mix(uint64_t value)
{
    value = (value ^ value >> 33) * 0xff51afd7ed558ccdull;
    value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53ull;
    return value ^ value >> 33;
}

static inline uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed)
{
    uint64_t hash = 0xcbf29ce484222325ull ^ seed ^ size, word;
    const unsigned char *at = bytes;
    for (; size >= 8; at += 8, size -= 8) {
        __builtin_memcpy(&word, at, 8);
        hash = (hash ^ word) * 0x9fb21c651e98df25ull;
        hash ^= hash >> 32;
    }
    for (word = 0; size; size--)
        word = word << 8 | at[size - 1];
    return hash_mix((hash ^ word) * 0x9fb21c651e98df25ull);
}

#endif
