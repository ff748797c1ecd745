/* resil top: hosts and their circuits as they are now, and keys to take them into one's own hands. */
#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "command.h"
#include "message.h"
#include "paint.h"
#include "rules/units.h"
#include "top.h"
#include "watch.h"

#define KEY_LOOK_MS 100 /* how long a key may go unnoticed by an interrupt */

static struct termios terminal_before;

static error_t parse_option(int key, char *argument, struct argp_state *state);
static bool speaks_utf8(void);
static void be_quiet(void);
static void look(struct top *top);
static size_t faults_on(const struct segments *segments);
static bool is_found(const struct pace *pace, const char *find);
static int by_order(const void *a, const void *b, void *context);
static void end_on_cut(int number);

enum { OPTION_ASCII = 256 };
static const struct argp_option options[] = {
    {"rules", 'r', "FILE", 0, "Only programs with this rule file", 0},
    {"every", 'e', "TIME", 0, "Look each TIME: 500ms, 5s (1s)", 0},
    {"ascii", OPTION_ASCII, NULL, 0, "Draw with ASCII characters only", 0},
    {0},
};
static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .doc = "Shows the hosts of all this user's programs as they are now, on a terminal of 80 columns or "
           "more, with or without colour."
           "\v"
           "CIRCUIT says how long an open one still waits for its probe. RUNG is which rung of its rule's "
           "ladder a host was served by last: full is the host itself, host a fallback host, stale the last "
           "good answer, canned a canned one, addrs addresses of the rule's own, error none of them, - "
           "nobody gets to it. CALLS/S "
           "is since the last look; FAIL, REJ (rejected by an open circuit, or by a limit) and RETRY are "
           "since the state began. CONNECT and FIRST BYTE are half of all calls and 99 of 100, of the last "
           "minute, or of all time if it has none; the latter only under rules with `response`. Below, of "
           "the chosen host: all counters, its calls and those that failed over time, and its last event.\n"
           "\n"
           "f shows the faults of the rule files that programs have used, as `resil fault list` does; "
           "FAULTS ON in the first line says that somebody has switched one on.\n"
           "\n"
           "Keys: up, down, page up, page down, home, end choose a row. o: the circuit is held open, c: "
           "closed, a: given back, r: reset, as `resil breaker` does it; of a fault o: it is on, x: off, a: "
           "as armed, as `resil fault` does it; you are asked first. f: hosts or faults. s: another "
           "order (need, calls, failures, slowest, name). /: only rows with that in their names. "
           "p: pause. ?: help. q: quit.\n"
           "\n"
           "NO_COLOR=1 leaves colours out.\n"
           "\n"
           "Exit status: 0 shown; 2 wrong usage, or this is no terminal that could show it.",
};

int top_command(int argc, char **argv)
{
    static struct top top;
    top.every_ns = NS_PER_S;
    top.screen = (struct screen){.paces = &top.paces,
                                 .faults = &top.faults,
                                 .find = top.find,
                                 .is_ascii = !speaks_utf8(),
                                 .nothing = "No program of this user has called a host that a rule is for."};
    if (argp_parse(&parser, argc, argv, 0, NULL, &top) != 0)
        return STATUS_UNUSABLE;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        complain("this is no terminal (resil status --watch goes without)");
        return STATUS_UNUSABLE;
    }
    top.segments = segments_begin(top.rules);
    top.segments.are_writable = true;
    segments_scan(&top.segments); /* complains of what cannot be read while there is no screen yet */
    tcgetattr(STDIN_FILENO, &terminal_before);
    if (!paint_begin()) {
        const char *name = getenv("TERM");
        complain("the terminal \"%s\" is not known (resil status --watch goes without)", name ? name : "");
        segments_end(&top.segments);
        return STATUS_UNUSABLE;
    }
    be_quiet();
    watch_begin();
    signal(SIGBUS, end_on_cut);
    timeout(KEY_LOOK_MS);
    do {
        if (clock_now_ns() >= top.look_ns && !top.screen.is_paused)
            look(&top);
        top_choose_rows(&top);
        screen_draw(&top.screen);
    } while (top_press(&top, getch()) && !watch_is_over());
    paint_end();
    paces_end(&top.paces);
    fault_list_end(&top.faults);
    free(top.screen.rows);
    segments_end(&top.segments);
    return STATUS_GOOD;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct top *top = state->input;
    switch (key) {
    case 'r':
        top->rules = argument;
        return 0;
    case 'e':
        if (!duration_parse(argument, &top->every_ns) || top->every_ns < 100 * NS_PER_MS)
            argp_error(state, "--every: \"%s\" is not a duration from 100ms", argument);
        return 0;
    case OPTION_ASCII:
        top->screen.is_ascii = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is too much (a rule file is named with --rules)", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What the user's own locale says: ours is UTF-8 in any case. */
static bool speaks_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "UTF-8") || strcasestr(value, "utf8");
    }
    return false;
}

