/* The text of a rule file, made into a rule set. */
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "rules/builtin.h"
#include "rules/reader.h"

#define MEMORY_MAX_BYTES ((size_t)64 << 20)
#define NAME_MAX_BYTES   63

static struct ruleset *parse(const char *text, size_t size, const char *path, unsigned flags,
                             struct problems *problems, struct sources *sources, struct rules_copy *copy);
static void file_load(struct reader *reader, const char *path, const struct node *include,
                      struct ruleset *set);
static void now_reading(struct reader *reader, const char *path, uint32_t file);
static void text_read(struct reader *reader, const char *text, size_t size, struct ruleset *set);
static void top_read(struct reader *reader, const struct node *root, struct ruleset *set);
static void include_read(struct reader *reader, const struct node *node, struct ruleset *set);
static void rules_join(struct reader *reader, struct ruleset *set);
static bool version_read(struct reader *reader, const struct node *root);
static void defaults_read(struct reader *reader, const struct node *node);
static void rules_read(struct reader *reader, const struct node *node);
static const struct node *rule_read(struct reader *reader, const struct node *node, struct rule *rule,
                                    struct settings *settings);
static void enforce_read(struct reader *reader, const struct node *node, struct setting *setting);
static void enforce_resolve(const struct reader *reader, const struct setting *own, struct rule *rule);
static void names_check(struct reader *reader, const struct rule *rules, const struct node *const *names,
                        uint32_t count);

struct ruleset *ruleset_parse(const char *text, size_t size, const char *path, unsigned flags,
                              struct problems *problems)
{
    int saved_errno = errno;
    memset(problems, 0, sizeof *problems);
    struct ruleset *set = parse(text, size, path, flags, problems, NULL, NULL);
    errno = saved_errno;
    return set;
}

struct ruleset *ruleset_load(const char *path, unsigned flags, struct problems *problems)
{
    return ruleset_parse(NULL, 0, path, flags, problems);
}

struct ruleset *ruleset_load_from(const char *path, struct rules_copy *copy, struct problems *problems,
                                  struct sources *sources)
{
    int saved_errno = errno;
    memset(problems, 0, sizeof *problems);
    struct ruleset *set = parse(NULL, 0, path, 0, problems, sources, copy);
    errno = saved_errno;
    return set;
}

/* May an answer be in a file of its own? The text has its zero. Every program that starts pays for this look. */
static bool needs_canned_file(const char *text)
{
    for (; (text = strchr(text, 'f')); text++)
        if (strncmp(text, "file", 4) == 0)
            return true;
    return false;
}

struct rules_copy *ruleset_copy(const char *path)
{
    struct refusal refusal = {""};
    struct arena *memory = arena_open(RULES_SIZE_MAX + 4096);
    struct rules_copy *copy = memory ? arena_get(memory, sizeof *copy) : NULL;
    if (copy) {
        copy->memory = memory;
        copy->text = file_text(path, memory, &copy->size, &copy->identity, &refusal);
        if (copy->text && !memmem(copy->text, copy->size, "include", strlen("include")) &&
            !needs_canned_file(copy->text) &&
            !memmem(copy->text, copy->size, "functions", strlen("functions")))
            return copy;
    }
    arena_close(memory);
    return NULL;
}

struct ruleset *ruleset_builtin(unsigned flags, struct problems *problems)
{
    return ruleset_parse((const char *)builtin_rules, builtin_rules_size, "built-in", flags, problems);
}

void ruleset_free(struct ruleset *set)
{
    if (set)
        arena_close(set->arena);
}

