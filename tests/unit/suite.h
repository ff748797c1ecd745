/* A unit test is a few TEST functions and, at the end of the file, one SUITE that lists them:
 *
 *     TEST(success_forgets_failures)
 *     {
 *         ck_assert_uint_eq(...);
 *     }
 *
 *     SUITE("breaker", success_forgets_failures, ...)
 *
 * Each test runs in a process of its own, so that a crash or a hang is the failure of one test.
 * CK_FORK=no keeps them in one, for a debugger. */
#ifndef UNIT_SUITE_H
#define UNIT_SUITE_H

#include <check.h>
#include <stddef.h>

#define TEST(name) START_TEST(name)

#define SUITE(name, ...)                                                                                     \
    int main(void)                                                                                           \
    {                                                                                                        \
        const TTest *const tests[] = {__VA_ARGS__};                                                          \
        return suite_run(name, tests, sizeof tests / sizeof tests[0]);                                       \
    }

static inline int suite_run(const char *name, const TTest *const tests[], size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    suite_add_tcase(suite, tcase);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}

#endif
