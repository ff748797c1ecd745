/* Reads one value of the table: what it may look like, what it may be, and what to say when it is neither. */
#include <string.h>

#include "rules/errno_names.h"
#include "rules/reader.h"
#include "rules/units.h"
#include "rules/values.h"

static bool duration_value(struct reader *reader, const struct node *node, uint32_t key, const char *path,
                           uint64_t *value);
static bool count_value(struct reader *reader, const struct node *node, uint32_t key, const char *path,
                        uint64_t *value);
static bool rate_value(struct reader *reader, const struct node *node, uint32_t key, const char *path,
                       uint64_t *value);
static bool factor_value(struct reader *reader, const struct node *node, const char *path, uint64_t *value);
static bool word_value(struct reader *reader, const struct node *node, const char *path, const char *what,
                       const char *const *words, uint64_t *value);
static bool error_value(struct reader *reader, const struct node *node, const char *path, uint64_t *value);
static bool retry_on_value(struct reader *reader, const struct node *node, const char *path, uint64_t *value);
static bool prefixes_value(struct reader *reader, const struct node *node, const char *path, uint64_t *value);
static bool prefix_add(struct reader *reader, const struct node *node, const char *path,
                       struct failure_prefixes *prefixes);
static bool is_within(struct reader *reader, const struct node *node, uint32_t key, const char *path,
                      uint64_t value);
static bool is_bare_number(const char *text);
static bool is_word(const char *text, const char *lower_case);

/* For messages. */
#define QUOTED(node) quote((node)->text, (node)->length).text

bool value_read(struct reader *reader, const struct node *node, uint32_t key, uint64_t *value)
{
    char path[64];
    struct text text = text_begin(path, sizeof path);
    text_add(&text, "%s.%s", key_table[key].section, key_table[key].key);
    if (key_rules[key].type == KEY_RETRY_ON)
        return retry_on_value(reader, node, path, value);
    if (key_rules[key].type == KEY_PREFIXES)
        return prefixes_value(reader, node, path, value);
    if (!scalar_text(reader, node, path))
        return false;
    bool is_read = false;
    uint32_t ratio_ppm;
    switch (key_rules[key].type) {
    case KEY_DURATION:
        return duration_value(reader, node, key, path, value);
    case KEY_COUNT:
        return count_value(reader, node, key, path, value);
    case KEY_RATIO:
        is_read = ratio_read(reader, node, path, &ratio_ppm);
        *value = is_read ? ratio_ppm : 0;
        break;
    case KEY_RATE:
        is_read = rate_value(reader, node, key, path, value);
        break;
    case KEY_FACTOR:
        is_read = factor_value(reader, node, path, value);
        break;
    case KEY_JITTER:
        return word_value(reader, node, path, "kind of jitter", jitter_names, value);
    case KEY_SCOPE:
        return word_value(reader, node, path, "scope", scope_names, value);
    case KEY_ADDRESSES:
        return word_value(reader, node, path, "choice of addresses", addresses_names, value);
    case KEY_ERROR:
        return error_value(reader, node, path, value);
    case KEY_RETRY_ON:
    case KEY_PREFIXES:
        break;
    }
    return is_read && is_within(reader, node, key, path, *value);
}

bool duration_read(struct reader *reader, const struct node *node, const char *path, uint64_t *ns)
{
    const char *text = scalar_text(reader, node, path);
    if (!text)
        return false;
    if (duration_parse(text, ns))
        return true;
    if (is_bare_number(text))
        COMPLAIN(reader, node, "%s: \"%s\" has no unit (write %ss or %sms)", path, text, text, text);
    else
        COMPLAIN(reader, node, "%s: %s is not a duration (write 250ms, 2s or 1m)", path, QUOTED(node));
    return false;
}

bool ratio_read(struct reader *reader, const struct node *node, const char *path, uint32_t *ratio_ppm)
{
    const char *text = scalar_text(reader, node, path);
    if (!text)
        return false;
    if (ratio_parse(text, ratio_ppm))
        return true;
    uint32_t share_ppm;
    char percent[32];
    struct text meant = text_begin(percent, sizeof percent);
    if (strchr(text, '.') && factor_parse(text, &share_ppm) && share_ppm <= PPM_ONE)
        values_add_ratio(&meant, share_ppm);
    if (meant.length)
        COMPLAIN(reader, node, "%s: \"%s\" is not written as a percentage (write %s)", path, text, percent);
    else if (is_bare_number(text))
        COMPLAIN(reader, node, "%s: \"%s\" has no unit (write %s%%)", path, text, text);
    else
        COMPLAIN(reader, node, "%s: %s is not a share (write 0%% to 100%%)", path, QUOTED(node));
    return false;
}

