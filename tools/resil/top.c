/* resil top: hosts and their circuits as they are now, and keys to take them into one's own hands. */
#include <argp.h>
#include <fcntl.h>
#include <ncurses.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "command.h"
#include "message.h"
#include "rules/units.h"
#include "screen.h"
#include "segments.h"
#include "steer.h"
#include "watch.h"

#define KEY_LOOK_MS 100 /* how long a key may go unnoticed by an interrupt */

struct request {
    const char *rules;
    uint64_t every_ns;
    bool is_ascii;
};

struct top {
    struct request request;
    struct segments segments;
    struct paces paces;
    struct screen screen;
    char find[40];
    char message[200];
    uint64_t look_ns; /* when next */
};

static struct termios terminal_before;

static error_t parse_option(int key, char *argument, struct argp_state *state);
static bool speaks_utf8(void);
static void be_quiet(void);
static void look(struct top *top);
static void choose_rows(struct top *top);
static bool is_found(const struct pace *pace, const char *find);
static int by_order(const void *a, const void *b, void *context);
static bool press(struct top *top, int key);
static void steer(struct top *top, enum steered action);
static bool ask(struct top *top, const char *question);
static void ask_what_to_find(struct top *top);
static void say(struct top *top, const char *format, ...) __attribute__((format(printf, 2, 3)));
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
           "CIRCUIT says how long an open one still waits for its probe. CALLS/S is since the last look; "
           "FAIL, REJ (rejected by an open circuit, or by a limit) and RETRY are since the state began. "
           "CONNECT and FIRST BYTE are half of all calls and 99 of 100, of the last minute, or of all time "
           "if it has none; the latter only under rules with `response`. Below, of the chosen host: all "
           "counters, its calls and those that failed over time, and its last event.\n"
           "\n"
           "Keys: up, down, page up, page down, home, end choose a host. o: its circuit is held open, c: "
           "closed, a: given back, r: reset, as `resil breaker` does it; you are asked first. s: another "
           "order (need, calls, failures, slowest, name). /: only hosts and rules with that in their names. "
           "p: pause. q: quit.\n"
           "\n"
           "NO_COLOR=1 leaves colours out.\n"
           "\n"
           "Exit status: 0 shown; 2 wrong usage, or this is no terminal that could show it.",
};

int top_command(int argc, char **argv)
{
    static struct top top;
    top.request = (struct request){.every_ns = NS_PER_S, .is_ascii = !speaks_utf8()};
    if (argp_parse(&parser, argc, argv, 0, NULL, &top.request) != 0)
        return STATUS_UNUSABLE;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        complain("this is no terminal (resil status --watch goes without)");
        return STATUS_UNUSABLE;
    }
    top.segments = segments_begin(top.request.rules);
    top.segments.are_writable = true;
    segments_scan(&top.segments); /* complains of what cannot be read while there is no screen yet */
    tcgetattr(STDIN_FILENO, &terminal_before);
    if (!screen_begin()) {
        const char *name = getenv("TERM");
        complain("the terminal \"%s\" is not known (resil status --watch goes without)", name ? name : "");
        segments_end(&top.segments);
        return STATUS_UNUSABLE;
    }
    be_quiet();
    watch_begin();
    signal(SIGBUS, end_on_cut);
    top.screen = (struct screen){.paces = &top.paces,
                                 .find = top.find,
                                 .is_ascii = top.request.is_ascii,
                                 .nothing = "No program of this user has called a host that a rule is for."};
    timeout(KEY_LOOK_MS);
    do {
        if (clock_now_ns() >= top.look_ns && !top.screen.is_paused)
            look(&top);
        choose_rows(&top);
        screen_draw(&top.screen);
    } while (press(&top, getch()) && !watch_is_over());
    screen_end();
    paces_end(&top.paces);
    free(top.screen.rows);
    segments_end(&top.segments);
    return STATUS_GOOD;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case 'r':
        request->rules = argument;
        return 0;
    case 'e':
        if (!duration_parse(argument, &request->every_ns) || request->every_ns < 100 * NS_PER_MS)
            argp_error(state, "--every: \"%s\" is not a duration from 100ms", argument);
        return 0;
    case OPTION_ASCII:
        request->is_ascii = true;
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
    top->look_ns = clock_now_ns() + top->request.every_ns;
}

/* The same host stays chosen, wherever it goes. */
static void choose_rows(struct top *top)
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