/* Without a text it is read from the file. */
static struct ruleset *parse(const char *text, size_t size, const char *path, unsigned flags,
                             struct problems *problems, struct sources *sources, struct rules_copy *copy)
{
    struct arena *arena = arena_open(MEMORY_MAX_BYTES), *scratch = arena_open(MEMORY_MAX_BYTES);
    struct ruleset *set = arena ? arena_get(arena, sizeof *set) : NULL;
    struct reader *reader = scratch ? arena_get(scratch, sizeof *reader) : NULL;
    if (!set || !reader) {
        problem_add(problems, PROBLEM_ERROR, 0, 0, "no memory to read it");
    } else {
        reader->arena = arena;
        reader->scratch = scratch;
        reader->problems = problems;
        reader->sources = sources;
        reader->copy = copy;
        reader->flags = flags;
        set->arena = arena;
        set->path = reader->path = arena_copy(arena, path, strlen(path));
        if (!set->path)
            reader->is_out_of_memory = true;
        else if (text)
            text_read(reader, text, size, set);
        else
            file_load(reader, set->path, NULL, set);
        rules_join(reader, set);
        functions_join(reader, set);
        faults_join(reader, set);
        fallback_names_join(reader, set);
        if (problems->errors == 0)
            set->index = index_build(reader, set);
        if (reader->is_out_of_memory)
            problem_add(problems, PROBLEM_ERROR, 0, 0, "needs more memory than a rule file may have");
    }
    problems->now.path = NULL;
    problems->now.file = 0;
    arena_close(scratch);
    if (problems->errors == 0)
        return set;
    arena_close(arena);
    return NULL;
}

/* Reads a file, at the place where it is included; the rule file itself is included nowhere. */
static void file_load(struct reader *reader, const char *path, const struct node *include,
                      struct ruleset *set)
{
    struct refusal refusal = {""};
    struct file_identity identity;
    size_t size = 0;
    struct rules_copy *copy = include ? NULL : reader->copy;
    struct arena *memory = copy ? copy->memory : arena_open(RULES_SIZE_MAX + 4096);
    const char *text = NULL;
    if (copy) {
        text = copy->text;
        size = copy->size;
        identity = copy->identity;
    } else if (memory) {
        text = file_text(path, memory, &size, &identity, &refusal);
    }
    if (memory && reader->sources)
        sources_add(reader->sources, path, &identity);
    uint32_t line = include ? include->line : 0, column = include ? include->column : 0;
    uint32_t twin = text ? 0 : reader->file_count;
    while (twin < reader->file_count && (reader->files[twin].identity.device != identity.device ||
                                         reader->files[twin].identity.inode != identity.inode))
        twin++;
    if (!memory)
        problem_add(reader->problems, PROBLEM_ERROR, line, column, "no memory to read it");
    else if (!text && include)
        COMPLAIN(reader, include, "include: %s %s", quote(path, strlen(path)).text, refusal.text);
    else if (!text)
        problem_add(reader->problems, PROBLEM_ERROR, line, column, "%s", refusal.text);
    else if (twin < reader->file_count)
        COMPLAIN(reader, include, "include: %s %s", quote(path, strlen(path)).text,
                 reader->files[twin].is_being_read ? "includes itself by this" : "is included already");
    else {
        uint32_t file = reader->file_count++;
        reader->files[file].identity = identity;
        reader->files[file].path = path;
        reader->files[file].is_being_read = true;
        const char *outer_path = reader->path;
        uint32_t outer = reader->file;
        now_reading(reader, path, file);
        reader->depth++;
        text_read(reader, text, size, set);
        reader->depth--;
        reader->files[file].is_being_read = false;
        now_reading(reader, outer_path, outer);
    }
    arena_close(memory);
}

/* What is complained about from now on is in this file. */
static void now_reading(struct reader *reader, const char *path, uint32_t file)
{
    reader->path = path;
    reader->file = file;
    reader->problems->now.path = file ? path : NULL;
    reader->problems->now.file = file;
}

static void text_read(struct reader *reader, const char *text, size_t size, struct ruleset *set)
{
    if (size > RULES_SIZE_MAX) {
        problem_add(reader->problems, PROBLEM_ERROR, 0, 0, "is larger than 4 MB");
        return;
    }
    set->hash = hash_bytes(text, size, set->hash);
    const struct node *root = tree_read(text, size, reader->scratch, reader->problems);
    if (root)
        top_read(reader, root, set);
}