static bool duration_value(struct reader *reader, const struct node *node, uint32_t key, const char *path,
                           uint64_t *value)
{
    bool may_be_off = key_rules[key].minimum == 0;
    if (node_is(node, "off")) {
        *value = 0;
        if (!may_be_off)
            COMPLAIN(reader, node, "%s: cannot be off (write a duration, such as 2s)", path);
        return may_be_off;
    }
    if (node_is(node, "0"))
        *value = 0;
    else if (!duration_read(reader, node, path, value))
        return false;
    /* Where 0 stands for "no limit", who writes 0s may well want the opposite. */
    if (*value == 0 && may_be_off && strcmp(path, "retry.base_delay") != 0 &&
        strcmp(path, "limit.wait") != 0) {
        COMPLAIN(reader, node, "%s: %s leaves no time at all (write off for no limit)", path, QUOTED(node));
        return false;
    }
    return is_within(reader, node, key, path, *value);
}

static bool count_value(struct reader *reader, const struct node *node, uint32_t key, const char *path,
                        uint64_t *value)
{
    static const char *const endless[] = {"infinite", "infinity", "inf",    ".inf", "unlimited",
                                          "endless",  "forever",  "always", "-1"};
    bool may_be_off = key_rules[key].minimum == 0;
    if (node_is(node, "off")) {
        *value = 0;
        if (!may_be_off)
            COMPLAIN(reader, node, "%s: cannot be off (write %lu or more)", path, key_rules[key].minimum);
        return may_be_off;
    }
    for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++) {
        if (strcmp(path, "retry.max_retries") == 0 && is_word(node->text, endless[i])) {
            COMPLAIN(reader, node, "%s: a retry count without end is refused (write at most %lu)", path,
                     key_rules[key].maximum);
            return false;
        }
    }
    uint32_t count;
    if (count_parse(node->text, &count)) {
        *value = count;
        if (count == 0 && strcmp(path, "limit.connections") == 0) {
            COMPLAIN(reader, node, "%s: 0 lets nothing through (write off for no limit)", path);
            return false;
        }
        return is_within(reader, node, key, path, *value);
    }
    if (node->text[strspn(node->text, "0123456789")] == '\0' && node->text[0] != '0')
        return is_within(reader, node, key, path, UINT64_MAX);
    COMPLAIN(reader, node, "%s: %s is not a number (write %lu to %lu)", path, QUOTED(node),
             key_rules[key].minimum, key_rules[key].maximum);
    return false;
}

static bool rate_value(struct reader *reader, const struct node *node, uint32_t key, const char *path,
                       uint64_t *value)
{
    uint32_t per_s;
    *value = 0;
    if (node_is(node, "off") && key_rules[key].minimum == 0)
        return true;
    if (rate_parse(node->text, &per_s)) {
        *value = per_s;
        if (per_s == 0 && strcmp(path, "limit.rate") == 0)
            COMPLAIN(reader, node, "%s: %s lets nothing through (write off for no limit)", path,
                     QUOTED(node));
        return per_s != 0 || strcmp(path, "limit.rate") != 0;
    }
    if (is_bare_number(node->text))
        COMPLAIN(reader, node, "%s: \"%s\" has no unit (write %s/s)", path, node->text, node->text);
    else
        COMPLAIN(reader, node, "%s: %s is not a rate of whole events a second (write 10/s or 600/m)", path,
                 QUOTED(node));
    return false;
}

static bool factor_value(struct reader *reader, const struct node *node, const char *path, uint64_t *value)
{
    uint32_t factor_ppm;
    if (factor_parse(node->text, &factor_ppm)) {
        *value = factor_ppm;
        return true;
    }
    COMPLAIN(reader, node, "%s: %s is not a factor (write 2 or 1.5)", path, QUOTED(node));
    return false;
}

static bool word_value(struct reader *reader, const struct node *node, const char *path, const char *what,
                       const char *const *words, uint64_t *value)
{
    for (*value = 0; words[*value]; ++*value)
        if (node_is(node, words[*value]))
            return true;
    char known[100];
    struct text text = text_begin(known, sizeof known);
    add_names(&text, words);
    COMPLAIN(reader, node, "%s: %s is no %s (known: %s)", path, QUOTED(node), what, known);
    return false;
}

static bool error_value(struct reader *reader, const struct node *node, const char *path, uint64_t *value)
{
    int error = errno_by_name(node->text);
    if (error && errno_is_of_connect(error)) {
        *value = (uint64_t)error;
        return true;
    }
    char known[120];
    struct text text = text_begin(known, sizeof known);
    errno_add_names_of_connect(&text);
    COMPLAIN(reader, node, "%s: %s is no error of connect (known: %s)", path, QUOTED(node), known);
    return false;
}

