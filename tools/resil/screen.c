#include "screen.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "cells.h"
#include "paint.h"

#define NARROW       80
#define HEAD_LINES   3
#define DETAIL_LINES 8
#define TARGET_LEAST 16 /* an IPv4 address and a port, mostly */
#define TARGET_MOST  40
#define RULE_WIDTH   16

static void draw_hosts(struct screen *screen);
static void draw_title(const struct screen *screen, int width);
static void draw_head(int target, bool has_rule, int spark);
static void draw_row(const struct screen *screen, const struct pace *pace, int line, int target,
                     bool has_rule, int spark, bool is_chosen);
static void draw_detail(const struct screen *screen, const struct pace *pace, int line, int width);
static void draw_counts(const struct host_view *host, int line, int width);
static void draw_past(const struct screen *screen, const struct pace *pace, int line, int width, bool is_bad);
static void draw_spark(const struct screen *screen, const struct pace *pace, int width, bool is_bad);
static attr_t look_of(const struct host_view *host);
static attr_t look_of_rung(const struct host_view *host);

void screen_draw(struct screen *screen)
{
    erase();
    if (screen->view == VIEW_HELP)
        screen_draw_help(screen);
    else if (screen->view == VIEW_FAULTS)
        screen_draw_faults(screen);
    else
        draw_hosts(screen);
    screen_draw_last(screen);
    refresh();
}

int screen_scroll(size_t *chosen, size_t *first, size_t count, int room)
{
    if (room < 1)
        room = 1;
    if (*chosen >= count)
        *chosen = count ? count - 1 : 0;
    if (*chosen < *first)
        *first = *chosen;
    if (*chosen >= *first + (size_t)room)
        *first = *chosen - (size_t)room + 1;
    return room;
}

static void draw_hosts(struct screen *screen)
{
    int height, width;
    getmaxyx(stdscr, height, width);
    /* What a wide terminal has beyond 80 columns goes to the name first, then to the rule, then to the past. */
    int more = width > NARROW ? width - NARROW : 0;
    int target = TARGET_LEAST + (more < TARGET_MOST - TARGET_LEAST ? more : TARGET_MOST - TARGET_LEAST);
    more -= target - TARGET_LEAST;
    bool has_rule = more > RULE_WIDTH;
    int spark = more - (has_rule ? RULE_WIDTH + 1 : 0) - 1;
    spark = spark < 4 ? 0 : spark < PACE_LOOKS ? spark : PACE_LOOKS;

    draw_title(screen, width);
    int detail = screen->row_count && height >= 12 + DETAIL_LINES ? DETAIL_LINES : 0;
    int room = height - HEAD_LINES - 1 - detail;
    room = screen_scroll(&screen->chosen, &screen->first, screen->row_count, room);
    draw_head(target, has_rule, spark);
    for (int i = 0; i < room && screen->first + (size_t)i < screen->row_count; i++)
        draw_row(screen, screen->rows[screen->first + (size_t)i], HEAD_LINES + i, target, has_rule, spark,
                 screen->first + (size_t)i == screen->chosen);
    if (!screen->row_count)
        mvaddnstr(HEAD_LINES + 1, 0, screen->paces->count ? "No host has that in its name." : screen->nothing,
                  width);
    if (detail)
        draw_detail(screen, screen->rows[screen->chosen], height - 1 - detail, width);
}

const char *screen_order_name(enum screen_order order)
{
    static const char *const names[] = {"need", "calls", "failures", "slowest", "name"};
    return order < ORDERS ? names[order] : "";
}