static void top_read(struct reader *reader, const struct node *root, struct ruleset *set)
{
    static const char *const names[] = {"version", "include",   "defaults", "rules",
                                        "faults",  "functions", NULL};
    static const char *const unsupported[] = {"fault", "inject", "fallback", "reload", NULL};
    const struct fields fields = {.path = "", .names = names, .unsupported = unsupported};
    const struct node *values[FIELDS_MAX];
    if (root->kind != NODE_MAPPING) {
        COMPLAIN(reader, root, "a rule file is a mapping of version, defaults and rules");
        return;
    }
    if (!version_read(reader, root))
        return; /* another version may mean something else by all of it */
    fields_read(reader, root, &fields, values);
    if (values[1])
        include_read(reader, values[1], set);
    /* Each file has its own: what a rule does must not depend on who includes it. */
    memset(&reader->defaults, 0, sizeof reader->defaults);
    if (values[2])
        defaults_read(reader, values[2]);
    if (values[3])
        rules_read(reader, values[3]);
    if (values[4])
        faults_read(reader, values[4]);
    if (values[5])
        functions_read(reader, values[5]);
}

static void include_read(struct reader *reader, const struct node *node, struct ruleset *set)
{
    struct child single;
    const char *slash = strrchr(reader->path, '/');
    size_t folder = slash ? (size_t)(slash + 1 - reader->path) : 0;
    if (node_is_null(node))
        return;
    if (reader->file_count == 0) {
        COMPLAIN(reader, node, "include: only a file can include others");
        return;
    }
    for (const struct child *item = list_items(reader, node, "include", &single); item; item = item->next) {
        const char *name = scalar_text(reader, item->node, "include");
        if (!name)
            continue;
        if (reader->depth > RULES_FILE_DEPTH_MAX || reader->file_count > RULES_FILES_MAX) {
            bool is_deep = reader->depth > RULES_FILE_DEPTH_MAX;
            COMPLAIN(reader, item->node,
                     is_deep ? "include: deeper than %u files" : "include: more than %u files",
                     is_deep ? RULES_FILE_DEPTH_MAX : RULES_FILES_MAX);
            return;
        }
        size_t before = *name == '/' ? 0 : folder;
        char *path = reader_get(reader, before + item->node->length + 1);
        if (!path)
            return;
        memcpy(path, reader->path, before);
        memcpy(path + before, name, item->node->length);
        file_load(reader, path, item->node, set);
    }
}

/* The rules of all files, in the order of reading. */
static void rules_join(struct reader *reader, struct ruleset *set)
{
    const struct rule_list *list = reader->first;
    struct rule *rules = list ? list->rules : NULL;
    const struct node **names = list ? list->names : NULL;
    if (list && list->next) {
        rules = reader_get(reader, reader->rule_count * sizeof *rules);
        names = arena_get(reader->scratch, reader->rule_count * sizeof *names);
        if (!names) {
            reader->is_out_of_memory = true;
            return;
        }
    }
    const char **files = reader_get(reader, (reader->file_count + 1) * sizeof *files);
    if (reader->is_out_of_memory)
        return;
    uint32_t count = 0;
    for (; list; count += list->count, list = list->next) {
        if (rules == list->rules)
            continue;
        memcpy(rules + count, list->rules, list->count * sizeof *rules);
        memcpy(names + count, list->names, list->count * sizeof *names);
    }
    names_check(reader, rules, names, count);
    set->rules = rules;
    set->rule_count = count;
    for (uint32_t i = 0; i < count; i++) {
        set->is_any_host |= rules[i].match.host_count != 0 || rules[i].policy.ladder;
        set->protocols |= rules[i].match.protocols;
    }
    files[0] = set->path;
    for (uint32_t i = 0; i < reader->file_count; i++)
        files[i] = reader->files[i].path;
    set->files = files;
    set->file_count = reader->file_count ? reader->file_count : 1;
}

static bool version_read(struct reader *reader, const struct node *root)
{
    const struct child *child = root->children;
    while (child && !node_is(child->node, "version"))
        child = child->next->next;
    if (!child) {
        COMPLAIN(reader, root, "version: is missing (write version: 1)");
        return true; /* the rest is most likely meant as it reads */
    }
    const struct node *version = child->next->node;
    if (scalar_text(reader, version, "version") && !node_is(version, "1"))
        COMPLAIN(reader, version, "version: %s is not known to this libresil (write 1)",
                 quote(version->text, version->length).text);
    return node_is(version, "1");
}

