/* What the call of a declared function costs beyond the function: a trivial one, called through the closure and not.
 *
 *     functions CALLS ROUNDS      prints the median of the rounds in ns for each call */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../programs/flaky.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int count, char **arguments)
{
    int calls = count > 1 ? atoi(arguments[1]) : 100000, rounds = count > 2 ? atoi(arguments[2]) : 11;
    double *times = calloc((size_t)rounds, sizeof *times);
    for (int round = 0; times && round < rounds; round++) {
        double began = now_ns();
        for (int i = 0; i < calls; i++)
            if (flaky_ask(i, 1) != i + 1)
                return 1;
        times[round] = (now_ns() - began) / calls;
    }
    qsort(times, (size_t)rounds, sizeof *times, by_value);
    printf("%.1f\n", times[rounds / 2]);
    free(times);
    return 0;
}
