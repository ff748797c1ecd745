/* Ladders that are legal and will disappoint: rungs that cannot serve, or of which nobody would know. */
#include <stdarg.h>
#include <string.h>

#include "rules/reader.h"

#define TLS_PORT 443

static void warn_at(struct problems *problems, const struct rule *rule, const struct rung *rung,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
static void lint_host(const struct rule *rule, const struct rung *rung, uint32_t count,
                      struct problems *problems);
static void lint_respond(const struct rule *rule, const struct rung *rung, struct problems *problems);
static bool is_for_port(const struct rule_match *match, uint16_t port);
static bool begins_like_tls(const struct canned *canned);
static bool is_named(const struct rule *rule);

void degrade_lint(const struct rule *rule, struct problems *problems)
{
    const struct ladder *ladder = rule->policy.ladder;
    if (!ladder)
        return;
    bool is_tcp = rule->match.protocols & PROTOCOL_BIT(PROTOCOL_TCP);
    for (uint32_t i = 0; i < ladder->shape.count; i++) {
        const struct rung *rung = &ladder->rungs[i];
        enum rung_kind kind = ladder->shape.rungs[i].kind;
        if (!is_tcp) {
            warn_at(problems, rule, rung,
                    "degrade.%s: never serves: only TCP connects and lookups are degraded (leave "
                    "it out)",
                    rung_name(kind));
            continue;
        }
        if (kind == RUNG_HOST)
            lint_host(rule, rung, ladder->shape.rungs[i].choices, problems);
        else if (kind == RUNG_RESPOND)
            lint_respond(rule, rung, problems);
        else if (!is_named(rule))
            warn_at(problems, rule, rung,
                    "degrade.%s: never serves: it is about lookups, and this rule matches addresses, "
                    "never a name (add hosts)",
                    rung_name(kind));
        for (uint32_t earlier = 0; earlier < i; earlier++)
            if (ladder->shape.rungs[earlier].kind == kind && kind == RUNG_RESPOND)
                warn_at(problems, rule, rung,
                        "degrade.respond: never comes: the one on line %u answers always (leave it "
                        "out)",
                        ladder->rungs[earlier].line);
    }
    if (!rule->policy.breaker.is_on && ladder_serves(&ladder->shape, LADDER_CONNECT))
        warn_at(problems, rule, &ladder->rungs[0],
                "degrade: without a circuit breaker each call waits for the host to fail "
                "again before it is served otherwise (add breaker:)");
    if (rule->policy.enforce_ppm == 0)
        warn_at(problems, rule, &ladder->rungs[0],
                "degrade: nothing is served by it while enforce is 0%% (raise enforce)");
}

static void lint_host(const struct rule *rule, const struct rung *rung, uint32_t count,
                      struct problems *problems)
{
    const struct rule_match *match = &rule->match;
    for (uint32_t i = 0; i < count; i++) {
        const struct fallback *host = &rung->hosts[i];
        bool is_same_port = host->port == 0 || is_for_port(match, host->port);
        if (host->name && !is_named(rule))
            warn_at(problems, rule, rung,
                    "degrade.host: %s is looked up by connects that block, or when a program looks up some "
                    "name, and "
                    "this rule matches addresses only: others do not find it (write its address)",
                    quote(host->name, strlen(host->name)).text);
        for (uint32_t n = 0; host->name && n < match->host_count && is_same_port; n++)
            if (!match->hosts[n].is_suffix && strcmp(match->hosts[n].name, host->name) == 0)
                warn_at(problems, rule, rung,
                        "degrade.host: %s falls back to itself (name another host or port)",
                        quote(host->name, strlen(host->name)).text);
        for (uint32_t n = 0; !host->name && n < match->prefix_count && is_same_port; n++)
            if (match->prefixes[n].length_bits == 128 &&
                address_equal(&match->prefixes[n].address, &host->address) &&
                (host->port == 0 || match->port_count))
                warn_at(problems, rule, rung,
                        "degrade.host: %s falls back to itself (name another host or port)",
                        address_text(&host->address).text);
    }
}

static void lint_respond(const struct rule *rule, const struct rung *rung, struct problems *problems)
{
    if (rule->match.port_count && is_for_port(&rule->match, TLS_PORT) && !begins_like_tls(&rung->canned))
        warn_at(problems, rule, rung,
                "degrade.respond: on port 443 programs speak TLS, and take plain bytes for a broken "
                "server (leave the port out, or fall back to a host)");
    if (rung->awaits_request && rung->hangs_up)
        warn_at(problems, rule, rung,
                "degrade.respond: an HTTP answer without Content-Length ends with the connection, which "
                "is closed after it (add Content-Length)");
}

static bool is_for_port(const struct rule_match *match, uint16_t port)
{
    bool is_any = match->port_count == 0;
    for (uint32_t i = 0; i < match->port_count; i++)
        is_any |= match->ports[i].first <= port && port <= match->ports[i].last;
    return is_any;
}

/* A record of the handshake, or an alert. */
static bool begins_like_tls(const struct canned *canned)
{
    return canned->length > 2 && (canned->bytes[0] == 0x15 || canned->bytes[0] == 0x16) &&
           canned->bytes[1] == 3;
}

/* Does anything of it come from a lookup? */
static bool is_named(const struct rule *rule)
{
    return rule->match.host_count || !rule->match.prefix_count;
}

static void warn_at(struct problems *problems, const struct rule *rule, const struct rung *rung,
                    const char *format, ...)
{
    char message[sizeof((struct problem *)0)->text];
    struct text text = text_begin(message, sizeof message);
    va_list arguments;
    va_start(arguments, format);
    text_add_list(&text, format, arguments);
    va_end(arguments);
    problems->now.path = rule->file ? rule->path : NULL;
    problems->now.file = rule->file;
    problem_add(problems, PROBLEM_WARNING, rung->line, rung->column, "%s", message);
    problems->now.path = NULL;
    problems->now.file = 0;
}
