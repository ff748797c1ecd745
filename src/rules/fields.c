/* Reads mappings, lists and scalars, and says what is wrong with their shape. */
#include <string.h>

#include "rules/reader.h"

static void complain_about_key(struct reader *reader, const struct node *key, const struct fields *fields);
static bool add_home(struct text *text, const char *word, const struct fields *fields);

void *reader_get(struct reader *reader, size_t size)
{
    void *memory = arena_get(reader->arena, size);
    if (!memory)
        reader->is_out_of_memory = true;
    return memory;
}

const char *reader_text(struct reader *reader, const char *text)
{
    const char *copy = arena_copy(reader->arena, text, strlen(text));
    reader->is_out_of_memory |= !copy;
    return copy;
}

bool fields_read(struct reader *reader, const struct node *node, const struct fields *fields,
                 const struct node *values[FIELDS_MAX])
{
    const struct node *keys[FIELDS_MAX] = {NULL};
    for (unsigned i = 0; i < FIELDS_MAX; i++)
        values[i] = NULL;
    if (node->kind != NODE_MAPPING)
        return false;
    for (const struct child *child = node->children; child; child = child->next->next) {
        const struct node *key = child->node;
        unsigned i = 0;
        while (fields->names[i] && !node_is(key, fields->names[i]))
            i++;
        if (!fields->names[i]) {
            complain_about_key(reader, key, fields);
        } else if (keys[i]) {
            COMPLAIN(reader, key, "%s%s%s: given twice (first on line %u)", fields->path,
                     *fields->path ? "." : "", fields->names[i], keys[i]->line);
        } else {
            keys[i] = key;
            values[i] = child->next->node;
        }
    }
    return true;
}

const char *scalar_text(struct reader *reader, const struct node *node, const char *path)
{
    if (node->kind != NODE_SCALAR)
        COMPLAIN(reader, node, "%s: needs one value, not a %s", path,
                 node->kind == NODE_SEQUENCE ? "list" : "mapping");
    else if (node_is_null(node) || node->length == 0)
        COMPLAIN(reader, node, "%s: has no value", path);
    else if (strlen(node->text) != node->length)
        COMPLAIN(reader, node, "%s: %s has a zero byte in it", path, quote(node->text, node->length).text);
    else
        return node->text;
    return NULL;
}

const struct child *list_items(struct reader *reader, const struct node *node, const char *path,
                               struct child *single)
{
    if (node->kind == NODE_SEQUENCE) {
        if (!node->children)
            COMPLAIN(reader, node, "%s: is an empty list", path);
        return node->children;
    }
    if (!scalar_text(reader, node, path))
        return NULL;
    *single = (struct child){.node = node};
    return single;
}

static bool is_one_of(const char *word, size_t length, const char *const *names)
{
    for (; *names; names++)
        if (strlen(*names) == length && memcmp(*names, word, length) == 0)
            return true;
    return false;
}

static void complain_about_key(struct reader *reader, const struct node *key, const struct fields *fields)
{
    const char *path = fields->path, *colon = *path ? ": " : "";
    if (key->kind != NODE_SCALAR) {
        COMPLAIN(reader, key, "%s%sa key must be a word", path, colon);
        return;
    }
    struct quoted word = quote(key->text, key->length);
    for (const char *const *name = fields->unsupported; name && *name; name++) {
        if (node_is(key, *name)) {
            COMPLAIN(reader, key, "%s%s%s: not supported by this version of libresil", path, *path ? "." : "",
                     *name);
            return;
        }
    }
    if (reader->problems->count == PROBLEMS_MAX) { /* it will only be counted */
        COMPLAIN(reader, key, "unknown key");
        return;
    }
    if (node_is(key, "<<")) {
        COMPLAIN(reader, key,
                 "%s%smerging (<<) is not supported (write the keys out, or put them under defaults)", path,
                 colon);
        return;
    }
    char hint[160];
    struct text text = text_begin(hint, sizeof hint);
    const char *colon_in_it = strchr(key->text, ':');
    if (colon_in_it && colon_in_it[1] &&
        is_one_of(key->text, (size_t)(colon_in_it - key->text), fields->names)) {
        text_add(&text, "a colon needs a space after it");
    } else if (!add_home(&text, key->text, fields)) {
        const char *nearest = nearest_name(key->text, fields->names);
        if (nearest) {
            text_add(&text, "did you mean %s?", nearest);
        } else {
            text_add(&text, "known: ");
            add_names(&text, fields->names);
        }
    }
    COMPLAIN(reader, key, "%s%sunknown key %s (%s)", path, colon, word.text, hint);
}

/* Where this very word would be a key. */
static bool add_home(struct text *text, const char *word, const struct fields *fields)
{
    static const struct {
        const char *word, *home;
    } homes[] = {
        {"host", "under match"},
        {"address", "under match"},
        {"port", "under match"},
        {"program", "under match"},
        {"unix", "under match"},
        {"protocol", "under match"},
        {"limit", "in a rule"},
        {"degrade", "in a rule"},
        {"stale", "under degrade"},
        {"respond", "under degrade"},
        {"addresses", "under degrade, or under retry"},
        {"name", "in a rule"},
        {"match", "in a rule"},
        {"patience", "in a rule"},
        {"enforce", "in a rule"},
        {"timeout", "in a rule"},
        {"retry", "in a rule"},
        {"breaker", "in a rule"},
        {"budget", "under retry"},
        {"rules", "at the top"},
        {"functions", "at the top"},
        {"faults", "at the top"},
        {"failure_rate", "under breaker"},
        {"defaults", "at the top"},
        {"version", "at the top"},
    };
    for (size_t i = 0; i < sizeof homes / sizeof homes[0]; i++) {
        if (strcmp(homes[i].word, word) == 0) {
            text_add(text, "it belongs %s", homes[i].home);
            return true;
        }
    }
    /* Known in several sections: take the one below here, if there is one. */
    const char *home = NULL;
    size_t length = strlen(fields->path);
    for (uint32_t i = 0; i < key_count; i++) {
        if (strcmp(key_table[i].key, word) != 0)
            continue;
        if (!home || (length && strncmp(key_table[i].section, fields->path, length) == 0))
            home = key_table[i].section;
    }
    if (home)
        text_add(text, "it belongs under %s", home);
    return home != NULL;
}