static void defaults_read(struct reader *reader, const struct node *node)
{
    static const char *const names[] = {"timeout", "retry", "breaker", "limit", "enforce", NULL};
    static const char *const unsupported[] = {"fallback", "fault", "inject", NULL};
    const struct fields fields = {.path = "defaults", .names = names, .unsupported = unsupported};
    const struct node *values[FIELDS_MAX];
    if (node_is_null(node))
        return;
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node, "defaults: needs timeout, retry, breaker, limit or enforce");
        return;
    }
    static const enum section sections[] = {SECTION_TIMEOUT, SECTION_RETRY, SECTION_BREAKER, SECTION_LIMIT};
    for (unsigned i = 0; i < 4; i++)
        if (values[i])
            section_read(reader, values[i], sections[i], &reader->defaults);
    if (values[4])
        enforce_read(reader, values[4], &reader->defaults.enforce);
}

static void rules_read(struct reader *reader, const struct node *node)
{
    if (node_is_null(node))
        return;
    if (node->kind != NODE_SEQUENCE) {
        COMPLAIN(reader, node, "rules: must be a list (- name: ...)");
        return;
    }
    uint32_t count = 0;
    for (const struct child *child = node->children; child; child = child->next)
        count++;
    struct rule_list *list = arena_get(reader->scratch, sizeof *list);
    struct rule *rules = reader_get(reader, count * sizeof *rules);
    struct settings *settings = arena_get(reader->scratch, sizeof *settings);
    const struct node **names = arena_get(reader->scratch, count * sizeof *names);
    reader->is_out_of_memory |= !list || !settings || !names;
    if (reader->is_out_of_memory)
        return;
    uint32_t i = 0;
    for (const struct child *child = node->children; child && !reader->is_out_of_memory;
         child = child->next, i++)
        names[i] = rule_read(reader, child->node, &rules[i], settings);
    *list = (struct rule_list){.rules = rules, .names = names, .count = count};
    if (reader->last)
        reader->last->next = list;
    else
        reader->first = list;
    reader->last = list;
    reader->rule_count += count;
}

/* Gives the node of the name, if that is one. */
static const struct node *rule_read(struct reader *reader, const struct node *node, struct rule *rule,
                                    struct settings *settings)
{
    static const char *const names[] = {"name",  "match",    "timeout", "retry",   "breaker",
                                        "limit", "patience", "enforce", "degrade", NULL};
    static const char *const unsupported[] = {"fallback", "fault", "inject", NULL};
    const struct fields fields = {.path = "", .names = names, .unsupported = unsupported};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node, "a rule is a mapping (- name: ..., and below it match: ...)");
        return NULL;
    }
    rule->path = reader->path;
    rule->file = reader->file;
    rule->line = node->line;
    rule->column = node->column;
    if (values[0])
        rule->name = name_read(reader, values[0], &rule->identity);
    else
        COMPLAIN(reader, node, "name: is missing (every rule needs a name of its own)");
    if (values[1])
        match_read(reader, values[1], &rule->match);
    else
        COMPLAIN(reader, node, "match: is missing (write match: {} for every target)");

    static const enum section sections[] = {SECTION_TIMEOUT, SECTION_RETRY, SECTION_BREAKER, SECTION_LIMIT};
    memset(settings, 0, sizeof *settings);
    for (unsigned i = 0; i < 4; i++)
        if (values[2 + i])
            section_read(reader, values[2 + i], sections[i], settings);
    struct origin origins[KEY_COUNT_MAX];
    settings_resolve(reader, settings, &rule->policy, origins);
    if (reader->flags & LOAD_ORIGINS) {
        struct origin *kept = reader_get(reader, key_count * sizeof *kept);
        if (kept)
            memcpy(kept, origins, key_count * sizeof *kept);
        rule->origins = kept;
    }
    if (values[6] && duration_read(reader, values[6], "patience", &rule->policy.patience_ns) &&
        rule->policy.patience_ns == 0)
        COMPLAIN(reader, values[6], "patience: nobody has none at all (leave it out if it is not known)");
    if (values[7])
        enforce_read(reader, values[7], &settings->enforce);
    enforce_resolve(reader, &settings->enforce, rule);
    if (values[8])
        rule->policy.ladder = degrade_read(reader, values[8]);
    rule->breaker_params_hash = rule_params_hash(&rule->policy);
    return rule->name ? values[0] : NULL;
}

