#include "rules/tree.h"

#include <string.h>
#include <yaml.h>

#include "rules/problems.h"
#include "rules/shim/yaml_memory.h"

#define DEPTH_MAX   32
#define WEIGHT_MAX  1000000
#define ANCHORS_MAX 256
#define BLOCK_BYTES 16384

/* Not there in tools and tests: libyaml uses malloc then. */
#pragma weak yaml_memory_use

struct anchor {
    const char *name;
    struct node *node;
};

struct builder {
    yaml_parser_t parser;
    yaml_event_t event;
    const char *text;
    size_t size;
    struct arena *scratch;
    struct problems *problems;
    char *block, *block_end; /* small things are cut from this */
    struct node *root;
    unsigned depth;
    bool has_document, has_failed;
    struct {
        struct node *node;
        struct child *last;
    } open[DEPTH_MAX];
    uint32_t anchor_count;
    struct anchor anchors[ANCHORS_MAX];
};

static void build(struct builder *builder);
/* Whether to go on. */
static bool build_next(struct builder *builder);
static bool begin_document(struct builder *builder);
static bool begin_node(struct builder *builder, enum node_kind kind, const yaml_char_t *anchor,
                       const yaml_char_t *tag);
static bool end_collection(struct builder *builder);
static bool add_alias(struct builder *builder);
static bool attach(struct builder *builder, struct node *node);
static void *get(struct builder *builder, size_t size);
static bool fail(struct builder *builder, const char *text);
static bool fail_without_memory(struct builder *builder);
static const char *place_of(const struct builder *builder, size_t line, size_t column);
static bool add_missing_space(struct text *hint, const struct builder *builder, size_t line);
static struct node offset_place(const struct builder *builder, size_t offset);
static bool explain_syntax(struct builder *builder);
static bool has_directive(struct builder *builder);

const struct node *tree_read(const char *text, size_t size, struct arena *scratch, struct problems *problems)
{
    struct builder *builder = arena_get(scratch, sizeof *builder);
    if (!builder) {
        problem_add(problems, PROBLEM_ERROR, 0, 0, "no memory to read it");
        return NULL;
    }
    if (size >= 3 &&
        memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* or columns of the first line would be one too far */
        text += 3;
        size -= 3;
    }
    builder->text = text;
    builder->size = size;
    builder->scratch = scratch;
    builder->problems = problems;
    if (has_directive(builder))
        return NULL;
    build(builder);
    if (!builder->has_failed && !builder->root)
        problem_add(problems, PROBLEM_ERROR, 0, 0, "the file is empty (it needs at least version: 1)");
    return builder->has_failed ? NULL : builder->root;
}

static void build(struct builder *builder)
{
    jmp_buf failed;
    if (_setjmp(failed) != 0) {
        /* What libyaml holds now makes no sense any more; it goes with the arena. */
        problem_add(builder->problems, PROBLEM_ERROR, 0, 0, "internal error: libyaml gave up");
        builder->has_failed = true;
    } else {
        if (yaml_memory_use)
            yaml_memory_use(builder->scratch, &failed);
        if (!yaml_parser_initialize(&builder->parser)) {
            fail_without_memory(builder);
        } else {
            yaml_parser_set_encoding(&builder->parser, YAML_UTF8_ENCODING);
            yaml_parser_set_input_string(&builder->parser, (const unsigned char *)builder->text,
                                         builder->size);
            while (build_next(builder))
                ;
            yaml_parser_delete(&builder->parser);
        }
    }
    if (yaml_memory_use)
        yaml_memory_use(NULL, NULL);
}

bool node_is_null(const struct node *node)
{
    return node->kind == NODE_SCALAR && node->is_plain &&
           (node->length == 0 || node_is(node, "~") || node_is(node, "null") || node_is(node, "Null") ||
            node_is(node, "NULL"));
}

bool node_is(const struct node *node, const char *word)
{
    return node->kind == NODE_SCALAR && strlen(word) == node->length &&
           memcmp(node->text, word, node->length) == 0;
}

static bool build_next(struct builder *builder)
{
    yaml_event_t *event = &builder->event;
    if (!yaml_parser_parse(&builder->parser, event))
        return explain_syntax(builder);
    bool go_on = true;
    switch (event->type) {
    case YAML_STREAM_END_EVENT:
        go_on = false;
        break;
    case YAML_DOCUMENT_START_EVENT:
        go_on = begin_document(builder);
        break;
    case YAML_SCALAR_EVENT:
        go_on = begin_node(builder, NODE_SCALAR, event->data.scalar.anchor, event->data.scalar.tag);
        break;
    case YAML_SEQUENCE_START_EVENT:
        go_on = begin_node(builder, NODE_SEQUENCE, event->data.sequence_start.anchor,
                           event->data.sequence_start.tag);
        break;
    case YAML_MAPPING_START_EVENT:
        go_on = begin_node(builder, NODE_MAPPING, event->data.mapping_start.anchor,
                           event->data.mapping_start.tag);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        go_on = end_collection(builder);
        break;
    case YAML_ALIAS_EVENT:
        go_on = add_alias(builder);
        break;
    default:
        break;
    }
    yaml_event_delete(event);
    return go_on;
}

