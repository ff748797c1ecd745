#include "moment.h"

#include <fnmatch.h>
#include <netdb.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "json_out.h"
#include "fault_sites.h"
#include "rules/faults.h"
#include "rules/rules.h"
#include "target.h"

#define PROGRAM_SHOWN (sizeof((struct event *)0)->program - 1) /* longer names are cut in events */

static bool is_program(const char *asked, const char *program);
static void split_time(uint64_t time_ns, int64_t difference_ns, time_t *seconds, unsigned *milliseconds);
static const char *error_name(const struct event *event);
static bool is_about_limit(const struct event *event);
static void add_fault(struct json_object *line, const struct moment *moment);

bool moment_passes(const struct moment *moment, const struct filter *filter, uint64_t now_ns)
{
    const struct event *event = &moment->event;
    return (!filter->kinds || filter->kinds >> event->kind & 1) &&
           (!filter->host || target_is_named(filter->host, event->target)) &&
           (!filter->program || is_program(filter->program, event->program)) &&
           (!filter->since_ns || event->time_ns + filter->since_ns >= now_ns);
}

int64_t moment_clock_difference_ns(void)
{
    struct timespec real;
    clock_gettime(CLOCK_REALTIME, &real);
    return (int64_t)real.tv_sec * (int64_t)NS_PER_S + real.tv_nsec - (int64_t)clock_now_ns();
}

void moment_print(const struct moment *moment, int64_t difference_ns, FILE *to)
{
    time_t seconds;
    unsigned milliseconds;
    struct tm local;
    char text[32] = "(no time)";
    split_time(moment->event.time_ns, difference_ns, &seconds, &milliseconds);
    if (localtime_r(&seconds, &local))
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
    fprintf(to, "%s.%03u %s[%u] %s\n", text, milliseconds, moment->event.program, moment->event.pid,
            event_text(&moment->event).text);
}

void moment_print_json(const struct moment *moment, int64_t difference_ns, FILE *to)
{
    const struct event *event = &moment->event;
    time_t seconds;
    unsigned milliseconds;
    struct tm utc = {0};
    char date[32] = "", text[64];
    split_time(event->time_ns, difference_ns, &seconds, &milliseconds);
    if (gmtime_r(&seconds, &utc))
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof text, "%s.%03uZ", date, milliseconds);

    struct event_address address = event_address(event);
    struct json_object *line = json_new();
    json_add_text(line, "time", text);
    json_add_text(line, "program", event->program);
    json_add_number(line, "pid", event->pid);
    json_add_text(line, "event", event_name((enum event_kind)event->kind));
    json_add_text(line, "target", event->target);
    json_add_text(line, "address", address.text[0] ? address.text : NULL);
    json_add_text(line, "error", error_name(event));
    json_add_text(line, "reason", event_reason(event));
    bool is_fault = event->kind == EVENT_FAULT;
    json_add_number(line, "attempt", is_fault ? 0 : event->attempt);
    json_add_number(line, "attempts", is_fault ? 0 : event->attempts);
    bool is_limit = is_about_limit(event);
    json_add_ms(line, "delay_ms", is_limit ? 0 : event->delay_ns);
    json_add_ms(line, "duration_ms", event->duration_ns);
    json_add_number(line, "count", event_reason(event) ? 0 : event->count);
    bool is_of_ladder = event->kind == EVENT_DEGRADED || event->kind == EVENT_RUNG_SKIPPED;
    bool has_age = is_of_ladder && event_rung(event) == RUNG_STALE && event->kind == EVENT_DEGRADED;
    json_add_text(line, "rung", is_of_ladder ? rung_name(event_rung(event)) : NULL);
    if (has_age)
        json_add_ms(line, "age_ms", event->duration_ns);
    else
        json_add_text(line, "age_ms", NULL);
    json_add_bool(line, "shadow", event->flags & EVENT_SHADOW);
    json_add_text(line, "rules", moment->file->rules);
    if (is_limit) {
        json_add_number(line, "limit", event->event_limit);
        json_add_text(line, "rule", event->event_rule[0] ? event->event_rule : NULL);
    } else if (event->fault[0]) {
        add_fault(line, moment);
    }
    json_add_text(line, "text", event_text(event).text);
    json_print_line(line, to);
}

static bool is_about_limit(const struct event *event)
{
    return event->kind == EVENT_LIMIT_CONNECTIONS || event->kind == EVENT_LIMIT_RATE ||
           event->kind == EVENT_LIMIT_WAIT;
}

/* Which fault, and what of whom it happened to. */
static void add_fault(struct json_object *line, const struct moment *moment)
{
    const struct event *event = &moment->event;
    json_add_text(line, "fault", event->fault);
    if (event->kind != EVENT_FAULT)
        return;
    struct fault_site_text site = fault_site_of(moment->file->segment, event);
    unsigned kind = event_kind_of(event);
    json_add_text(line, "kind", kind < FAULT_KINDS ? fault_kinds[kind].name : NULL);
    json_add_text(line, "operation",
                  event->event_operation < FAULT_OPERATIONS ? fault_operation_names[event->event_operation]
                                                            : NULL);
    json_add_number(line, "connection", event->count);
    json_add_text(line, "site", site.text[0] ? site.text : NULL);
}

static bool is_program(const char *asked, const char *program)
{
    return fnmatch(asked, program, 0) == 0 ||
           (strlen(asked) > PROGRAM_SHOWN && strncmp(asked, program, PROGRAM_SHOWN) == 0);
}

static void split_time(uint64_t time_ns, int64_t difference_ns, time_t *seconds, unsigned *milliseconds)
{
    int64_t wall_ns = (int64_t)time_ns + difference_ns;
    if (wall_ns < 0)
        wall_ns = 0; /* a clock that was never set */
    *seconds = (time_t)(wall_ns / (int64_t)NS_PER_S);
    *milliseconds = (unsigned)(wall_ns % (int64_t)NS_PER_S / (int64_t)NS_PER_MS);
}

static const char *error_name(const struct event *event)
{
    static const struct {
        int code;
        const char *name;
    } lookups[] = {
        {EAI_AGAIN, "EAI_AGAIN"},   {EAI_FAIL, "EAI_FAIL"},       {EAI_NONAME, "EAI_NONAME"},
        {EAI_NODATA, "EAI_NODATA"}, {EAI_SYSTEM, "EAI_SYSTEM"},   {EAI_MEMORY, "EAI_MEMORY"},
        {EAI_FAMILY, "EAI_FAMILY"}, {EAI_SERVICE, "EAI_SERVICE"},
    };
    for (size_t i = 0; i < sizeof lookups / sizeof lookups[0]; i++)
        if (event->error == lookups[i].code)
            return lookups[i].name;
    return event->error ? errno_name(event->error) : NULL;
}