static bool retry_on_value(struct reader *reader, const struct node *node, const char *path, uint64_t *value)
{
    bool is_read = true;
    struct child single;
    const struct child *item = list_items(reader, node, path, &single);
    *value = 0;
    if (!item)
        return false;
    for (; item; item = item->next) {
        unsigned outcome = 0;
        if (!scalar_text(reader, item->node, path)) {
            is_read = false;
            continue;
        }
        while (outcome <= OUTCOME_OURS && !(RETRY_ON_ALL & OUTCOME_BIT(outcome) &&
                                            node_is(item->node, outcome_name((enum outcome)outcome))))
            outcome++;
        if (outcome <= OUTCOME_OURS) {
            *value |= OUTCOME_BIT(outcome);
        } else {
            is_read = false;
            COMPLAIN(reader, item->node,
                     "%s: %s cannot be retried (known: refused, timeout, unreachable, reset, resolve)", path,
                     QUOTED(item->node));
        }
    }
    return is_read;
}

/* The value is where they are, in memory that lasts while the file is read. */
static bool prefixes_value(struct reader *reader, const struct node *node, const char *path, uint64_t *value)
{
    struct failure_prefixes *prefixes = arena_get(reader->scratch, sizeof *prefixes);
    struct child single = {.node = node};
    const struct child *item = node->kind == NODE_SEQUENCE ? node->children : &single;
    bool is_read = prefixes != NULL;
    *value = (uint64_t)(uintptr_t)prefixes;
    reader->is_out_of_memory |= !prefixes;
    if (node->is_plain && node_is(node, "off"))
        return is_read;
    if (!item)
        COMPLAIN(reader, node, "%s: is an empty list", path);
    for (; is_read && item; item = item->next)
        is_read = prefix_add(reader, item->node, path, prefixes);
    return is_read && prefixes->count != 0;
}

/* A character stands for the byte of its number, so that the escapes of YAML give any byte: "\xff" is the byte 255,
 * which libyaml hands out as two, in UTF-8. */
static bool prefix_add(struct reader *reader, const struct node *node, const char *path,
                       struct failure_prefixes *prefixes)
{
    if (node->kind != NODE_SCALAR) {
        COMPLAIN(reader, node, "%s: needs text, not a %s", path,
                 node->kind == NODE_SEQUENCE ? "list" : "mapping");
        return false;
    }
    if (node->length == 0 || node_is_null(node)) {
        COMPLAIN(reader, node, "%s: an empty one begins every answer (write the first bytes of a bad answer)",
                 path);
        return false;
    }
    if (prefixes->count == FAILURE_PREFIXES_MAX) {
        COMPLAIN(reader, node, "%s: more than %u of them", path, FAILURE_PREFIXES_MAX);
        return false;
    }
    uint8_t length = 0;
    char *bytes = prefixes->items[prefixes->count].bytes;
    for (uint32_t at = 0; at < node->length; at++, length++) {
        unsigned char c = (unsigned char)node->text[at];
        if (length == FAILURE_PREFIX_BYTES_MAX) {
            COMPLAIN(reader, node, "%s: %s is longer than %u bytes", path, QUOTED(node),
                     FAILURE_PREFIX_BYTES_MAX);
            return false;
        }
        if (c > 0xc3) {
            COMPLAIN(reader, node,
                     "%s: %s has characters that are no bytes (write each byte as \\xNN in double quotes)",
                     path, QUOTED(node));
            return false;
        }
        if (c >= 0xc2) /* two bytes of UTF-8 for U+0080 to U+00FF */
            c = (unsigned char)((c & 0x03) << 6 | ((unsigned char)node->text[++at] & 0x3f));
        bytes[length] = (char)c;
    }
    prefixes->items[prefixes->count++].length = length;
    return true;
}

static bool is_within(struct reader *reader, const struct node *node, uint32_t key, const char *path,
                      uint64_t value)
{
    const struct key_rule *rule = &key_rules[key];
    if (value >= rule->minimum && value <= rule->maximum)
        return true;
    bool is_small = value < rule->minimum;
    uint64_t limit = is_small ? rule->minimum : rule->maximum;
    char text_of_limit[32];
    struct text text = text_begin(text_of_limit, sizeof text_of_limit);
    switch (rule->type) {
    case KEY_DURATION:
        values_add_duration(&text, limit);
        break;
    case KEY_RATIO:
        values_add_ratio(&text, (uint32_t)limit);
        break;
    case KEY_FACTOR:
        text_add(&text, "%lu", limit / PPM_ONE);
        break;
    case KEY_RATE:
        text_add(&text, "%lu/s", limit);
        break;
    default:
        text_add(&text, "%lu", limit);
        break;
    }
    COMPLAIN(reader, node, "%s: %s is too %s (at %s %s)", path, QUOTED(node), is_small ? "small" : "large",
             is_small ? "least" : "most", text_of_limit);
    return false;
}

/* "5" or "0.5": somebody has left out the unit. */
static bool is_bare_number(const char *text)
{
    uint32_t ignored;
    return factor_parse(text, &ignored) || count_parse(text, &ignored);
}

/* In upper or lower case; strcasecmp would ask the locale. */
static bool is_word(const char *text, const char *lower_case)
{
    for (; *text && *lower_case; text++, lower_case++)
        if (*text != *lower_case && (*text < 'A' || *text > 'Z' || *text + 0x20 != *lower_case))
            return false;
    return *text == *lower_case;
}
