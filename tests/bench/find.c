/* How long many rules take to load, and to be found among: exact names, suffixes, prefixes and ports in turn.
 *
 *     find [RULES [LOADS [FINDS]]]
 *
 * Prints the best of ten loads, and what one ruleset_find takes on average over a million targets in a random order,
 * half of which no rule is for; or as many of each as it is told. Under callgrind both are counted apart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <valgrind/callgrind.h>

#include "base/text.h"
#include "rules/rules.h"

enum { TARGETS = 4096 };

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void add_rule(struct text *text, unsigned i)
{
    static const char policy[] =
        "timeout: {connect: 1s}, retry: {max_retries: 3}, breaker: {failure_threshold: 5}";
    text_add(text, "  - {name: r%u, match: {", i);
    if (i % 4 == 0)
        text_add(text, "host: h%u.example.com, port: 443", i);
    else if (i % 4 == 1)
        text_add(text, "host: \"*.s%u.example.com\"", i);
    else if (i % 4 == 2)
        text_add(text, "address: 10.%u.%u.0/24", i / 256 % 256, i % 256);
    else
        text_add(text, "port: %u", 1024 + i % 60000);
    text_add(text, "}, %s}\n", policy);
}

/* Some for each kind of rule, and as many again that nothing is for. */
static struct target *make_targets(unsigned rules)
{
    struct target *targets = calloc(TARGETS, sizeof *targets);
    for (unsigned n = 0; n < TARGETS; n++) {
        struct target *target = &targets[n];
        unsigned i = (unsigned)random() % rules, is_known = (unsigned)random() % 2;
        char *name = malloc(64), address[32];
        struct text text = text_begin(name, 64), address_text = text_begin(address, sizeof address);
        text_add(&text, i % 2 ? "www.s%u.example.%s" : "h%u.example.%s", i, is_known ? "com" : "net");
        text_add(&address_text, "%s.%u.%u.7", is_known ? "10" : "11", i / 256 % 256, i % 256);
        target->name = i % 4 < 2 ? name : NULL;
        target->has_address = address_parse(address, &target->address);
        target->port = i % 4 == 3 && is_known ? (uint16_t)(1024 + i % 60000) : 443;
    }
    return targets;
}

int main(int argc, char **argv)
{
    unsigned rules = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10000;
    unsigned loads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 10;
    unsigned finds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1000000;
    char *buffer = malloc(RULES_SIZE_MAX);
    struct text text = text_begin(buffer, RULES_SIZE_MAX);
    text_add(&text, "version: 1\nrules:\n");
    for (unsigned i = 0; i < rules; i++)
        add_rule(&text, i);
    struct problems problems;
    struct ruleset *set = NULL;
    double best_us = 1e12;
    CALLGRIND_ZERO_STATS;
    for (unsigned i = 0; i < loads; i++) {
        ruleset_free(set);
        double begin_us = now_us();
        set = ruleset_parse(buffer, text.length, "bench", 0, &problems);
        double took_us = now_us() - begin_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    CALLGRIND_DUMP_STATS_AT("load");
    if (!set) {
        fprintf(stderr, "%u: %s\n", problems.items[0].line, problems.items[0].text);
        return 1;
    }
    printf("load %u rules: %.1f ms\n", set->rule_count, best_us / 1000);
    struct target *targets = make_targets(rules);
    unsigned found = 0;
    CALLGRIND_ZERO_STATS;
    double begin_us = now_us();
    for (unsigned i = 0; i < finds; i++)
        found += ruleset_find(set, &targets[i * 2654435761u % TARGETS], "curl") != NULL;
    CALLGRIND_DUMP_STATS_AT("find");
    printf("find: %.0f ns (%.0f %% found)\n", (now_us() - begin_us) * 1000 / finds, found * 100.0 / finds);
    ruleset_free(set);
    return 0;
}