/* False: that was the key to quit. */
static bool press(struct top *top, int key)
{
    struct screen *screen = &top->screen;
    size_t last = screen->row_count ? screen->row_count - 1 : 0, page = (size_t)(LINES > 12 ? LINES - 12 : 1);
    if (key == ERR || key == KEY_RESIZE)
        return true;
    screen->message = NULL;
    switch (key) {
    case 'q':
    case 'Q':
        return false;
    case KEY_UP:
    case 'k':
        screen->chosen -= screen->chosen > 0;
        break;
    case KEY_DOWN:
    case 'j':
        screen->chosen += screen->chosen < last;
        break;
    case KEY_PPAGE:
        screen->chosen -= screen->chosen < page ? screen->chosen : page;
        break;
    case KEY_NPAGE:
        screen->chosen += last - screen->chosen < page ? last - screen->chosen : page;
        break;
    case KEY_HOME:
        screen->chosen = 0;
        break;
    case KEY_END:
        screen->chosen = last;
        break;
    case 's':
        screen->order = (screen->order + 1) % ORDERS;
        break;
    case 'p':
    case ' ':
        screen->is_paused = !screen->is_paused;
        break;
    case '/':
        ask_what_to_find(top);
        break;
    case 'o':
        steer(top, STEERED_OPEN);
        break;
    case 'c':
        steer(top, STEERED_CLOSED);
        break;
    case 'a':
        steer(top, STEERED_AUTO);
        break;
    case 'r':
        steer(top, STEERED_RESET);
        break;
    default:
        break;
    }
    return true;
}

static void steer(struct top *top, enum steered action)
{
    static const char *const questions[] = {
        [STEERED_AUTO] = "Give the circuit of %s back, closed?",
        [STEERED_OPEN] = "Hold the circuit of %s open, so that all calls fail at once?",
        [STEERED_CLOSED] = "Hold the circuit of %s closed, so that all calls go through?",
        [STEERED_RESET] = "Reset the circuit of %s?"};
    static const char *const texts[] = {
#define STEERED(name, text, help) help,
        STEERINGS(STEERED)
#undef STEERED
    };
    const struct screen *screen = &top->screen;
    if (!screen->row_count)
        return;
    const struct pace *pace = screen->rows[screen->chosen];
    uint64_t key = pace->kept.key;
    char target[sizeof pace->host.target], question[200];
    memcpy(target, pace->host.target, sizeof target);
    bool is_hold = action == STEERED_OPEN || action == STEERED_CLOSED;
    if (is_hold && circuit_is_missing(pace->file, &pace->host)) {
        say(top, "%s: rule %s has no breaker", target, pace->host.rule);
        return;
    }
    snprintf(question, sizeof question, questions[action], target);
    if (!ask(top, question)) {
        say(top, "Nothing was changed.");
        return;
    }
    struct host *host = pace->file->writable
                            ? &pace->file->writable->hosts[pace->host.host - pace->file->segment->hosts]
                            : NULL;
    if (!host || atomic_load_explicit(&host->key, memory_order_relaxed) != key) {
        say(top, "%s is not there any more.", target);
        return;
    }
    circuit_steer(pace->file->writable, host, action);
    say(top, "%s: %s", target, texts[action]);
    top->look_ns = 0; /* see it at once */
}

/* Nothing else goes on meanwhile, so what was chosen stays what it is. */
static bool ask(struct top *top, const char *question)
{
    char line[220];
    snprintf(line, sizeof line, "%s (y/n)", question);
    top->screen.message = line;
    screen_draw(&top->screen);
    top->screen.message = NULL;
    int key;
    while ((key = getch()) == ERR && !watch_is_over())
        ;
    return key == 'y' || key == 'Y';
}

static void ask_what_to_find(struct top *top)
{
    char line[100];
    size_t length = 0;
    top->find[0] = '\0';
    for (int key = ERR; key != '\n' && key != '\r' && key != KEY_ENTER && !watch_is_over(); key = getch()) {
        if (key == 27) { /* escape */
            top->find[0] = '\0';
            break;
        }
        if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && length)
            top->find[--length] = '\0';
        else if (key > ' ' && key < 127 && length + 1 < sizeof top->find)
            top->find[length++] = (char)key, top->find[length] = '\0';
        snprintf(line, sizeof line, "Only hosts and rules with: %s_", top->find);
        choose_rows(top);
        top->screen.message = line;
        screen_draw(&top->screen);
        top->screen.message = NULL;
    }
}

static void say(struct top *top, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(top->message, sizeof top->message, format, arguments);
    va_end(arguments);
    top->screen.message = top->message;
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
