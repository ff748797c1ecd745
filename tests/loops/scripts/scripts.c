/* Loop programs by the thousand, each made up from its seed: what it sees goes to standard output, a line for a script.
 *
 *   scripts plain|hidden FIRST COUNT [own] [threads]
 *
 * `plain` is told by the kernel alone: a descriptor is silent, then accepted or refused. `hidden` tells the same story to
 * the program by way of what libresil hides: refused again and again, or unanswered, until the server is there. The
 * servers live in this process and make their system calls themselves, so that no hook sees them, and nothing is decided
 * by how long anything takes. `own`: without what only the kernel could keep from being seen, which is when a child looks,
 * or when a descriptor is given up and not closed. `threads`: another thread does some of it while the program waits, and
 * signals interrupt the waits; and another one waits in an epoll too. */
#include "scripts.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool is_hidden, is_own, has_threads;
_Atomic bool was_interrupted, may_interrupt;
uint64_t script_random, hidden_random;
enum loop loop;
int epolls[2], outer;
struct connection connections[CONNECTIONS];
unsigned count;
char line[1 << 16];
size_t length;

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int wrote = vsnprintf(line + length, sizeof line - length, format, arguments);
    va_end(arguments);
    if (wrote > 0 && length + (size_t)wrote < sizeof line)
        length += (size_t)wrote;
}

uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

unsigned draw(unsigned below)
{
    return (unsigned)(next(&script_random) % below);
}

static void run(unsigned seed)
{
    static const char *const names[LOOPS] = {"poll",      "ppoll",          "select",  "pselect",
                                             "level",     "edge",           "oneshot", "edge-oneshot",
                                             "exclusive", "edge-exclusive", "nested",  "two-epolls"};
    script_random = seed * 0x9e3779b97f4a7c15 + 1;
    hidden_random = seed + 1;
    length = 0;
    loop = (enum loop)draw(LOOPS);
    count = 1 + draw(CONNECTIONS);
    epolls[0] = epoll_create1(EPOLL_CLOEXEC);
    epolls[1] = epoll_create1(EPOLL_CLOEXEC);
    outer = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event inner = {.events = EPOLLIN};
    epoll_ctl(outer, EPOLL_CTL_ADD, epolls[0], &inner);
    say("%u %s", seed, names[loop]);
    if (has_threads) {
        may_interrupt = draw(2);
        begin_beside();
    }
    unsigned steps[CONNECTIONS], left = count;
    for (unsigned i = 0; i < count; i++)
        connections[i].is_closed = true; /* those that have not begun */
    for (unsigned i = 0; i < count; i++) {
        begin(&connections[i]);
        steps[i] = draw(7);
    }
    while (left) {
        unsigned i = draw(count);
        if (connections[i].is_over)
            continue;
        step(&connections[i], &steps[i]);
        left -= connections[i].is_over;
    }
    for (unsigned i = 0; i < count; i++) {
        raw_close(&connections[i].listener);
        raw_close(&connections[i].filler);
        raw_close(&connections[i].accepted);
    }
    if (has_threads)
        settle_threads();
    close(outer);
    close(epolls[0]);
    close(epolls[1]);
    puts(line);
}

int main(int arguments, char **argument)
{
    if (arguments < 4)
        return 2;
    for (int i = 4; i < arguments; i++) {
        is_own |= strcmp(argument[i], "own") == 0;
        has_threads |= strcmp(argument[i], "threads") == 0;
    }
    is_hidden = strcmp(argument[1], "hidden") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (has_threads)
        begin_threads();
    unsigned first = (unsigned)atoi(argument[2]), last = first + (unsigned)atoi(argument[3]);
    for (unsigned seed = first; seed < last; seed++)
        run(seed);
    if (has_threads)
        end_threads();
    return 0;
}
