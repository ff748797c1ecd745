#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

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

TEST(a_connect_knows_its_descriptor_from_one_that_was_made_since)
{
    ck_assert(descriptors_open());
    descriptor_note_kind(5, SOCKET_TCP | SOCKET_FRESH);
    unsigned note = descriptor_note_begun(5);
    ck_assert(note & SOCKET_FRESH);
    ck_assert(descriptor_is_still(5, note));
    descriptor_note_without(5, SOCKET_FRESH);
    descriptor_note_shut(5);
    ck_assert(descriptor_is_still(5, note));
    ck_assert(descriptor_note(5) & SOCKET_SHUT);
    descriptor_note_kind(5, SOCKET_TCP | SOCKET_FRESH); /* closed, and made again */
    ck_assert(!descriptor_is_still(5, note));
    ck_assert(!(descriptor_note(5) & SOCKET_SHUT));
    unsigned next = descriptor_note_begun(5);
    ck_assert(!descriptor_is_still(5, note));
    ck_assert(descriptor_is_still(5, next));
}

TEST(only_a_socket_that_has_begun_to_connect_is_shut)
{
    ck_assert(descriptors_open());
    descriptor_note_kind(5, SOCKET_UNIX);
    descriptor_note_shut(5);
    ck_assert_uint_eq(descriptor_note(5), SOCKET_UNIX);
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

TEST(sockets_that_were_copied_before_they_were_guarded_are_found)
{
    descriptor_copied_early(4, 20); /* before the table */
    adopt(5);
    ck_assert(!descriptor_is_copied(4));
    descriptor_note_kind(4, SOCKET_TCP);
    descriptor_note_unseen(4);
    ck_assert(descriptor_is_copied(4));
    descriptor_note_kind(6, SOCKET_TCP | SOCKET_FRESH); /* not early: seen */
    ck_assert_int_eq(descriptor_next_copied(6), 7);
    ck_assert_int_eq(descriptor_next_copied(20), 20);
    ck_assert_int_eq(descriptor_next_copied(21), -1);
    descriptor_share(6, 900);
    ck_assert_int_eq(descriptor_kind(6), SOCKET_TCP);
    ck_assert_int_eq(descriptor_kind(900), SOCKET_TCP);
    ck_assert_int_eq(descriptor_next_copied(21), 900);
    descriptor_note_kind(900, SOCKET_UNKNOWN); /* closed */
    ck_assert_int_eq(descriptor_next_copied(21), -1);
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

/* Resident pages of a range that is all ours. */
static size_t resident(const void *from, size_t pages)
{
    unsigned char in_core[64];
    size_t count = 0;
    ck_assert_uint_le(pages, sizeof in_core);
    ck_assert_int_eq(mincore((void *)from, pages * 4096, in_core), 0);
    for (size_t i = 0; i < pages; i++)
        count += in_core[i] & 1;
    return count;
}

TEST(memory_of_closed_connections_is_given_back)
{
    struct descriptor *entry = NULL;
    for (int fd = 10; fd < 5010; fd++)
        entry = adopt(fd);
    entry = descriptor_of(4000);
    char *page = (char *)((uintptr_t)entry & ~(uintptr_t)4095);
    ck_assert_uint_eq(resident(page, 1), 1);
    for (int fd = 10; fd < 5010; fd++)
        descriptor_drop(fd, NULL);
    ck_assert_uint_eq(resident(page, 1), 0);
    /* Whoever held on to it reads of an entry without a guard, without a host, and in the pool. */
    ck_assert_uint_eq(entry->references, 0);
    ck_assert_ptr_eq(descriptor_guard(entry), &guard_of_nothing);
    ck_assert_ptr_null(entry->host.host);
    ck_assert_str_eq(descriptor_target(entry).text, "");
    for (int fd = 10; fd < 5010; fd++) {
        entry = adopt(fd);
        ck_assert_str_eq(entry->target.text, "a.test:80");
    }
}

TEST(a_connection_that_comes_and_goes_keeps_its_page)
{
    char *page = (char *)((uintptr_t)adopt(5) & ~(uintptr_t)4095);
    for (int i = 0; i < 1000; i++) {
        adopt(5);
        descriptor_drop(5, NULL);
        ck_assert_uint_eq(resident(page, 1), 1);
    }
}

TEST(a_target_that_does_not_fit_is_had_from_its_host)
{
    static const char name[] = "a-name-that-is-longer-than-an-entry.test:443",
                      longest[] = "a-name-that-is-so-long-that-events-have-no-room-for-it-either.test:443";
    static struct host host;
    struct host_handle handle = {&host, 1};
    ck_assert(descriptors_open());
    strcpy(host.target, name);
    struct descriptor *entry = descriptor_adopt(5, 77, guard_of(&policy), handle, name);
    ck_assert_str_eq(descriptor_target(entry).text, name);
    strcpy(host.target, "another.test:80"); /* the host's place is somebody else's by now */
    ck_assert_str_eq(descriptor_target(entry).text, "a-name-that-is-longer-t");
    strcpy(host.target, longest);
    entry = descriptor_adopt(6, 77, guard_of(&policy), handle, longest);
    ck_assert_str_eq(descriptor_target(entry).text, "a-name-that-is-so-long-that-events-have-no-r:443");
    memset(host.target, 'x', sizeof host.target); /* whatever others have written there */
    memcpy(host.target, longest, 23);
    ck_assert_uint_eq(strlen(descriptor_target(entry).text), 44);
}

static atomic_bool is_over;

/* Holds on to an entry that others close and open anew, as a thread does that is in recv meanwhile. */
static void *hold(void *entry)
{
    uint64_t sum = 0;
    while (!atomic_load(&is_over))
        sum += descriptor_guard(entry)->recv_ns;
    return (void *)(uintptr_t)sum;
}

TEST(who_holds_a_closed_entry_reads_on)
{
    pthread_t holder;
    for (int turn = 0; turn < 20; turn++) {
        for (int fd = 10; fd < 1010; fd++)
            adopt(fd);
        if (turn == 0)
            pthread_create(&holder, NULL, hold, descriptor_of(900));
        for (int fd = 10; fd < 1010; fd++)
            descriptor_drop(fd, NULL);
    }
    atomic_store(&is_over, true);
    pthread_join(holder, NULL);
}

SUITE("descriptors", a_connect_knows_its_descriptor_from_one_that_was_made_since,
      only_a_socket_that_has_begun_to_connect_is_shut, nothing_is_guarded_before_the_table_exists,
      numbers_beyond_the_table_are_not_guarded, an_adopted_descriptor_is_found_until_it_is_dropped,
      copies_share_an_entry_and_the_last_one_gives_it_back,
      sockets_that_were_copied_before_they_were_guarded_are_found, entries_are_used_again,
      the_next_guarded_number_is_found, equal_policies_share_one_guard,
      threads_take_and_give_entries_without_losing_any, memory_of_closed_connections_is_given_back,
      a_connection_that_comes_and_goes_keeps_its_page, a_target_that_does_not_fit_is_had_from_its_host,
      who_holds_a_closed_entry_reads_on)
