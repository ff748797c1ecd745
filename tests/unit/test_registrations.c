#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "state/descriptors.h"
#include "state/registered_data.h"
#include "state/registrations.h"
#include "suite.h"

static int epoll;

static void begin(void)
{
    ck_assert(descriptors_open());
    epoll = epoll_create1(EPOLL_CLOEXEC);
    ck_assert_int_ge(epoll, 0);
}

static void note(int where, int operation, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    registration_note(where, operation, fd, operation == EPOLL_CTL_DEL ? NULL : &event);
}

/* Behind the table's back. */
static void tell_kernel(int where, int operation, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    ck_assert_int_eq(epoll_ctl(where, operation, fd, &event), 0);
}

static int pipe_end(void)
{
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    close(ends[1]);
    return ends[0];
}

static void expect(bool is_found, const struct registration *found, int where, uint32_t events, uint64_t data)
{
    ck_assert(is_found);
    ck_assert_int_eq(found->epoll, where + 1);
    ck_assert_uint_eq(found->events & ~(uint32_t)(EPOLLERR | EPOLLHUP), events); /* the kernel adds them */
    ck_assert_uint_eq(found->data, data);
}

/* Where it has one only. */
static bool only(int fd, struct registration *found)
{
    struct registration another;
    unsigned turn = 0;
    return registration_known(fd, &turn, found) && !registration_known(fd, &turn, &another);
}

/* The first one. */
static int by_data(int where, uint64_t data, struct registration *found)
{
    unsigned turn = 0;
    return registered_data_next(where, data, &turn, found);
}

