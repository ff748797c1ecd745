#include <pthread.h>

#include "state/descriptors.h"
#include "state/registered_data.h"
#include "suite.h"

#define EPOLL 5
#define FIRST UINT64_C(0x7f0000000000)

static void note(int operation, int fd, uint64_t data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
    registration_note(EPOLL, operation, fd, &event);
}

/* How many there are; the last one. Where they are found one by one, the only one is found at once too. */
static unsigned count_of(uint64_t data, int *fd)
{
    struct registration found;
    unsigned turn = 0, turn_of_all = 0, count = 0;
    int next;
    while ((next = registered_data_next(EPOLL, data, &turn, &found)) >= 0) {
        *fd = next;
        count++;
    }
    uint32_t events = 0;
    bool is_only = count == 1 && !registered_data_is_cut(EPOLL, data);
    ck_assert_int_eq(registered_data_only(EPOLL, data, &events), is_only ? *fd : -1);
    if (is_only)
        ck_assert_uint_eq(events, EPOLLIN);
    if (count || !registered_data_is_cut(EPOLL, data))
        return count;
    while ((next = registered_data_next_of_all(EPOLL, data, &turn_of_all, &found)) >= 0) {
        *fd = next;
        count++;
    }
    return count;
}

TEST(a_descriptor_is_found_by_its_data)
{
    ck_assert(descriptors_open());
    int fd;
    ck_assert_uint_eq(count_of(FIRST, &fd), 0);
    for (int i = 10; i < 1000; i++)
        note(EPOLL_CTL_ADD, i, FIRST + (uint64_t)i * 64);
    for (int i = 10; i < 1000; i++) {
        ck_assert_uint_eq(count_of(FIRST + (uint64_t)i * 64, &fd), 1);
        ck_assert_int_eq(fd, i);
    }
    ck_assert_uint_eq(count_of(FIRST + 1, &fd), 0);
}

TEST(its_own_number_finds_it_too)
{
    ck_assert(descriptors_open());
    int fd;
    note(EPOLL_CTL_ADD, 20, 20);
    ck_assert_uint_eq(count_of(20, &fd), 1);
    ck_assert_int_eq(fd, 20);
    note(EPOLL_CTL_ADD, 21, 20);
    ck_assert_uint_eq(count_of(20, &fd), 2);
    note(EPOLL_CTL_ADD, 22, UINT64_C(7) << 32 | 22); /* an index beside it */
    ck_assert_uint_eq(count_of(UINT64_C(7) << 32 | 22, &fd), 1);
    ck_assert_uint_eq(count_of(22, &fd), 0);
}

TEST(data_that_went_on_to_another_descriptor_leads_there)
{
    ck_assert(descriptors_open());
    int fd;
    for (int round = 0; round < 100; round++) {
        note(EPOLL_CTL_ADD, 10 + round, FIRST);
        ck_assert_uint_eq(count_of(FIRST, &fd), 1);
        ck_assert_int_eq(fd, 10 + round);
        if (round % 2)
            registration_forget(10 + round);
        else
            note(EPOLL_CTL_MOD, 10 + round, FIRST + 0x8000 + (uint64_t)round);
        ck_assert_uint_eq(count_of(FIRST, &fd), 0);
    }
}

TEST(all_of_several_under_the_same_data_are_found)
{
    ck_assert(descriptors_open());
    int fd;
    for (int i = 10; i < 10 + (int)REGISTERED_DATA_EACH; i++) {
        note(EPOLL_CTL_ADD, i, FIRST);
        ck_assert_uint_eq(count_of(FIRST, &fd), (unsigned)i - 9);
    }
    ck_assert(!registered_data_is_cut(EPOLL, FIRST));
    note(EPOLL_CTL_ADD, 90, FIRST);
    ck_assert(registered_data_is_cut(EPOLL, FIRST));
    struct registration found;
    unsigned turn = 0, count = 0;
    while (registered_data_next_of_all(EPOLL, FIRST, &turn, &found) >= 0)
        count++;
    ck_assert_uint_eq(count, REGISTERED_DATA_EACH + 1);
}

TEST(more_than_there_are_places_for_are_found_all_the_same)
{
    ck_assert(descriptors_open());
    int fd, most = (int)descriptor_limit < 40000 ? (int)descriptor_limit : 40000;
    for (int i = 10; i < most; i++)
        note(EPOLL_CTL_ADD, i, FIRST + (uint64_t)i * 64);
    for (int i = 10; i < most; i += 97) {
        ck_assert_uint_eq(count_of(FIRST + (uint64_t)i * 64, &fd), 1);
        ck_assert_int_eq(fd, i);
    }
}

TEST(one_that_is_with_several_epolls_is_not_the_only_one_at_once)
{
    ck_assert(descriptors_open());
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = FIRST};
    uint32_t events;
    note(EPOLL_CTL_ADD, 20, FIRST);
    ck_assert_int_eq(registered_data_only(EPOLL, FIRST, &events), 20);
    registration_note(EPOLL + 1, EPOLL_CTL_ADD, 20, &event);
    ck_assert_int_eq(registered_data_only(EPOLL, FIRST, &events), -1);
    ck_assert_int_eq(registered_data_only(EPOLL + 1, FIRST, &events), -1);
}

/* Numbers change their data all the time, so that threads take each other's places. */
static void *change(void *first)
{
    unsigned long number = (unsigned long)first;
    for (uint64_t round = 1; round <= 2000; round++)
        for (unsigned long fd = number; fd < number + 200; fd++)
            note(EPOLL_CTL_ADD, (int)fd, FIRST + round % 3 * 64 + fd * 4096);
    return NULL;
}

TEST(none_is_lost_among_threads)
{
    ck_assert(descriptors_open());
    pthread_t threads[4];
    int fd;
    for (unsigned long i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, change, (void *)(10 + i * 200)), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 10; i < 810; i++) {
        ck_assert_uint_eq(count_of(FIRST + 2000 % 3 * 64 + (uint64_t)i * 4096, &fd), 1);
        ck_assert_int_eq(fd, i);
    }
}

SUITE("registered_data", a_descriptor_is_found_by_its_data, its_own_number_finds_it_too,
      data_that_went_on_to_another_descriptor_leads_there, all_of_several_under_the_same_data_are_found,
      more_than_there_are_places_for_are_found_all_the_same,
      one_that_is_with_several_epolls_is_not_the_only_one_at_once, none_is_lost_among_threads)