static void draw_title(const struct screen *screen, int width)
{
    size_t open = 0, half_open = 0, held = 0;
    double calls = 0;
    for (size_t i = 0; i < screen->paces->count; i++) {
        const struct host_view *host = &screen->paces->hosts[i]->host;
        held += host->steering != STEERING_AUTO;
        open += host->steering == STEERING_AUTO && host->breaker.state == BREAKER_OPEN;
        half_open += host->steering == STEERING_AUTO && host->breaker.state == BREAKER_HALF_OPEN;
        calls += screen->paces->hosts[i]->calls_per_s;
    }
    time_t now = time(NULL);
    struct tm local = {0};
    char clock[16] = "", rate[16], line[200];
    if (localtime_r(&now, &local))
        strftime(clock, sizeof clock, "%H:%M:%S", &local);
    cell_rate(rate, sizeof rate, calls);
    snprintf(line, sizeof line, "resil top  %zu host%s  %s calls/s  %zu open  %zu half-open  %zu held%s",
             screen->paces->count, screen->paces->count == 1 ? "" : "s", rate, open, half_open, held,
             screen->faults_on ? "  FAULTS ON" : "");
    attron(A_BOLD);
    mvaddnstr(0, 0, line, width);
    attroff(A_BOLD);
    snprintf(line, sizeof line, " %sby %s  %s", screen->is_paused ? "paused  " : "",
             screen_order_name(screen->order), clock);
    int at = width - (int)strlen(line);
    if (at >= getcurx(stdscr))
        mvaddstr(0, at, line);
}

/* Two lines: what is timed has two figures each. */
static void draw_head(int target, bool has_rule, int spark)
{
    int timed = target + (has_rule ? RULE_WIDTH + 1 : 0) + 40;
    move(1, timed);
    put_right("CONNECT", 12);
    put_right("FIRST BYTE", 12);
    move(2, 0);
    attron(A_UNDERLINE);
    put("HOST", target);
    if (has_rule)
        put(" RULE", RULE_WIDTH + 1);
    put(" CIRCUIT", 10);
    put(" RUNG", 7);
    put_right("CALLS/S", 7);
    put_right("FAIL", 5);
    put_right("REJ", 5);
    put_right("RETRY", 6);
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++) {
        put_right("p50", 6);
        put_right("p99", 6);
    }
    if (spark)
        put(" CALLS", spark + 1);
    attroff(A_UNDERLINE);
}

static void draw_row(const struct screen *screen, const struct pace *pace, int line, int target,
                     bool has_rule, int spark, bool is_chosen)
{
    const struct host_view *host = &pace->host;
    char cell[64];
    attr_t look = look_of(host);
    move(line, 0);
    if (is_chosen)
        attron(A_REVERSE);
    put(cell_target(cell, sizeof cell, host->target, target), target);
    if (has_rule) {
        addch(' ');
        put(host->rule, RULE_WIDTH);
    }
    addch(' ');
    attron(look);
    put(cell_state(cell, sizeof cell, host), 9);
    attroff(look);
    addch(' ');
    look = look_of_rung(host);
    attron(look);
    put(cell_rung(host), 6);
    attroff(look);
    put_right(cell_rate(cell, sizeof cell, pace->calls_per_s), 7);
    put_right(cell_count(cell, sizeof cell, host->counts[HOST_FAILED], 4), 5);
    put_right(cell_count(cell, sizeof cell, host->counts[HOST_REJECTED] + host->counts[HOST_LIMITED], 4), 5);
    put_right(cell_count(cell, sizeof cell, host->counts[HOST_RETRIES] + host->counts[HOST_SIBLINGS], 5), 6);
    for (unsigned kind = 0; kind < LATENCY_KINDS; kind++) {
        put_right(cell_time(cell, sizeof cell, pace->latencies[kind].count, pace->latencies[kind].median_ns),
                  6);
        put_right(cell_time(cell, sizeof cell, pace->latencies[kind].count, pace->latencies[kind].p99_ns), 6);
    }
    if (spark) {
        addch(' ');
        draw_spark(screen, pace, spark, false);
    }
    if (is_chosen)
        attroff(A_REVERSE);
}

