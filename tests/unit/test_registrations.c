#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "state/descriptors.h"
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

TEST(nothing_is_known_before_the_table_exists)
{
    struct registration found;
    note(3, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    registration_forget(5);
    ck_assert(!registration_find(3, 5, &found));
    ck_assert(!registration_only(5, &found));
    ck_assert(!registration_is_several(5));
}

TEST(a_registration_is_added_modified_and_deleted)
{
    struct registration found;
    begin();
    ck_assert(!registration_find(3, 5, &found));
    note(3, EPOLL_CTL_ADD, 5, EPOLLIN | EPOLLET, ~UINT64_C(0));
    expect(registration_find(3, 5, &found), &found, 3, EPOLLIN | EPOLLET, ~UINT64_C(0));
    expect(registration_only(5, &found), &found, 3, EPOLLIN | EPOLLET, ~UINT64_C(0));
    ck_assert(!registration_find(4, 5, &found));
    ck_assert(!registration_find(3, 6, &found));
    note(3, EPOLL_CTL_MOD, 5, EPOLLOUT | EPOLLONESHOT, 0);
    expect(registration_find(3, 5, &found), &found, 3, EPOLLOUT | EPOLLONESHOT, 0);
    note(3, EPOLL_CTL_DEL, 5, 0, 0);
    ck_assert(!registration_find(3, 5, &found));
    note(0, EPOLL_CTL_ADD, 0, EPOLLIN, 7);
    expect(registration_only(0, &found), &found, 0, EPOLLIN, 7);
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
    ck_assert(!registration_only(5, &found));
    ck_assert(!registration_is_several(6));
    note(4, EPOLL_CTL_ADD, 6, EPOLLOUT, 66);
    expect(registration_only(6, &found), &found, 4, EPOLLOUT, 66);
}

TEST(what_another_epoll_deletes_stays)
{
    struct registration found;
    begin();
    note(3, EPOLL_CTL_ADD, 5, EPOLLIN, 5);
    note(4, EPOLL_CTL_DEL, 5, 0, 0);
    expect(registration_only(5, &found), &found, 3, EPOLLIN, 5);
}

TEST(of_several_epolls_only_the_kernel_knows_them_all)
{
    struct registration found;
    begin();
    int other = epoll_create1(EPOLL_CLOEXEC), fd = pipe_end();
    tell_kernel(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, 0xabc);
    note(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, 0xabc);
    tell_kernel(other, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLET, 0xdef);
    note(other, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLET, 0xdef);
    for (int twice = 0; twice < 2; twice++) {
        ck_assert(registration_is_several(fd));
        ck_assert(!registration_only(fd, &found));
        ck_assert(!registration_find(epoll, fd, &found));
        ck_assert(!registration_find(other, fd, &found));
        expect(registration_look_up(epoll, fd, &found), &found, epoll, EPOLLIN, 0xabc);
        expect(registration_look_up(other, fd, &found), &found, other, EPOLLOUT | EPOLLET, 0xdef);
    }
    tell_kernel(other, EPOLL_CTL_DEL, fd, 0, 0);
    note(other, EPOLL_CTL_DEL, fd, 0, 0);
    ck_assert(!registration_look_up(other, fd, &found));
    expect(registration_look_up(epoll, fd, &found), &found, epoll, EPOLLIN, 0xabc);
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
    ck_assert(!registration_only(-1, &found));
    ck_assert(!registration_is_several(1 << 30));
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
      a_closed_number_has_no_registrations, what_another_epoll_deletes_stays,
      of_several_epolls_only_the_kernel_knows_them_all, the_kernel_is_asked_about_what_was_not_seen,
      of_two_files_under_one_number_the_present_one_is_meant, numbers_beyond_the_table_are_the_kernels)
