#include "base/arena.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)256 << 10)
#define CLASSES     40

/* In front of every block, so that it can be resized and used again. */
struct header {
    size_t size;         /* of the block, a power of two except for what arena_get hands out */
    struct header *next; /* while it is free */
};
_Static_assert(sizeof(struct header) == 16, "blocks are aligned to 16");

struct chunk {
    struct chunk *next;
    size_t size;
};
_Static_assert(sizeof(struct chunk) == 16, "blocks are aligned to 16");

struct arena {
    struct chunk *chunks;
    char *at, *end; /* what is left of the newest chunk */
    size_t used_bytes, limit_bytes;
    struct header *free[CLASSES]; /* released blocks of 2^n bytes */
};

static void *take(struct arena *arena, size_t size);
static unsigned class_of(size_t size);

struct arena *arena_open(size_t limit_bytes)
{
    struct chunk *chunk = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (chunk == MAP_FAILED)
        return NULL;
    chunk->next = NULL;
    chunk->size = CHUNK_BYTES;
    struct arena *arena = (struct arena *)(chunk + 1);
    arena->chunks = chunk;
    arena->at = (char *)arena + (sizeof *arena + 15) / 16 * 16;
    arena->end = (char *)chunk + CHUNK_BYTES;
    arena->limit_bytes = limit_bytes;
    return arena;
}

void arena_close(struct arena *arena)
{
    if (!arena)
        return;
    for (struct chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next; /* the arena itself is in the last of them */
        munmap(chunk, chunk->size);
    }
}

void *arena_get(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX / 4)
        return NULL;
    struct header *header = take(arena, sizeof(struct header) + (size + 15) / 16 * 16);
    if (!header)
        return NULL;
    header->size = (size + 15) / 16 * 16;
    return header + 1;
}

char *arena_copy(struct arena *arena, const char *text, size_t length)
{
    char *copy = arena_get(arena, length + 1);
    if (copy)
        memcpy(copy, text, length);
    return copy;
}

void *arena_resize(struct arena *arena, void *block, size_t size)
{
    if (block && ((struct header *)block)[-1].size >= size)
        return block;
    if (size > (size_t)1 << (CLASSES - 1))
        return NULL;
    unsigned class = class_of(size);
    struct header *header = arena->free[class];
    if (header) {
        arena->free[class] = header->next;
    } else {
        header = take(arena, sizeof *header + ((size_t)1 << class));
        if (!header)
            return NULL;
        header->size = (size_t)1 << class;
    }
    if (block) {
        memcpy(header + 1, block, ((struct header *)block)[-1].size);
        arena_release(arena, block);
    }
    return header + 1;
}

void arena_release(struct arena *arena, void *block)
{
    if (!block)
        return;
    struct header *header = (struct header *)block - 1;
    unsigned class = class_of(header->size);
    if (class >= CLASSES || (size_t)1 << class != header->size)
        return; /* came from arena_get, or is too small to be of use: goes with the arena */
    header->next = arena->free[class];
    arena->free[class] = header;
}

static unsigned class_of(size_t size)
{
    unsigned class = 4; /* 16 bytes */
    while (((size_t)1 << class) < size)
        class ++;
    return class;
}

/* Fresh memory from the newest chunk; mmap gives it zeroed, and it is never handed out twice. */
static void *take(struct arena *arena, size_t size)
{
    if (size > arena->limit_bytes - arena->used_bytes)
        return NULL;
    if (size > (size_t)(arena->end - arena->at)) {
        size_t chunk_size =
            size + sizeof(struct chunk) > CHUNK_BYTES ? size + sizeof(struct chunk) : CHUNK_BYTES;
        chunk_size = (chunk_size + 4095) / 4096 * 4096;
        struct chunk *chunk =
            mmap(NULL, chunk_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (chunk == MAP_FAILED)
            return NULL;
        chunk->next = arena->chunks;
        chunk->size = chunk_size;
        arena->chunks = chunk;
        arena->at = (char *)(chunk + 1);
        arena->end = (char *)chunk + chunk_size;
    }
    void *block = arena->at;
    arena->at += size;
    arena->used_bytes += size;
    return block;
}
