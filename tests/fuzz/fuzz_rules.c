/* Any text may be a rule file: reading one never crashes, and whatever is accepted can be asked, linted and printed. */
#include <stdlib.h>
#include <string.h>

#include "policy/call.h"
#include "rules/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct ruleset *set);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct problems problems;
    struct ruleset *set = ruleset_parse((const char *)data, size, "fuzz.yaml", LOAD_ORIGINS, &problems);
    if (!set) {
        if (problems.errors == 0 || problems.count == 0)
            abort(); /* refused without a reason */
        return 0;
    }
    ruleset_lint(set, &problems);
    if (problems.errors != 0)
        abort(); /* warnings only */
    ask(set);
    ruleset_free(set);
    return 0;
}

static void ask(const struct ruleset *set)
{
    static const struct {
        const char *name, *address, *path;
        uint16_t port;
        enum protocol protocol;
    } asked[] = {
        {"a.x", NULL, NULL, 443, PROTOCOL_TCP},
        {"x", "10.0.0.7", NULL, 80, PROTOCOL_TCP},
        {NULL, "::1", NULL, 0, PROTOCOL_TCP},
        {"v1.api.example.com", "192.0.2.1", NULL, 443, PROTOCOL_TCP},
        {NULL, "10.0.0.53", NULL, 53, PROTOCOL_UDP},
        {NULL, NULL, "/run/x.sock", 0, PROTOCOL_UNIX},
        {NULL, NULL, "@abstract", 0, PROTOCOL_UNIX},
    };
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct target target = {.name = asked[i].name,
                                .path = asked[i].path,
                                .port = asked[i].port,
                                .protocol = asked[i].protocol,
                                .has_address = asked[i].address != NULL};
        if (asked[i].address && !address_parse(asked[i].address, &target.address))
            abort();
        const struct rule *rule = ruleset_find(set, &target, i % 2 ? "curl" : NULL);
        if (!rule)
            continue;
        if (rule < set->rules || rule >= set->rules + set->rule_count)
            abort();
        if (strlen(rule_match_text(rule, &target).text) == 0)
            abort(); /* it matches for no reason */
        policy_worst_case_ns(&rule->policy);
        for (uint32_t key = 0; key < key_count; key++)
            if (strlen(policy_value_text(&rule->policy, key).text) == 0)
                abort();
    }
}
