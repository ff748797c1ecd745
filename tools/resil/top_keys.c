/* The keys of resil top, and what they steer. */
#include <ncurses.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "steer.h"
#include "top.h"
#include "watch.h"

#define KEY_ESCAPE 27

static void show(struct top *top, enum screen_view view);
static void choose(int key, size_t *chosen, size_t count);
static void press_for_host(struct top *top, int key);
static void press_for_fault(struct top *top, int key);
static void switch_fault(struct top *top, enum fault_steering steering);
static void steer(struct top *top, enum steered action);
static bool ask(struct top *top, const char *question);
static void ask_what_to_find(struct top *top);
static void say(struct top *top, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool top_press(struct top *top, int key)
{
    struct screen *screen = &top->screen;
    if (key == ERR || key == KEY_RESIZE)
        return true;
    screen->message = NULL;
    if (screen->view == VIEW_HELP) {
        show(top, screen->is_of_faults ? VIEW_FAULTS : VIEW_HOSTS);
        return true;
    }
    switch (key) {
    case 'q':
    case 'Q':
        return false;
    case '?':
    case 'h':
    case KEY_F(1):
        show(top, VIEW_HELP);
        break;
    case 'f':
        show(top, screen->view == VIEW_HOSTS ? VIEW_FAULTS : VIEW_HOSTS);
        break;
    case KEY_ESCAPE:
        show(top, VIEW_HOSTS);
        break;
    case 'p':
    case ' ':
        screen->is_paused = !screen->is_paused;
        break;
    case '/':
        ask_what_to_find(top);
        break;
    default:
        if (screen->view == VIEW_FAULTS) {
            choose(key, &screen->chosen_fault, top->faults.count);
            press_for_fault(top, key);
        } else {
            choose(key, &screen->chosen, screen->row_count);
            press_for_host(top, key);
        }
        break;
    }
    return true;
}

/* At once, whether it is paused or not. */
static void show(struct top *top, enum screen_view view)
{
    if (view != VIEW_HELP)
        top->screen.is_of_faults = view == VIEW_FAULTS;
    top->screen.view = view;
    if (view == VIEW_FAULTS)
        fault_list_look(&top->faults, &top->segments, top->find);
}

static void choose(int key, size_t *chosen, size_t count)
{
    size_t last = count ? count - 1 : 0, page = (size_t)(LINES > 12 ? LINES - 12 : 1);
    switch (key) {
    case KEY_UP:
    case 'k':
        *chosen -= *chosen > 0;
        break;
    case KEY_DOWN:
    case 'j':
        *chosen += *chosen < last;
        break;
    case KEY_PPAGE:
        *chosen -= *chosen < page ? *chosen : page;
        break;
    case KEY_NPAGE:
        *chosen += last - *chosen < page ? last - *chosen : page;
        break;
    case KEY_HOME:
        *chosen = 0;
        break;
    case KEY_END:
        *chosen = last;
        break;
    default:
        break;
    }
}

static void press_for_host(struct top *top, int key)
{
    switch (key) {
    case 's':
        top->screen.order = (top->screen.order + 1) % ORDERS;
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
}

static void press_for_fault(struct top *top, int key)
{
    if (key == 'o')
        switch_fault(top, FAULT_ON_BY_HAND);
    else if (key == 'x')
        switch_fault(top, FAULT_OFF_BY_HAND);
    else if (key == 'a')
        switch_fault(top, FAULT_AS_ARMED);
}

static void switch_fault(struct top *top, enum fault_steering steering)
{
    static const char *const questions[] = {
        [FAULT_AS_ARMED] = "Let fault %s happen where it is armed, and only there?",
        [FAULT_ON_BY_HAND] = "Let fault %s happen in every program with its rule file?",
        [FAULT_OFF_BY_HAND] = "Let fault %s not happen anywhere?"};
    static const char *const texts[] = {
        [FAULT_AS_ARMED] = "as armed", [FAULT_ON_BY_HAND] = "on", [FAULT_OFF_BY_HAND] = "off"};
    if (!top->faults.count)
        return;
    struct listed_fault fault = top->faults.faults[top->screen.chosen_fault];
    char question[200];
    snprintf(question, sizeof question, questions[steering], fault.name);
    if (!ask(top, question)) {
        say(top, "Nothing was changed.");
        return;
    }
    if (!fault.file->writable)
        say(top, "%s is not there any more.", fault.name);
    else if (!fault_switch(fault.file->writable, fault.name, fault.identity, steering, 0))
        say(top, "%s: the shared state has no room for another fault", fault.name);
    else
        say(top, "%s: %s", fault.name, texts[steering]);
    fault_list_look(&top->faults, &top->segments, top->find);
    top->look_ns = 0; /* see it at once */
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
        if (key == KEY_ESCAPE) {
            top->find[0] = '\0';
            break;
        }
        if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && length)
            top->find[--length] = '\0';
        else if (key > ' ' && key < 127 && length + 1 < sizeof top->find)
            top->find[length++] = (char)key, top->find[length] = '\0';
        snprintf(line, sizeof line, "Only %s with: %s_",
                 top->screen.view == VIEW_FAULTS ? "faults" : "hosts and rules", top->find);
        top_choose_rows(top);
        if (top->screen.view == VIEW_FAULTS)
            fault_list_look(&top->faults, &top->segments, top->find);
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
