#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "suite.h"

static bool is_zeroed(const char *block, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (block[i])
            return false;
    return true;
}

TEST(memory_is_zeroed_and_aligned)
{
    struct arena *arena = arena_open(1 << 20);
    for (size_t size = 0; size < 500; size++) {
        char *block = arena_get(arena, size);
        ck_assert_ptr_nonnull(block);
        ck_assert_uint_eq((uintptr_t)block % 16, 0);
        ck_assert(is_zeroed(block, size));
        memset(block, 0xff, size);
    }
    arena_close(arena);
}
END_TEST

TEST(a_block_may_be_larger_than_a_chunk)
{
    struct arena *arena = arena_open(8 << 20);
    char *large = arena_get(arena, 3 << 20), *small = arena_get(arena, 10);
    ck_assert_ptr_nonnull(large);
    ck_assert_ptr_nonnull(small);
    memset(large, 1, 3 << 20);
    ck_assert(is_zeroed(small, 10));
    arena_close(arena);
}
END_TEST

TEST(the_limit_holds)
{
    struct arena *arena = arena_open(1 << 20);
    size_t got = 0;
    while (arena_get(arena, 1000))
        got += 1000;
    ck_assert_uint_le(got, 1 << 20);
    ck_assert_uint_ge(got, 1000000);
    ck_assert_ptr_null(arena_resize(arena, NULL, 5000));
    arena_close(arena);
}
END_TEST

TEST(absurd_sizes_are_refused)
{
    struct arena *arena = arena_open(SIZE_MAX);
    static const size_t sizes[] = {SIZE_MAX,     SIZE_MAX - 15,   SIZE_MAX / 2,
                                   SIZE_MAX / 4, (size_t)1 << 60, (size_t)1 << 50};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ck_assert_ptr_null(arena_get(arena, sizes[i]));
        ck_assert_ptr_null(arena_resize(arena, NULL, sizes[i]));
    }
    ck_assert_ptr_nonnull(arena_get(arena, 10));
    arena_close(arena);
}
END_TEST

TEST(resizing_keeps_the_contents)
{
    struct arena *arena = arena_open(16 << 20);
    char *block = arena_resize(arena, NULL, 1);
    block[0] = 'a';
    for (size_t size = 2; size <= 1 << 20; size *= 2) {
        block = arena_resize(arena, block, size);
        ck_assert_ptr_nonnull(block);
        block[size - 1] = 'z';
        ck_assert_int_eq(block[0], 'a');
        ck_assert(size < 4 || block[size / 2 - 1] == 'z');
    }
    /* A block from arena_get can grow too. */
    char *copy = arena_copy(arena, "forty bytes or so, which is no power of two", 43);
    copy = arena_resize(arena, copy, 400);
    ck_assert_str_eq(copy, "forty bytes or so, which is no power of two");
    arena_close(arena);
}
END_TEST

TEST(released_blocks_are_used_again)
{
    struct arena *arena = arena_open(1 << 20);
    for (unsigned round = 0; round < 100000; round++) {
        void *a = arena_resize(arena, NULL, 100), *b = arena_resize(arena, NULL, 3000);
        ck_assert_ptr_nonnull(a);
        ck_assert_ptr_nonnull(b);
        memset(a, 0xee, 100);
        memset(b, 0xdd, 3000);
        arena_release(arena, a);
        arena_release(arena, b);
    }
    arena_release(arena, NULL);
    arena_close(arena);
}
END_TEST

TEST(fresh_memory_is_never_a_released_block)
{
    struct arena *arena = arena_open(1 << 20);
    char *block = arena_resize(arena, NULL, 64);
    memset(block, 0xff, 64);
    arena_release(arena, block);
    char *fresh = arena_get(arena, 64);
    ck_assert_ptr_ne(fresh, block);
    ck_assert(is_zeroed(fresh, 64));
    arena_close(arena);
    arena_close(NULL);
}
END_TEST

SUITE("arena", memory_is_zeroed_and_aligned, a_block_may_be_larger_than_a_chunk, the_limit_holds,
      absurd_sizes_are_refused, resizing_keeps_the_contents, released_blocks_are_used_again,
      fresh_memory_is_never_a_released_block)
