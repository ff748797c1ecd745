/* conform [--from NAME] [FILTER]: runs the cells whose names contain FILTER, beginning after the cell called NAME.
 * A cell that hangs or crashes ends the process, and its line says so; the driver begins again after it. */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conform.h"
#include "line.h"

#define HANG_MS 5000

static const char *from, *filter;
static atomic_long cells;
static atomic_bool is_running;

bool cell_begin(const char *format, ...)
{
    char name[192];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (from) {
        if (strcmp(from, name) == 0)
            from = NULL;
        return false;
    }
    if (filter && !strstr(name, filter))
        return false;
    line_begin(name);
    atomic_fetch_add(&cells, 1);
    atomic_store(&is_running, true);
    return true;
}

void cell_end(void)
{
    line_end();
    atomic_store(&is_running, false);
}

static void give_up(const char *why, int status)
{
    say(" %s", why);
    line_flush();
    syscall(SYS_exit_group, status);
}

/* Not a signal: a handler that the shim could see would change what is tested. */
static void *watch(void *unused)
{
    (void)unused;
    for (long last = -1, seen = 0;; pause_ms(250)) {
        long now = atomic_load(&cells);
        seen = now == last && atomic_load(&is_running) ? seen + 250 : 0;
        last = now;
        if (seen >= HANG_MS)
            give_up("HANGS", 99);
    }
    return NULL;
}

static void count_pipe_signal(int number)
{
    (void)number;
    pipe_signals++;
}

static void name_what_crashed(int number)
{
    (void)number;
    give_up("CRASHES", 98);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--became") == 0)
        return became_another(argc, argv);
    if (argc > 2 && strcmp(argv[1], "--from") == 0) {
        from = argv[2];
        argc -= 2;
        argv += 2;
    }
    filter = argc > 1 ? argv[1] : NULL;
    signal(SIGPIPE, count_pipe_signal); /* with SA_RESTART */
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    for (size_t i = 0; i < COUNT_OF(deadly); i++)
        signal(deadly[i], name_what_crashed);
    listeners_open();
    helper_start();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_t watcher;
    pthread_create(&watcher, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    table_receive();
    table_send();
    table_vectors();
    table_messages();
    table_move();
    table_signals();
    table_connect();
    table_descriptors();
    table_options();
    table_waits();
    table_names();
    table_streams();
    stories_processes("/proc/self/exe");
    stories_threads();
    stories_jumps();
    stories_mass();
    return 0;
}