const char *name_read(struct reader *reader, const struct node *name, uint64_t *identity)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (!scalar_text(reader, name, "name"))
        return NULL;
    if (name->length > NAME_MAX_BYTES || name->text[strspn(name->text, allowed)]) {
        COMPLAIN(reader, name, "name: %s is not a name (1 to 63 letters, digits, dots, - and _)",
                 quote(name->text, name->length).text);
        return NULL;
    }
    const char *copy = arena_copy(reader->arena, name->text, name->length);
    *identity = hash_bytes(name->text, name->length, 0);
    reader->is_out_of_memory |= !copy;
    return copy;
}

static void enforce_read(struct reader *reader, const struct node *node, struct setting *setting)
{
    uint32_t ratio_ppm;
    if (!ratio_read(reader, node, "enforce", &ratio_ppm))
        return;
    *setting =
        (struct setting){.is_set = true, .line = node->line, .column = node->column, .value = ratio_ppm};
}

static void enforce_resolve(const struct reader *reader, const struct setting *own, struct rule *rule)
{
    const struct setting *setting = own->is_set ? own : &reader->defaults.enforce;
    rule->policy.enforce_ppm = setting->is_set ? (uint32_t)setting->value : PPM_ONE;
    rule->enforce_origin = (struct origin){
        .line = setting->line,
        .column = (uint16_t)(setting->column < UINT16_MAX ? setting->column : UINT16_MAX),
        .source = own->is_set       ? SOURCE_RULE
                  : setting->is_set ? SOURCE_DEFAULTS
                                    : SOURCE_FIGURE,
    };
}

/* No two rules of one name: breakers and reports go by it. */
static void names_check(struct reader *reader, const struct rule *rules, const struct node *const *names,
                        uint32_t count)
{
    uint32_t size = 16;
    while (size < 2 * count)
        size *= 2;
    uint32_t *table = arena_get(reader->scratch, size * sizeof *table); /* number of the rule + 1 */
    if (!table) {
        reader->is_out_of_memory = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!names[i])
            continue;
        uint32_t at = (uint32_t)rules[i].identity & (size - 1);
        while (table[at] && strcmp(rules[table[at] - 1].name, rules[i].name) != 0)
            at = (at + 1) & (size - 1);
        if (!table[at]) {
            table[at] = i + 1;
            continue;
        }
        const struct rule *other = &rules[table[at] - 1];
        bool is_elsewhere = other->file != rules[i].file;
        now_reading(reader, rules[i].path, rules[i].file);
        COMPLAIN(reader, names[i], "name: the rule on line %u%s%s is called \"%s\" too", other->line,
                 is_elsewhere ? " of " : "", is_elsewhere ? other->path : "", rules[i].name);
    }
}

/* Breakers with the same are interchangeable: they judge alike and stay open alike. */
uint64_t rule_params_hash(const struct policy *policy)
{
    const struct breaker_params *params = &policy->breaker.params;
    const uint64_t values[] = {
        policy->breaker.is_on,
        params->failure_threshold,
        params->failure_ratio_ppm,
        params->minimum_calls,
        params->window_ns,
        params->recovery_timeout_ns,
        params->max_recovery_timeout_ns,
        params->jitter_ppm,
        params->success_threshold,
        params->lease_ns,
        policy->breaker.scope,
        hash_bytes(&policy->breaker.failure_prefixes, sizeof policy->breaker.failure_prefixes, 0),
    };
    return hash_bytes(values, sizeof values, 0);
}