static bool begin_document(struct builder *builder)
{
    if (builder->has_document)
        return fail(builder, "a second document begins here; a rule file is one document");
    builder->has_document = true;
    return true;
}

static bool begin_node(struct builder *builder, enum node_kind kind, const yaml_char_t *anchor,
                       const yaml_char_t *tag)
{
    if (tag && strncmp((const char *)tag, "tag:yaml.org,2002:", 18) != 0 &&
        strcmp((const char *)tag, "!") != 0)
        return fail(builder, "tags (!...) are not used in rule files");
    struct node *node = get(builder, sizeof *node);
    if (!node)
        return fail_without_memory(builder);
    const yaml_mark_t *mark = &builder->event.start_mark;
    *node = (struct node){
        .kind = kind, .line = (uint32_t)mark->line + 1, .column = (uint32_t)mark->column + 1, .weight = 1};
    if (kind == NODE_SCALAR) {
        size_t length = builder->event.data.scalar.length;
        char *text = get(builder, length + 1);
        if (!text)
            return fail_without_memory(builder);
        memcpy(text, builder->event.data.scalar.value, length);
        text[length] = '\0';
        node->text = text;
        node->length = (uint32_t)length;
        node->is_plain = builder->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    }
    if (anchor) {
        size_t size = strlen((const char *)anchor) + 1;
        char *name = get(builder, size);
        if (!name)
            return fail_without_memory(builder);
        if (builder->anchor_count == ANCHORS_MAX)
            return fail(builder, "more than 256 anchors");
        memcpy(name, anchor, size);
        builder->anchors[builder->anchor_count++] = (struct anchor){name, node};
    }
    if (kind == NODE_SCALAR)
        return attach(builder, node);
    if (builder->depth == DEPTH_MAX)
        return fail(builder, "nested deeper than 32 levels");
    builder->open[builder->depth].node = node;
    builder->open[builder->depth].last = NULL;
    builder->depth++;
    return true;
}

static bool end_collection(struct builder *builder)
{
    builder->depth--;
    return attach(builder, builder->open[builder->depth].node);
}

static bool add_alias(struct builder *builder)
{
    const char *name = (const char *)builder->event.data.alias.anchor;
    for (uint32_t i = builder->anchor_count; i-- > 0;) {
        if (strcmp(builder->anchors[i].name, name) != 0)
            continue;
        struct node *node = builder->anchors[i].node;
        for (unsigned level = 0; level < builder->depth; level++)
            if (builder->open[level].node == node)
                return fail(builder, "this alias stands for something that it is itself a part of");
        return attach(builder, node);
    }
    const yaml_mark_t *mark = &builder->event.start_mark;
    problem_add(builder->problems, PROBLEM_ERROR, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1,
                "nothing is anchored as %s (a text that begins with * needs quotes)",
                quote(name, strlen(name)).text);
    builder->has_failed = true;
    return false;
}

static bool attach(struct builder *builder, struct node *node)
{
    if (builder->depth == 0) {
        builder->root = node;
        return true;
    }
    struct node *parent = builder->open[builder->depth - 1].node;
    parent->weight += node->weight;
    if (parent->weight > WEIGHT_MAX)
        return fail(builder, "more than a million values, aliases followed");
    struct child *child = get(builder, sizeof *child);
    if (!child)
        return fail_without_memory(builder);
    *child = (struct child){.node = node};
    if (builder->open[builder->depth - 1].last)
        builder->open[builder->depth - 1].last->next = child;
    else
        parent->children = child;
    builder->open[builder->depth - 1].last = child;
    return true;
}

static void *get(struct builder *builder, size_t size)
{
    size = (size + 7) / 8 * 8;
    if (size > BLOCK_BYTES / 4)
        return arena_get(builder->scratch, size);
    if (size > (size_t)(builder->block_end - builder->block)) {
        builder->block = arena_get(builder->scratch, BLOCK_BYTES);
        if (!builder->block) {
            builder->block_end = NULL;
            return NULL;
        }
        builder->block_end = builder->block + BLOCK_BYTES;
    }
    char *piece = builder->block;
    builder->block += size;
    return piece;
}