/* The chosen host: everything that has no column, what its calls were like, and what happened last. */
static void draw_detail(const struct screen *screen, const struct pace *pace, int line, int width)
{
    const struct host_view *host = &pace->host;
    char buffer[400];
    struct text text = text_begin(buffer, sizeof buffer);
    const struct host_served_text served = host_served_text(host);
    put_rule(line, width, screen->is_ascii);
    move(line + 1, 0);
    attron(A_BOLD);
    put(host->target, width);
    attroff(A_BOLD);
    text_add(&text, "%s  %s%srule %s  of %s", host_state_text(host).text, served.text,
             *served.text ? "  " : "", host->rule, pace->file->rules);
    move(line + 2, 0);
    put(buffer, width);
    draw_counts(host, line + 3, width);
    draw_past(screen, pace, line + 5, width, false);
    draw_past(screen, pace, line + 6, width, true);
    move(line + 7, 0);
    attron(A_DIM);
    put(pace->last_event[0] ? pace->last_event : "no events of it are recorded", width);
    attroff(A_DIM);
}

/* On two lines; what has no place on them is in `resil status`. */
static void draw_counts(const struct host_view *host, int line, int width)
{
    int last = line + 1;
    move(line, 0);
    for (unsigned i = 0; i < HOST_COUNT_KINDS; i++) {
        char count[32], item[80];
        if (!host->counts[i])
            continue;
        int length = snprintf(item, sizeof item, "%s %s", host_count_label(i).text,
                              cell_count(count, sizeof count, host->counts[i], 5));
        if (getcurx(stdscr) && getcurx(stdscr) + 2 + length > width) {
            if (line == last)
                return;
            move(++line, 0);
        }
        printw("%s%s", getcurx(stdscr) ? "  " : "", item);
    }
}

static void draw_past(const struct screen *screen, const struct pace *pace, int line, int width, bool is_bad)
{
    uint32_t most = 0;
    int columns = width - 20;
    for (int ago = 0; ago < columns && ago < PACE_LOOKS; ago++) {
        struct pace_step step = pace_step(pace, (size_t)ago);
        uint32_t value = is_bad ? step.bad : step.calls;
        most = value > most ? value : most;
    }
    mvaddstr(line, 0, is_bad ? "failing  " : "calls    ");
    draw_spark(screen, pace, columns, is_bad);
    printw("  most %u", most);
}

/* The newest on the right. The highest is as high as it goes; what is not nothing is seen. */
static void draw_spark(const struct screen *screen, const struct pace *pace, int width, bool is_bad)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const characters[] = {" ", ".", ":", "-", "=", "+", "*", "#", "@"};
    const char *const *levels = screen->is_ascii ? characters : blocks;
    uint32_t most = 1;
    if (width > PACE_LOOKS)
        width = PACE_LOOKS;
    for (int ago = 0; ago < width; ago++) {
        uint32_t calls = pace_step(pace, (size_t)ago).calls; /* both in the same measure */
        most = calls > most ? calls : most;
    }
    attr_t look = colored(is_bad ? COLOR_OPEN : COLOR_QUIET, A_NORMAL);
    attron(look);
    for (int ago = width - 1; ago >= 0; ago--) {
        struct pace_step step = pace_step(pace, (size_t)ago);
        uint64_t value = is_bad ? step.bad : step.calls;
        uint64_t level = value ? 1 + value * 7 / most : 0;
        addstr(levels[level < 8 ? level : 8]);
    }
    attroff(look);
}

static attr_t look_of(const struct host_view *host)
{
    if (host->steering != STEERING_AUTO)
        return colored(COLOR_HELD, A_BOLD);
    if (host->breaker.state == BREAKER_OPEN)
        return colored(COLOR_OPEN, A_BOLD);
    if (host->breaker.state == BREAKER_HALF_OPEN)
        return colored(COLOR_HALF_OPEN, A_BOLD);
    return colored(COLOR_CLOSED, A_NORMAL);
}

static attr_t look_of_rung(const struct host_view *host)
{
    if (host->served.rung == RUNG_FULL)
        return A_NORMAL;
    return colored(host->served.rung == RUNG_ERROR ? COLOR_OPEN : COLOR_HALF_OPEN, A_BOLD);
}
