/* What declared functions cost.
 *
 *     functions call COUNT      calls a trivial function of a library so often
 *     functions time            prints what one of these calls takes, in ns: the best of many short batches
 *     functions bind FOLDER     opens all objects of the folder, and prints how long it takes to look for declared functions
 *                               in all that is loaded then, in us: the best of 100 */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../programs/flaky.h"

#define BATCH 200

int measured_call(int count);

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

__attribute__((noinline)) int measured_call(int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++)
        sum ^= flaky_ask(i, 1);
    return sum;
}

static double time_of_call(void)
{
    double best_ns = 1e9;
    for (int batch = 0; batch < 10000; batch++) {
        double began_ns = now_ns();
        measured_call(BATCH);
        double took_ns = (now_ns() - began_ns) / BATCH;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    return best_ns;
}

/* The first dlsym after an object was loaded looks through all of them. */
static double time_of_binding(const char *folder)
{
    char path[512], last[512] = "";
    double best_ns = 1e9;
    DIR *files = opendir(folder);
    for (struct dirent *file; files && (file = readdir(files));) {
        if (file->d_name[0] == '.')
            continue;
        if (last[0] && !dlopen(last, RTLD_NOW))
            exit(2);
        snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
        strcpy(last, path);
    }
    for (int i = 0; files && i < 100; i++) {
        void *object = dlopen(last, RTLD_NOW);
        double began_ns = now_ns();
        void *found = object ? dlsym(object, "plugin_ask") : NULL;
        double took_ns = now_ns() - began_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
        if (!found)
            exit(2);
        dlclose(object);
    }
    if (files)
        closedir(files);
    return best_ns / 1e3;
}

int main(int count, char **arguments)
{
    if (count > 2 && strcmp(arguments[1], "call") == 0)
        measured_call(atoi(arguments[2]));
    else if (count > 1 && strcmp(arguments[1], "time") == 0)
        printf("%.1f\n", time_of_call());
    else if (count > 2 && strcmp(arguments[1], "bind") == 0)
        printf("%.1f\n", time_of_binding(arguments[2]));
    else
        return 2;
    return 0;
}