static bool fail(struct builder *builder, const char *text)
{
    const yaml_mark_t *mark = &builder->event.start_mark;
    problem_add(builder->problems, PROBLEM_ERROR, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1, "%s",
                text);
    builder->has_failed = true;
    return false;
}

static bool fail_without_memory(struct builder *builder)
{
    problem_add(builder->problems, PROBLEM_ERROR, 0, 0, "needs more memory than a rule file may have");
    builder->has_failed = true;
    return false;
}

static bool explain_syntax(struct builder *builder)
{
    const yaml_parser_t *parser = &builder->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return fail_without_memory(builder);
    builder->has_failed = true;
    const char *problem = parser->problem ? parser->problem : "it cannot be read";
    if (parser->error == YAML_READER_ERROR) {
        struct node place = offset_place(builder, parser->problem_offset);
        problem_add(builder->problems, PROBLEM_ERROR, place.line, place.column, "not valid text: %s",
                    problem);
        return false;
    }
    const yaml_mark_t *mark = &parser->problem_mark, *begin = &parser->context_mark;
    char c = parser->context ? *place_of(builder, begin->line, begin->column) : '\0';
    char hint[120];
    struct text text = text_begin(hint, sizeof hint);
    if (*place_of(builder, mark->line, mark->column) == '\t')
        text_add(&text, " (indent with spaces, not with tabs)");
    else if (c && (strchr("*&!@`%", c) || (c == ':' && strstr(parser->context, "node"))))
        text_add(&text, " (a text that begins with %c needs quotes)", c);
    else if (add_missing_space(&text, builder, mark->line) ||
             (mark->line > 0 && add_missing_space(&text, builder, mark->line - 1)))
        ;
    else if (strstr(problem, "mapping values") || strstr(problem, "'-' indicator") ||
             strstr(problem, "expected key"))
        text_add(&text, " (check the indentation: the keys of one mapping begin in the same column)");
    else if (parser->context)
        text_add(&text, " (%s that begins at %zu:%zu)", parser->context, begin->line + 1, begin->column + 1);
    problem_add(builder->problems, PROBLEM_ERROR, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1,
                "not valid YAML: %s%s", problem, hint);
    return false;
}

/* "connect:1s" or "-name: a", which are mere text to YAML. */
static bool add_missing_space(struct text *hint, const struct builder *builder, size_t line)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
    const char *at = place_of(builder, line, 0), *end = builder->text + builder->size;
    if (*at == '\0')
        return false; /* beyond the end */
    while (at < end && *at == ' ')
        at++;
    bool has_dash = at < end && *at == '-', is_apart = !has_dash || (at + 1 < end && at[1] == ' ');
    while (at < end && (*at == '-' || *at == ' '))
        at++;
    const char *word = at;
    while (at < end && *at && strchr(letters, *at))
        at++;
    if (at == word || at + 1 >= end || *at != ':')
        return false;
    if (is_apart && strchr(" \r\n\t", at[1]))
        return false;
    text_add(hint, " (line %zu needs a space after the %s)", line + 1, is_apart ? "colon" : "dash");
    return true;
}

/* What stands there; the end of the text where that is beyond it. */
static const char *place_of(const struct builder *builder, size_t line, size_t column)
{
    const char *at = builder->text, *end = builder->text + builder->size;
    for (; line > 0 && at < end; at++)
        line -= *at == '\n';
    for (; column > 0 && at < end; at++)
        column -= ((unsigned char)at[0] & 0xc0) != 0x80;
    return at < end ? at : "";
}

static struct node offset_place(const struct builder *builder, size_t offset)
{
    struct node place = {.line = 1, .column = 1};
    for (size_t i = 0; i < offset && i < builder->size; i++) {
        if (builder->text[i] == '\n') {
            place.line++;
            place.column = 1;
        } else {
            place.column += ((unsigned char)builder->text[i] & 0xc0) != 0x80;
        }
    }
    return place;
}

/* libyaml compares each %TAG with all before it: many of them would take hours. */
static bool has_directive(struct builder *builder)
{
    for (size_t i = 0; i + 4 <= builder->size; i++) {
        const char *found = memchr(builder->text + i, '%', builder->size - i - 3);
        if (!found)
            return false;
        i = (size_t)(found - builder->text);
        /* A line may also end in U+0085, U+2028 or U+2029. */
        if (memcmp(found, "%TAG", 4) != 0 || (i > 0 && !strchr("\n\r\x85\xa8\xa9", found[-1])))
            continue;
        struct node place = offset_place(builder, i);
        problem_add(builder->problems, PROBLEM_ERROR, place.line, place.column,
                    "tags (%%TAG) are not used in rule files");
        return true;
    }
    return false;
}
