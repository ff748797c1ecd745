#include "ladder.h"

#include <stdlib.h>

#include "base/text.h"
#include "message.h"
#include "rules/values.h"

static void add_hosts(struct text *text, const struct ladder *ladder, uint32_t number);
static void add_addresses(struct text *text, const struct rung *rung);
static void add_canned(struct text *text, const struct rung *rung);
static void add_time(struct text *text, const char *what, uint64_t ns);

char *ladder_rung_text(const struct ladder *ladder, uint32_t number)
{
    char buffer[2600];
    struct text text = text_begin(buffer, sizeof buffer);
    const struct rung *rung = &ladder->rungs[number];
    enum rung_kind kind = ladder->shape.rungs[number].kind;
    text_add(&text, "%s", rung_name(kind));
    switch (kind) {
    case RUNG_HOST:
        add_hosts(&text, ladder, number);
        break;
    case RUNG_STALE:
        add_time(&text, " max_age", rung->stale.max_age_ns);
        add_time(&text, ", after", rung->stale.after_ns);
        break;
    case RUNG_RESPOND:
        add_canned(&text, rung);
        break;
    case RUNG_ADDRESSES:
        add_addresses(&text, rung);
        break;
    case RUNG_FULL:
    case RUNG_ERROR:
    case RUNG_KINDS:
        break;
    }
    return copy_of(buffer);
}

struct json_object *ladder_report(const struct ladder *ladder)
{
    struct json_object *rungs = json_object_new_array();
    for (uint32_t i = 0; ladder && i < ladder->shape.count; i++) {
        struct json_object *rung = json_new();
        char *text = ladder_rung_text(ladder, i);
        json_add_text(rung, "rung", rung_name(ladder->shape.rungs[i].kind));
        json_add_text(rung, "text", text);
        json_add_number(rung, "line", ladder->rungs[i].line);
        json_add_number(rung, "column", ladder->rungs[i].column);
        json_object_array_add(rungs, rung);
        free(text);
    }
    return rungs;
}

static void add_hosts(struct text *text, const struct ladder *ladder, uint32_t number)
{
    const struct rung *rung = &ladder->rungs[number];
    for (uint32_t i = 0; i < ladder->shape.rungs[number].choices; i++) {
        const struct fallback *host = &rung->hosts[i];
        struct address_text address = address_text(&host->address);
        bool needs_brackets = !host->name && host->port && !address_is_v4(&host->address);
        text_add(text, needs_brackets ? "%s[%s]" : "%s%s", i ? ", " : " ",
                 host->name ? host->name : address.text);
        if (host->port)
            text_add(text, ":%u", host->port);
    }
    if (rung->stick_ns)
        add_time(text, "; stick", rung->stick_ns);
    if (rung->presents_real)
        text_add(text, "; present real");
}

static void add_addresses(struct text *text, const struct rung *rung)
{
    for (uint32_t i = 0; i < rung->address_count; i++)
        text_add(text, "%s%s", i ? ", " : " ", address_text(&rung->addresses[i]).text);
}

static void add_canned(struct text *text, const struct rung *rung)
{
    if (rung->file)
        text_add(text, " file %s,", rung->file);
    text_add(text, " %u bytes when %s", rung->canned.length, rung->awaits_request ? "request" : "connect");
    if (rung->delay_ns)
        add_time(text, ", delay", rung->delay_ns);
    if (rung->awaits_request && rung->hangs_up)
        text_add(text, ", then the end of the connection");
}

static void add_time(struct text *text, const char *what, uint64_t ns)
{
    text_add(text, "%s ", what);
    values_add_duration(text, ns);
}