/* What is complained of from now on would land in the middle of the screen. */
static void be_quiet(void)
{
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    fflush(stderr);
    if (nothing >= 0)
        dup2(nothing, STDERR_FILENO);
    if (nothing > STDERR_FILENO)
        close(nothing);
}

static void look(struct top *top)
{
    segments_scan(&top->segments);
    paces_look(&top->paces, &top->segments);
    if (top->screen.view == VIEW_FAULTS)
        fault_list_look(&top->faults, &top->segments, top->find);
    top->screen.faults_on = faults_on(&top->segments);
    top->look_ns = clock_now_ns() + top->every_ns;
}

/* Without reading rule files: whoever looks at hosts is to know that faults are at work among them. */
static size_t faults_on(const struct segments *segments)
{
    size_t count = 0;
    for (size_t i = 0; i < segments->count; i++)
        for (size_t n = 0; segments->files[i]->segment && n < FAULT_SLOTS; n++)
            count += fault_steering_now(&segments->files[i]->segment->faults[n]) == FAULT_ON_BY_HAND;
    return count;
}

/* The same host stays chosen, wherever it goes. */
void top_choose_rows(struct top *top)
{
    struct screen *screen = &top->screen;
    const struct pace *chosen = NULL;
    if (screen->chosen < screen->row_count)
        chosen = screen->rows[screen->chosen];
    screen->rows = grow(screen->rows, (top->paces.count + 1) * sizeof *screen->rows);
    screen->row_count = 0;
    for (size_t i = 0; i < top->paces.count; i++)
        if (is_found(top->paces.hosts[i], top->find))
            screen->rows[screen->row_count++] = top->paces.hosts[i];
    if (screen->order != ORDER_NEED)
        qsort_r(screen->rows, screen->row_count, sizeof *screen->rows, by_order, &screen->order);
    for (size_t i = 0; i < screen->row_count; i++)
        if (screen->rows[i] == chosen)
            screen->chosen = i;
}

static bool is_found(const struct pace *pace, const char *find)
{
    return strcasestr(pace->host.target, find) || strcasestr(pace->host.rule, find);
}

/* The greatest first; alike they are in the order of their names. */
static int by_order(const void *a, const void *b, void *context)
{
    const struct pace *first = *(struct pace *const *)a, *second = *(struct pace *const *)b;
    const struct host_view *one = &first->host, *other = &second->host;
    uint64_t here = 0, there = 0;
    switch (*(const enum screen_order *)context) {
    case ORDER_CALLS:
        here = (uint64_t)(first->calls_per_s * 10);
        there = (uint64_t)(second->calls_per_s * 10);
        break;
    case ORDER_FAILURES:
        here = one->counts[HOST_FAILED] + one->counts[HOST_REJECTED];
        there = other->counts[HOST_FAILED] + other->counts[HOST_REJECTED];
        break;
    case ORDER_SLOWEST:
        here = first->latencies[LATENCY_FIRST_BYTE].p99_ns + first->latencies[LATENCY_CONNECT].p99_ns;
        there = second->latencies[LATENCY_FIRST_BYTE].p99_ns + second->latencies[LATENCY_CONNECT].p99_ns;
        break;
    default:
        break;
    }
    return here != there ? here < there ? 1 : -1 : strcmp(one->target, other->target);
}

/* A segment that somebody cuts short while it is read is a SIGBUS; the terminal must be usable afterwards. Here ncurses
 * may not be asked: the screen from before, the cursor, and the plain look again. */
static void end_on_cut(int number)
{
    static const char text[] =
        "\033[?1049l\033[?25h\033[m\r\n"
        "resil top: a file of shared state was cut short while it was read; try again\r\n";
    (void)number;
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
    if (write(STDOUT_FILENO, text, sizeof text - 1) < 0)
        _exit(STATUS_UNUSABLE);
    _exit(STATUS_UNUSABLE);
}
