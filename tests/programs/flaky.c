#include "flaky.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct flaky {
    int status;
};

static int failures, calls, live;

static int fails(void)
{
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    int left = __atomic_load_n(&failures, __ATOMIC_RELAXED);
    while (left > 0 &&
           !__atomic_compare_exchange_n(&failures, &left, left - 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return left > 0;
}

void flaky_fail(int times)
{
    __atomic_store_n(&failures, times, __ATOMIC_RELAXED);
}

struct flaky *flaky_open(const char *where)
{
    (void)where;
    struct flaky *flaky = malloc(sizeof *flaky);
    flaky->status = fails();
    __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
    return flaky;
}

int flaky_status(const struct flaky *flaky)
{
    return flaky->status;
}

void flaky_close(struct flaky *flaky)
{
    free(flaky);
    __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
}

int flaky_ask(int a, int b)
{
    if (!fails())
        return a + b;
    errno = EIO;
    return -1;
}

double flaky_mixed(char a, short b, int c, long d, float e, double f, unsigned char g, unsigned long h,
                   const char *i, int j)
{
    fails();
    return a + b + c + (double)d + (double)e + f + g + (double)h + (double)strlen(i) + j;
}

int flaky_with(int (*callback)(void *data), void *data)
{
    fails();
    return callback(data);
}

int flaky_calls(void)
{
    return __atomic_load_n(&calls, __ATOMIC_RELAXED);
}

int flaky_live(void)
{
    return __atomic_load_n(&live, __ATOMIC_RELAXED);
}