TEST(nothing_is_known_before_the_table_exists)
{
    struct registration found;
    note(3, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    registration_forget(5);
    ck_assert(!registration_find(3, 5, &found));
    ck_assert(!only(5, &found));
    ck_assert(!registration_is_unclear(5));
}

TEST(a_registration_is_added_modified_and_deleted)
{
    struct registration found;
    begin();
    ck_assert(!registration_find(3, 5, &found));
    note(3, EPOLL_CTL_ADD, 5, EPOLLIN | EPOLLET, ~UINT64_C(0));
    expect(registration_find(3, 5, &found), &found, 3, EPOLLIN | EPOLLET, ~UINT64_C(0));
    expect(only(5, &found), &found, 3, EPOLLIN | EPOLLET, ~UINT64_C(0));
    ck_assert(!registration_find(4, 5, &found));
    ck_assert(!registration_find(3, 6, &found));
    note(3, EPOLL_CTL_MOD, 5, EPOLLOUT | EPOLLONESHOT, 0);
    expect(registration_find(3, 5, &found), &found, 3, EPOLLOUT | EPOLLONESHOT, 0);
    note(3, EPOLL_CTL_DEL, 5, 0, 0);
    ck_assert(!registration_find(3, 5, &found));
    note(0, EPOLL_CTL_ADD, 0, EPOLLIN, 7);
    expect(only(0, &found), &found, 0, EPOLLIN, 7);
}

TEST(a_closed_number_has_no_registrations)
{
    struct registration found;
    begin();
    note(3, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    note(3, EPOLL_CTL_ADD, 6, EPOLLIN, 6);
    note(4, EPOLL_CTL_ADD, 6, EPOLLIN, 6);
    registration_forget(5);
    registration_forget(6);
    ck_assert(!only(5, &found));
    ck_assert(!registration_is_unclear(6));
    note(4, EPOLL_CTL_ADD, 6, EPOLLOUT, 66);
    expect(only(6, &found), &found, 4, EPOLLOUT, 66);
}

TEST(what_another_epoll_deletes_stays)
{
    struct registration found;
    begin();
    note(3, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    note(4, EPOLL_CTL_DEL, 5, 0, 0);
    expect(only(5, &found), &found, 3, EPOLLIN, 5);
}

TEST(of_several_epolls_each_is_known)
{
    struct registration found;
    begin();
    for (int where = 20; where < 24; where++)
        note(where, EPOLL_CTL_ADD, 5, EPOLLIN | EPOLLET, (uint64_t)where << 40);
    note(21, EPOLL_CTL_MOD, 5, EPOLLOUT, 0xabc);
    note(22, EPOLL_CTL_DEL, 5, 0, 0);
    ck_assert(!registration_is_unclear(5));
    expect(registration_find(20, 5, &found), &found, 20, EPOLLIN | EPOLLET, UINT64_C(20) << 40);
    expect(registration_find(21, 5, &found), &found, 21, EPOLLOUT, 0xabc);
    ck_assert(!registration_find(22, 5, &found));
    expect(registration_find(23, 5, &found), &found, 23, EPOLLIN | EPOLLET, UINT64_C(23) << 40);
    unsigned turn = 0, count = 0, seen = 0;
    for (; registration_known(5, &turn, &found); count++)
        seen |= 1u << (found.epoll - 1 - 20);
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(seen, 1 + 2 + 8);
    note(23, EPOLL_CTL_DEL, 5, 0, 0);
    note(20, EPOLL_CTL_DEL, 5, 0, 0);
    expect(only(5, &found), &found, 21, EPOLLOUT, 0xabc);
    note(21, EPOLL_CTL_DEL, 5, 0, 0);
    turn = 0;
    ck_assert(!registration_known(5, &turn, &found));
    note(22, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    expect(only(5, &found), &found, 22, EPOLLIN, 5);
}

TEST(what_is_noted_early_of_several_epolls_is_noted_later)
{
    struct registration found;
    struct epoll_event event = {.events = EPOLLOUT, .data.fd = 5};
    begin();
    note(20, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    note(21, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    ck_assert(!registration_note_early(20, EPOLL_CTL_MOD, 5, &event, true));
    ck_assert(!registration_note_early(22, EPOLL_CTL_ADD, 5, &event, true));
    ck_assert(!registration_note_early(20, EPOLL_CTL_DEL, 5, NULL, true));
    expect(registration_find(20, 5, &found), &found, 20, EPOLLIN, 5);
}

TEST(of_several_epolls_each_is_found_by_its_data)
{
    struct registration found;
    begin();
    for (int fd = 10; fd < 500; fd++)
        for (int where = 3; where < 5; where++)
            note(where, EPOLL_CTL_ADD, fd, EPOLLIN, 0x7f0000000000 + (uint64_t)(fd * where) * 64);
    for (int fd = 10; fd < 500; fd++)
        for (int where = 3; where < 5; where++) {
            ck_assert_int_eq(by_data(where, 0x7f0000000000 + (uint64_t)(fd * where) * 64, &found), fd);
            ck_assert_int_eq(found.epoll, where + 1);
        }
    registration_forget(10);
    ck_assert_int_eq(by_data(3, 0x7f0000000000 + 10 * 3 * 64, &found), -1);
    ck_assert(!registration_find(4, 10, &found));
}

/* Neighbours take each other's places, down to the last one. */
TEST(what_cannot_be_kept_of_several_epolls_the_kernel_is_asked_about)
{
    enum { MANY = 40 };
    struct registration found;
    int others[MANY], fd = pipe_end();
    begin();
    for (int i = 0; i < MANY; i++) {
        others[i] = epoll_create1(EPOLL_CLOEXEC);
        tell_kernel(others[i], EPOLL_CTL_ADD, fd, EPOLLIN, 0x1000u + (unsigned)i);
        note(others[i], EPOLL_CTL_ADD, fd, EPOLLIN, 0x1000u + (unsigned)i);
    }
    ck_assert(registration_is_unclear(fd));
    ck_assert(registered_data_is_cut(others[0], 0x1000));
    for (int i = 0; i < MANY; i++)
        expect(registration_look_up(others[i], fd, &found), &found, others[i], EPOLLIN,
               0x1000u + (unsigned)i);
    registration_forget(fd);
    ck_assert(!registration_is_unclear(fd));
    note(others[0], EPOLL_CTL_ADD, fd, EPOLLIN, 7);
    expect(only(fd, &found), &found, others[0], EPOLLIN, 7);
}

struct noting {
    int fd, epoll;
};

static void *note_over_and_over(void *argument)
{
    const struct noting *mine = argument;
    for (int i = 0; i < 20000; i++) {
        note(mine->epoll, EPOLL_CTL_ADD, mine->fd, EPOLLIN, 5);
        note(mine->epoll, EPOLL_CTL_MOD, mine->fd, EPOLLIN, (uint64_t)mine->epoll << 32);
        if (i % 2 == 0)
            note(mine->epoll, EPOLL_CTL_DEL, mine->fd, 0, 0);
    }
    return NULL;
}

TEST(threads_keep_what_they_note_in_epolls_of_their_own)
{
    struct noting threads[3];
    pthread_t ids[3];
    struct registration found;
    begin();
    note(20, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    note(21, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    for (int i = 0; i < 3; i++) {
        threads[i] = (struct noting){.fd = 5, .epoll = 21 + i};
        ck_assert_int_eq(pthread_create(&ids[i], NULL, note_over_and_over, &threads[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(ids[i], NULL);
    unsigned turn = 0, count = 0;
    while (registration_known(5, &turn, &found))
        count++;
    ck_assert_uint_eq(count, 4);
    for (int i = 0; i < 3; i++)
        expect(registration_find(21 + i, 5, &found), &found, 21 + i, EPOLLIN, (uint64_t)(21 + i) << 32);
}

/* Names of fields among the digits, numbers whose digits begin another one's, and lines enough that each of them is cut by
 * the end of what is read at once. */
TEST(the_kernel_is_asked_about_what_was_not_seen)
{
    static const uint64_t odd[] = {0,
                                   1,
                                   10,
                                   ~UINT64_C(0),
                                   UINT64_C(1) << 63,
                                   UINT64_C(0xdadadadadadadada),
                                   UINT64_C(0x00000000deadbeef),
                                   UINT64_C(0xffffffff00000000),
                                   UINT64_C(0x7fff12345678abc0)};
    enum { ODD = sizeof odd / sizeof *odd, MANY = 300 };
    struct registration found;
    begin();
    int fds[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        fds[i] = pipe_end();
        tell_kernel(epoll, EPOLL_CTL_ADD, fds[i], i % 2 ? EPOLLIN : EPOLLOUT | EPOLLET,
                    odd[i % ODD] ^ i / ODD);
    }
    errno = EXDEV;
    for (unsigned i = 0; i < MANY; i++) {
        ck_assert(!registration_find(epoll, fds[i], &found));
        uint64_t data = odd[i % ODD] ^ i / ODD;
        uint32_t events = i % 2 ? EPOLLIN : EPOLLOUT | EPOLLET;
        expect(registration_look_up(epoll, fds[i], &found), &found, epoll, events, data);
        expect(registration_find(epoll, fds[i], &found), &found, epoll, events, data);
    }
    ck_assert(!registration_look_up(epoll, 1, &found));
    ck_assert(!registration_look_up(epoll, fds[MANY - 1] + 1, &found));
    ck_assert(!registration_look_up(fds[0], fds[1], &found)); /* no epoll */
    ck_assert(!registration_look_up(1 << 29, fds[1], &found));
    ck_assert_int_eq(errno, EXDEV);
}

/* One that was closed while a copy of it lives on is still registered under its number. */
TEST(of_two_files_under_one_number_the_present_one_is_meant)
{
    struct registration found;
    begin();
    int copies[20];
    for (unsigned i = 0; i < 20; i++) {
        int fd = pipe_end();
        tell_kernel(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, 100 + i);
        copies[i] = dup(fd);
        close(fd);
        int again = pipe_end();
        ck_assert_int_eq(again, fd);
        tell_kernel(epoll, EPOLL_CTL_ADD, fd, EPOLLOUT, 200 + i);
        registration_forget(fd);
        expect(registration_look_up(epoll, fd, &found), &found, epoll, EPOLLOUT, 200 + i);
        close(fd);
        ck_assert_int_eq(dup2(copies[i], fd), fd); /* the number is not free for the next one */
    }
}

TEST(numbers_beyond_the_table_are_the_kernels)
{
    struct registration found;
    begin();
    note(3, EPOLL_CTL_ADD, -1, EPOLLIN, 0);
    note(3, EPOLL_CTL_ADD, 1 << 30, EPOLLIN, 0);
    ck_assert(!registration_find(3, -1, &found));
    ck_assert(!registration_find(3, 1 << 30, &found));
    ck_assert(!only(-1, &found));
    ck_assert(!registration_is_unclear(1 << 30));
    registration_forget(-1);
}

TEST(a_call_that_fails_leaves_what_there_was)
{
    begin();
    struct registration found, before = {.epoll = 0};
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 77};
    note(epoll, EPOLL_CTL_ADD, 20, EPOLLIN, 66);
    ck_assert(registration_find(epoll, 20, &before));
    registration_note(epoll, EPOLL_CTL_ADD, 20, &event);
    registration_undo(epoll, 20, &event, &before);
    expect(registration_find(epoll, 20, &found), &found, epoll, EPOLLIN, 66);
}

TEST(a_call_that_fails_is_not_known_where_nothing_was)
{
    begin();
    struct registration found, before = {.epoll = 0};
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 77};
    registration_note(epoll, EPOLL_CTL_MOD, 20, &event);
    registration_undo(epoll, 20, &event, &before);
    ck_assert(!registration_find(epoll, 20, &found));
}

TEST(a_call_that_fails_changes_nothing_that_was_noted_since)
{
    begin();
    struct registration found, before = {.epoll = 0};
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 77};
    registration_note(epoll, EPOLL_CTL_ADD, 20, &event);
    note(epoll, EPOLL_CTL_MOD, 20, EPOLLIN, 88);
    registration_undo(epoll, 20, &event, &before);
    expect(registration_find(epoll, 20, &found), &found, epoll, EPOLLIN, 88);
}

TEST(what_the_kernel_has_said_does_not_replace_what_is_known)
{
    begin();
    struct registration found, asked = {.epoll = epoll + 1, .events = EPOLLIN, .data = 66};
    note(epoll, EPOLL_CTL_ADD, 20, EPOLLOUT, 77);
    registration_note_asked(20, &asked);
    expect(registration_find(epoll, 20, &found), &found, epoll, EPOLLOUT, 77);
    registration_note_asked(21, &asked);
    expect(registration_find(epoll, 21, &found), &found, epoll, EPOLLIN, 66);
}

TEST(what_was_registered_before_there_was_a_table_is_learned_by_the_wait)
{
    struct registration found;
    int end = pipe_end(), early = epoll_create1(EPOLL_CLOEXEC);
    tell_kernel(early, EPOLL_CTL_ADD, end, EPOLLIN, 99);
    note(early, EPOLL_CTL_ADD, end, EPOLLIN, 99);
    begin();
    registration_waits_in(epoll);
    ck_assert(!registration_find(early, end, &found));
    registration_waits_in(early);
    expect(registration_find(early, end, &found), &found, early, EPOLLIN, 99);
}

SUITE("registrations", a_call_that_fails_leaves_what_there_was,
      a_call_that_fails_is_not_known_where_nothing_was,
      a_call_that_fails_changes_nothing_that_was_noted_since,
      what_the_kernel_has_said_does_not_replace_what_is_known,
      what_was_registered_before_there_was_a_table_is_learned_by_the_wait,
      nothing_is_known_before_the_table_exists, a_registration_is_added_modified_and_deleted,
      a_closed_number_has_no_registrations, what_another_epoll_deletes_stays, of_several_epolls_each_is_known,
      what_is_noted_early_of_several_epolls_is_noted_later, of_several_epolls_each_is_found_by_its_data,
      what_cannot_be_kept_of_several_epolls_the_kernel_is_asked_about,
      threads_keep_what_they_note_in_epolls_of_their_own, the_kernel_is_asked_about_what_was_not_seen,
      of_two_files_under_one_number_the_present_one_is_meant, numbers_beyond_the_table_are_the_kernels)
