#include "rules/keys.h"

#include <string.h>

const struct key_info key_table[] = {
#define KEY(section, key, type, field, minimum, maximum, figure, help) {#section, #key, help},
#include "rules/keys.def"
#undef KEY
};

const uint32_t key_count = sizeof key_table / sizeof key_table[0];
_Static_assert(sizeof key_table / sizeof key_table[0] <= KEY_COUNT_MAX, "KEY_COUNT_MAX is too small");

const struct key_rule key_rules[] = {
#define KEY(section, key, type, field, minimum, maximum, figure, help)                                       \
    {offsetof(struct policy, field),                                                                         \
     sizeof(((struct policy *)0)->field),                                                                    \
     KEY_##type,                                                                                             \
     minimum,                                                                                                \
     maximum,                                                                                                \
     figure},
#include "rules/keys.def"
#undef KEY
};

/* Fields are 8 bytes, or 4 (uint32_t, int, an enum), or prefixes. */
#define KEY(section, key, type, field, minimum, maximum, figure, help)                                       \
    _Static_assert(KEY_##type == KEY_PREFIXES || sizeof(((struct policy *)0)->field) == 8 ||                 \
                       sizeof(((struct policy *)0)->field) == 4,                                             \
                   #section "." #key " has a field of another size");
#include "rules/keys.def"
#undef KEY

const char *const jitter_names[] = {
    [JITTER_FULL] = "full",
    [JITTER_EQUAL] = "equal",
    [JITTER_DECORRELATED] = "decorrelated",
    [JITTER_NONE] = "none",
    NULL,
};

const char *const scope_names[] = {
    [SCOPE_CONNECT] = "connect",
    [SCOPE_EXCHANGE] = "exchange",
    NULL,
};

const char *const addresses_names[] = {
    [ADDRESSES_SIBLINGS] = "siblings",
    [ADDRESSES_SAME] = "same",
    NULL,
};

uint64_t key_get(const struct policy *policy, uint32_t key)
{
    const char *field = (const char *)policy + key_rules[key].offset;
    uint64_t value = 0;
    uint32_t small;
    if (key_rules[key].type == KEY_PREFIXES)
        return ((const struct failure_prefixes *)field)->count;
    if (key_rules[key].size == sizeof value) {
        memcpy(&value, field, sizeof value);
    } else {
        memcpy(&small, field, sizeof small);
        value = small;
    }
    return value;
}

void key_set(struct policy *policy, uint32_t key, uint64_t value)
{
    char *field = (char *)policy + key_rules[key].offset;
    uint32_t small = (uint32_t)value;
    if (key_rules[key].type == KEY_PREFIXES && value)
        memcpy(field, (const void *)(uintptr_t)value, key_rules[key].size);
    else if (key_rules[key].type == KEY_PREFIXES)
        memset(field, 0, key_rules[key].size);
    else if (key_rules[key].size == sizeof value)
        memcpy(field, &value, sizeof value);
    else
        memcpy(field, &small, sizeof small);
}

uint32_t key_find(const char *section, const char *key)
{
    uint32_t i = 0;
    while (i < key_count &&
           (strcmp(key_table[i].key, key) != 0 || strcmp(key_table[i].section, section) != 0))
        i++;
    return i;
}
