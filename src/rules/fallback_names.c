/* The names of all fallback hosts, for whoever looks them up beforehand. */
#include <string.h>

#include "rules/reader.h"

const char *ladder_next_host_name(const struct ladder *ladder, uint32_t *at)
{
    uint32_t number = 0;
    for (uint32_t i = 0; ladder && i < ladder->shape.count; i++)
        for (uint32_t n = 0; ladder->rungs[i].hosts && n < ladder->shape.rungs[i].choices; n++)
            if (number++ >= *at && ladder->rungs[i].hosts[n].name) {
                *at = number;
                return ladder->rungs[i].hosts[n].name;
            }
    return NULL;
}

static bool is_known(const struct fallback_name *names, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(names[i].name, name) == 0)
            return true;
    return false;
}

void fallback_names_join(struct reader *reader, struct ruleset *set)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < set->rule_count; i++)
        for (uint32_t at = 0; ladder_next_host_name(set->rules[i].policy.ladder, &at);)
            most++;
    most = most < FALLBACK_NAMES_MAX ? most : FALLBACK_NAMES_MAX;
    struct fallback_name *names = most ? reader_get(reader, most * sizeof *names) : NULL;
    set->fallback_names = names;
    for (uint32_t i = 0; names && i < set->rule_count; i++) {
        const struct policy *policy = &set->rules[i].policy;
        const char *name;
        for (uint32_t at = 0; (name = ladder_next_host_name(policy->ladder, &at));)
            if (set->fallback_name_count < most && !is_known(names, set->fallback_name_count, name))
                names[set->fallback_name_count++] = (struct fallback_name){name, policy->timeout.resolve_ns};
    }
}
