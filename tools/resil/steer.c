#include "steer.h"

#include <string.h>

#include "rule_file.h"
#include "rules/function.h"
#include "rules/problems.h"
#include "state/breakers.h"
#include "state/recorder.h"

void circuit_steer(struct segment *segment, struct host *host, enum steered action)
{
    static const enum steering steerings[] = {
        [STEERED_AUTO] = STEERING_AUTO, [STEERED_OPEN] = STEERING_OPEN, [STEERED_CLOSED] = STEERING_CLOSED};
    if (action == STEERED_RESET)
        breakers_reset(host);
    else
        breakers_steer(host, steerings[action]);
    struct event event = {.kind = EVENT_STEERED, .count = action};
    memcpy(event.target, host->target, strnlen(host->target, sizeof event.target - 1));
    segment_current = segment;
    recorder_note(&event);
}

bool circuit_is_missing(const struct segment_file *file, const struct host_view *host)
{
    static struct rule_file rules;
    static struct problems problems;
    rule_file_find(file->rules, &rules);
    struct ruleset *set = rule_file_load(&rules, &problems);
    bool is_without = false;
    for (uint32_t i = 0; set && i < set->rule_count; i++)
        is_without |= strcmp(set->rules[i].name, host->rule) == 0 && !set->rules[i].policy.breaker.is_on;
    for (uint32_t i = 0; set && i < set->function_count; i++)
        is_without |= strcmp(set->functions[i].rule.name, host->rule) == 0 &&
                      !set->functions[i].rule.policy.breaker.is_on;
    if (set)
        ruleset_free(set);
    return is_without;
}
