#include "policy/outcome.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "suite.h"

#define ALL_OUTCOMES (OUTCOME_OURS + 1)

TEST(connected_is_success)
{
    ck_assert_int_eq(outcome_of_connect(0, true), OUTCOME_SUCCESS);
    ck_assert_int_eq(outcome_of_connect(0, false), OUTCOME_SUCCESS);
}

TEST(faults_of_the_peer_are_told_apart)
{
    ck_assert_int_eq(outcome_of_connect(ECONNREFUSED, true), OUTCOME_REFUSED);
    ck_assert_int_eq(outcome_of_connect(ETIMEDOUT, true), OUTCOME_TIMEOUT);
    ck_assert_int_eq(outcome_of_connect(ECONNRESET, true), OUTCOME_RESET);
    ck_assert_int_eq(outcome_of_connect(ECONNABORTED, true), OUTCOME_RESET);
    ck_assert_int_eq(outcome_of_connect(EPIPE, true), OUTCOME_RESET);
}

TEST(refusal_counts_even_if_nothing_seems_to_have_left)
{
    ck_assert_int_eq(outcome_of_connect(ECONNREFUSED, false), OUTCOME_REFUSED);
    ck_assert_int_eq(outcome_of_connect(ETIMEDOUT, false), OUTCOME_TIMEOUT);
    ck_assert_int_eq(outcome_of_connect(ECONNRESET, false), OUTCOME_RESET);
}

TEST(missing_unix_socket_is_a_refusal)
{
    ck_assert_int_eq(outcome_of_connect(ENOENT, false), OUTCOME_REFUSED);
}

TEST(unreachable_is_theirs_only_if_something_has_left)
{
    static const int errors[] = {EHOSTUNREACH, ENETUNREACH, EHOSTDOWN};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        ck_assert_int_eq(outcome_of_connect(errors[i], true), OUTCOME_UNREACHABLE);
        ck_assert_int_eq(outcome_of_connect(errors[i], false), OUTCOME_OURS);
    }
}

TEST(our_own_faults_are_ours)
{
    static const int errors[] = {EMFILE, ENFILE,       ENOBUFS,  ENOMEM, EADDRNOTAVAIL, EADDRINUSE, EACCES,
                                 EPERM,  EAFNOSUPPORT, EINTR,    EAGAIN, EINPROGRESS,   EALREADY,   EISCONN,
                                 EBADF,  ENETDOWN,     ENOTSOCK, EFAULT, EINVAL,        EPROTOTYPE};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        ck_assert_int_eq(outcome_of_connect(errors[i], true), OUTCOME_OURS);
}

TEST(unknown_errors_are_ours)
{
    ck_assert_int_eq(outcome_of_connect(-1, true), OUTCOME_OURS);
    ck_assert_int_eq(outcome_of_connect(4000, true), OUTCOME_OURS);
}

TEST(lookup_that_may_succeed_later_is_resolve)
{
    ck_assert_int_eq(outcome_of_lookup(0, 0), OUTCOME_SUCCESS);
    ck_assert_int_eq(outcome_of_lookup(EAI_AGAIN, 0), OUTCOME_RESOLVE);
}

TEST(broken_name_server_lets_stale_answers_be_served)
{
    ck_assert_int_eq(outcome_of_lookup(EAI_FAIL, 0), OUTCOME_RESOLVE);
}

TEST(no_such_name_is_an_answer)
{
    ck_assert_int_eq(outcome_of_lookup(EAI_NONAME, 0), OUTCOME_ABSENT);
    ck_assert_int_eq(outcome_of_lookup(EAI_NODATA, 0), OUTCOME_ABSENT);
    ck_assert_int_eq(outcome_of_lookup(EAI_ADDRFAMILY, 0), OUTCOME_ABSENT);
}

TEST(lookup_without_means_is_ours)
{
    static const int errors[] = {EAI_MEMORY,   EAI_SERVICE, EAI_BADFLAGS, EAI_FAMILY, EAI_SOCKTYPE,
                                 EAI_OVERFLOW, 1,           -999};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        ck_assert_int_eq(outcome_of_lookup(errors[i], ETIMEDOUT), OUTCOME_OURS);
    ck_assert_int_eq(outcome_of_lookup(EAI_SYSTEM, EMFILE), OUTCOME_OURS);
    ck_assert_int_eq(outcome_of_lookup(EAI_SYSTEM, 0), OUTCOME_OURS);
}

TEST(name_service_that_does_not_answer_is_theirs)
{
    ck_assert_int_eq(outcome_of_lookup(EAI_SYSTEM, ETIMEDOUT), OUTCOME_RESOLVE);
    ck_assert_int_eq(outcome_of_lookup(EAI_SYSTEM, ECONNREFUSED), OUTCOME_RESOLVE);
}

TEST(errno_is_read_for_eai_system_only)
{
    ck_assert_int_eq(outcome_of_lookup(EAI_NONAME, ETIMEDOUT), OUTCOME_ABSENT);
    ck_assert_int_eq(outcome_of_lookup(0, ETIMEDOUT), OUTCOME_SUCCESS);
}

TEST(success_answers_and_our_faults_do_not_count_against_the_host)
{
    unsigned failures = 0;
    for (unsigned outcome = 0; outcome < ALL_OUTCOMES; outcome++)
        if (outcome_is_failure((enum outcome)outcome))
            failures |= OUTCOME_BIT(outcome);
    ck_assert_uint_eq(failures, OUTCOME_BIT(OUTCOME_REFUSED) | OUTCOME_BIT(OUTCOME_TIMEOUT) |
                                    OUTCOME_BIT(OUTCOME_UNREACHABLE) | OUTCOME_BIT(OUTCOME_RESET) |
                                    OUTCOME_BIT(OUTCOME_RESOLVE));
}

TEST(names_are_those_of_retry_on)
{
    static const char *const names[ALL_OUTCOMES] = {"success", "refused", "timeout", "unreachable",
                                                    "reset",   "resolve", "absent",  "ours"};
    for (unsigned outcome = 0; outcome < ALL_OUTCOMES; outcome++)
        ck_assert_str_eq(outcome_name((enum outcome)outcome), names[outcome]);
    ck_assert_str_eq(outcome_name((enum outcome)99), "unknown");
}

SUITE("outcome", connected_is_success, faults_of_the_peer_are_told_apart,
      refusal_counts_even_if_nothing_seems_to_have_left, missing_unix_socket_is_a_refusal,
      unreachable_is_theirs_only_if_something_has_left, our_own_faults_are_ours, unknown_errors_are_ours,
      lookup_that_may_succeed_later_is_resolve, broken_name_server_lets_stale_answers_be_served,
      no_such_name_is_an_answer, lookup_without_means_is_ours, name_service_that_does_not_answer_is_theirs,
      errno_is_read_for_eai_system_only, success_answers_and_our_faults_do_not_count_against_the_host,
      names_are_those_of_retry_on)
