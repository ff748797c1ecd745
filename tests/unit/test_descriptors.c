#include <pthread.h>
#include <string.h>

#include "state/descriptors.h"
#include "suite.h"

static const struct policy policy = {.timeout.recv_ns = 5};

static struct descriptor *adopt(int fd)
{
    ck_assert(descriptors_open());
    struct descriptor *entry =
        descriptor_adopt(fd, 77, guard_of(&policy), (struct host_handle){NULL, 0}, "a.test:80");
    ck_assert_ptr_nonnull(entry);
    return entry;
}

TEST(nothing_is_guarded_before_the_table_exists)
{
    ck_assert_ptr_null(descriptor_of(5));
    descriptor_drop(5, NULL);
    descriptor_note_kind(5, SOCKET_TCP);
    ck_assert_int_eq(descriptor_kind(5), SOCKET_UNKNOWN);
    ck_assert_int_eq(descriptor_next(0, ~0u), -1);
}

TEST(numbers_beyond_the_table_are_not_guarded)
{
    adopt(3);
    ck_assert_ptr_null(descriptor_of(-1));
    ck_assert_ptr_null(descriptor_of(1 << 30));
    ck_assert_ptr_null(descriptor_adopt(1 << 30, 1, guard_of(&policy), (struct host_handle){NULL, 0}, ""));
}

TEST(an_adopted_descriptor_is_found_until_it_is_dropped)
{
    struct descriptor *entry = adopt(5), last;
    ck_assert_ptr_eq(descriptor_of(5), entry);
    ck_assert_str_eq(entry->target.text, "a.test:80");
    descriptor_drop(5, &last);
    ck_assert_ptr_null(descriptor_of(5));
    ck_assert_uint_eq(last.cookie, 77);
    descriptor_drop(5, &last);
    ck_assert_ptr_null(last.guard);
}

TEST(copies_share_an_entry_and_the_last_one_gives_it_back)
{
    struct descriptor *entry = adopt(5), last;
    descriptor_share(5, 9);
    ck_assert_ptr_eq(descriptor_of(9), entry);
    descriptor_drop(5, &last);
    ck_assert_ptr_null(last.guard);
    ck_assert_ptr_eq(descriptor_of(9), entry);
    descriptor_drop(9, &last);
    ck_assert_ptr_nonnull(last.guard);
}

TEST(entries_are_used_again)
{
    adopt(5);
    for (int i = 0; i < 100000; i++)
        adopt(6);
    struct descriptor *a = adopt(7), *b;
    descriptor_drop(7, NULL);
    b = adopt(8);
    ck_assert_ptr_eq(a, b);
}

TEST(the_next_guarded_number_is_found)
{
    adopt(5);
    adopt(900);
    ck_assert_int_eq(descriptor_next(0, ~0u), 5);
    ck_assert_int_eq(descriptor_next(6, ~0u), 900);
    ck_assert_int_eq(descriptor_next(6, 899), -1);
}

TEST(equal_policies_share_one_guard)
{
    struct policy other;
    adopt(3);
    memset(&other, 0, sizeof other);
    other.timeout.recv_ns = 5;
    ck_assert_ptr_eq(guard_of(&policy), guard_of(&other));
    other.timeout.send_ns = 1;
    ck_assert_ptr_ne(guard_of(&policy), guard_of(&other));
}

static void *churn(void *first)
{
    for (int i = 0; i < 20000; i++) {
        int fd = *(int *)first + i % 50;
        adopt(fd);
        descriptor_share(fd, fd + 1000);
        descriptor_drop(fd, NULL);
        descriptor_drop(fd + 1000, NULL);
    }
    return NULL;
}

TEST(threads_take_and_give_entries_without_losing_any)
{
    int firsts[4] = {100, 200, 300, 400};
    pthread_t threads[4];
    adopt(3);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, churn, &firsts[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    /* All but one entry are free again: as many descriptors as were ever in use get different ones. */
    struct descriptor *seen[64];
    for (int i = 0; i < 64; i++) {
        seen[i] = adopt(10 + i);
        for (int j = 0; j < i; j++)
            ck_assert_ptr_ne(seen[i], seen[j]);
    }
}

SUITE("descriptors", nothing_is_guarded_before_the_table_exists, numbers_beyond_the_table_are_not_guarded,
      an_adopted_descriptor_is_found_until_it_is_dropped,
      copies_share_an_entry_and_the_last_one_gives_it_back, entries_are_used_again,
      the_next_guarded_number_is_found, equal_policies_share_one_guard,
      threads_take_and_give_entries_without_losing_any)
