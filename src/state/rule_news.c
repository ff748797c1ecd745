#include "state/rule_news.h"

#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/text.h"
#include "report/sink.h"
#include "state/process.h"
#include "state/recorder.h"
#include "state/segment.h"

#define PROBLEMS_TOLD 3u

enum where { TO_STDERR, TO_LOG_OR_STDERR };

static void tell_problems(const char *path, const struct problems *problems, enum where where);
static void write_line(const char *line, size_t length, enum where where);
static void put_end(struct event *event, const char *target);
static uint64_t bad_news(const struct problems *problems, uint64_t version);
static uint64_t told_word(uint64_t what);
static bool is_first_to_tell(uint64_t what);

void rule_news_bad(const char *path, const char *canonical, const struct problems *problems, bool is_named,
                   uint64_t version)
{
    struct event event = {.kind = EVENT_RULES_BAD, .count = problems->errors};
    put_end(&event, canonical);
    recorder_note(&event);
    if (!is_named || (!is_first_to_tell(bad_news(problems, version)) && !settings.is_strict))
        return;
    tell_problems(path, problems, TO_STDERR);
    char line[1400];
    struct text text = text_begin(line, sizeof line);
    text_add(&text, "libresil: %s: %u error%s; %s (`resil check` shows all)\n", path, problems->errors,
             problems->errors == 1 ? "" : "s",
             settings.is_strict ? "RESIL_STRICT is set, so the program is not started"
                                : "no rules are in force, the program runs as without libresil");
    write_line(line, text.length, TO_STDERR);
}

void rule_news_bad_was_told(const struct problems *problems, uint64_t version)
{
    if (segment_current)
        atomic_store_explicit(&segment_current->told_session, told_word(bad_news(problems, version)),
                              memory_order_relaxed);
}

void rule_news_private(void)
{
    struct event event = {.kind = EVENT_PASSED_THROUGH, .count = PASSED_PRIVATE};
    char directory[1100];
    segment_directory(directory, sizeof directory);
    struct text target = text_begin(event.target, sizeof event.target);
    text_add(&target, "%s", directory);
    recorder_note(&event);
    recorder_log(&event);
}

void rule_news_reloaded(const char *path, uint32_t rule_count, uint64_t version)
{
    struct event event = {.kind = EVENT_RULES_RELOADED, .count = rule_count};
    put_end(&event, path);
    if (!is_first_to_tell(version))
        return;
    recorder_note(&event);
    recorder_log(&event);
}

void rule_news_kept(const char *path, const struct problems *problems, bool is_named, uint64_t version)
{
    struct event event = {.kind = EVENT_RULES_KEPT, .count = problems->errors};
    const struct problem *first = problems->items;
    while (first < problems->items + problems->count && first->kind != PROBLEM_ERROR)
        first++;
    char place[512];
    struct text text = text_begin(place, sizeof place);
    const char *name = *first->path ? first->path : path;
    size_t length = strlen(name), most = sizeof place - sizeof first->text - 32;
    text_add(&text, "%s", name + (length > most ? length - most : 0));
    if (first->line)
        text_add(&text, ":%u:%u", first->line, first->column);
    else
        text_add(&text, ": %s", first->text); /* no place says what it is */
    put_end(&event, place);
    if (!is_first_to_tell(version))
        return;
    recorder_note(&event);
    if (is_named || sink_is_on())
        tell_problems(path, problems, TO_LOG_OR_STDERR);
    recorder_log(&event);
}

void rule_news_gone(const char *path, uint64_t version)
{
    struct event event = {.kind = EVENT_RULES_KEPT, .count = 0};
    put_end(&event, path);
    if (!is_first_to_tell(version))
        return;
    recorder_note(&event);
    recorder_log(&event);
}

void rule_news_settings(void)
{
    static const char log[] =
        "libresil: RESIL_LOG is neither stderr, off nor a path: nothing is logged (a file "
        "of such a name is written ./NAME)\n";
    static const char seed[] = "libresil: RESIL_SEED is not a whole number: it is as if it were not set\n";
    if (!settings.has_bad)
        return;
    uint64_t session = (uint64_t)getsid(0);
    if (segment_current &&
        atomic_exchange_explicit(&segment_current->told_settings, session, memory_order_relaxed) == session)
        return;
    if (settings.is_log_bad)
        sink_write_stderr(log, sizeof log - 1);
    if (settings.is_seed_bad)
        sink_write_stderr(seed, sizeof seed - 1);
    for (unsigned i = 0; i < BAD_SWITCHES_MAX && settings.bad_switches[i]; i++) {
        char line[128];
        struct text text = text_begin(line, sizeof line);
        text_add(
            &text,
            "libresil: %s is neither 1, on, yes, true nor 0, off, no, false: it is as if it were not set\n",
            settings.bad_switches[i]);
        sink_write_stderr(line, text.length);
    }
}

static void tell_problems(const char *path, const struct problems *problems, enum where where)
{
    char line[1400];
    for (uint32_t i = 0; i < problems->count && i < PROBLEMS_TOLD; i++) {
        const struct problem *problem = &problems->items[i];
        if (problem->kind != PROBLEM_ERROR)
            continue;
        struct text text = text_begin(line, sizeof line);
        text_add(&text, "libresil: %s:", *problem->path ? problem->path : path);
        if (problem->line)
            text_add(&text, "%u:%u:", problem->line, problem->column);
        text_add(&text, " %s\n", problem->text);
        write_line(line, text.length, where);
    }
}

static void write_line(const char *line, size_t length, enum where where)
{
    bool is_logged = where == TO_LOG_OR_STDERR && sink_is_on();
    if (!is_logged)
        sink_write_stderr(line, length);
    else if (!sink_write(line, length))
        segment_passed(PASSED_LOG_LOST);
}

/* Of a path that is too long the end says more. */
static void put_end(struct event *event, const char *target)
{
    struct text text = text_begin(event->target, sizeof event->target);
    size_t length = strlen(target), room = sizeof event->target - 1;
    text_add(&text, "%s", target + (length > room ? length - room : 0));
}

/* Not what rule_news_kept tells of the same version: the rules from before stay in force there. And of files that cannot
 * be looked at the version says nothing. */
static uint64_t bad_news(const struct problems *problems, uint64_t version)
{
    uint64_t news = hash_mix(version ^ EVENT_RULES_BAD);
    for (uint32_t i = 0; i < problems->count; i++) {
        const struct problem *problem = &problems->items[i];
        news = hash_bytes(problem->text, strlen(problem->text),
                          hash_mix(news ^ ((uint64_t)problem->line << 32 | problem->column)));
    }
    return news;
}

static uint64_t told_word(uint64_t what)
{
    return hash_mix(what ^ hash_mix((uint64_t)getsid(0)));
}

/* Of all the processes of a session. */
static bool is_first_to_tell(uint64_t what)
{
    uint64_t told = told_word(what);
    return !segment_current ||
           atomic_exchange_explicit(&segment_current->told_session, told, memory_order_relaxed) != told;
}
