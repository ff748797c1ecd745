/* Starts a program under several environments in turn and prints each one's median time in microseconds.
 *
 *     spawn ROUNDS PROGRAM [LD_PRELOAD value, "-" for none, and maybe ",NAME=VALUE" for one more variable]... */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define VARIANTS_MAX 16
#define ROUNDS_MAX   100000

extern char **environ;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Splits it: the preload, a zero, and the variable. */
static void use_variant(char *variant)
{
    char *more = strchr(variant, ',');
    if (more)
        *more++ = '\0';
    unsetenv("LD_PRELOAD");
    if (strcmp(variant, "-") != 0)
        setenv("LD_PRELOAD", variant, 1);
    if (more)
        putenv(more);
}

static void forget_variant(char *variant)
{
    char *more = variant + strlen(variant) + 1;
    if (*more) {
        *strchr(more, '=') = '\0';
        unsetenv(more);
    }
}

int main(int argc, char **argv)
{
    int variants = argc - 3, rounds = argc > 3 ? atoi(argv[1]) : 0;
    if (variants < 1 || variants > VARIANTS_MAX || rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: spawn ROUNDS PROGRAM PRELOAD...\n");
        return 2;
    }
    double *times = calloc((size_t)(variants * rounds), sizeof *times);
    char *command[] = {argv[2], NULL};
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < variants; i++) {
            int which = (i + round) % variants; /* no variant always follows the same one */
            char variant[8192] = "";
            use_variant(strncpy(variant, argv[3 + which], sizeof variant - 1));
            pid_t pid;
            int status;
            double began = now_us();
            if (posix_spawn(&pid, argv[2], NULL, NULL, command, environ) != 0 ||
                waitpid(pid, &status, 0) != pid || status)
                return 1;
            times[which * rounds + round] = now_us() - began;
            forget_variant(variant);
        }
    }
    for (int i = 0; i < variants; i++) {
        qsort(times + i * rounds, (size_t)rounds, sizeof *times, by_value);
        printf("%.1f\n", times[i * rounds + rounds / 2]);
    }
    return 0;
}
