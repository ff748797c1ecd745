/* A target as people write it, and how near rules come to it. */
#ifndef RESIL_TARGET_H
#define RESIL_TARGET_H

#include <stdbool.h>

#include "rules/rules.h"
#include "state/names.h"

struct asked {
    struct target target; /* its name, if any, is `name` */
    char name[NAME_MAX_BYTES];
    const char *program; /* file name; NULL: not said */
};

/* "payments.internal:443", "10.0.0.7", "[::1]:443", "::1", "/run/x.sock", "@abstract"; `text` must last. NULL, or what is wrong with it. */
const char *target_parse(const char *text, struct asked *asked);

/* Is that target meant ("payments.internal:443", "[::1]:443")? By its name with or without port, or by a pattern. */
bool target_is_named(const char *asked, const char *target);

/* What keeps a rule from matching: a set. */
enum { MISS_TARGET = 1, MISS_PORT = 2, MISS_PROGRAM = 4 };
unsigned target_misses(const struct rule_match *match, const struct asked *asked);

/* "port 443 or 8000-8100", "program \"worker*\"": what a rule asks for. */
struct asked_text {
    char text[200];
};
struct asked_text target_ports(const struct rule_match *match);
struct asked_text target_programs(const struct rule_match *match);

#endif
