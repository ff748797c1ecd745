/* Reads `degrade`: the rungs of a rule's ladder, in the order in which they are tried. */
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "rules/reader.h"
#include "rules/units.h"

#define NAME_MAX_BYTES     253 /* of a host name, and of one label: RFC 1035 */
#define LABEL_MAX_BYTES    63
#define CANNED_MAX_BYTES   (128u << 10) /* what a socket's buffer holds */
#define ADDRESSES_MAX_KEPT 16
#define MAX_AGE_NS         (24 * 3600 * NS_PER_S)
#define AFTER_NS           (1800 * NS_PER_MS)

static void rung_read(struct reader *reader, const struct node *node, struct ladder *ladder);
static bool hosts_read(struct reader *reader, const struct node *node, struct ladder *ladder,
                       struct rung *rung);
static bool host_read(struct reader *reader, const struct node *node, struct fallback *host);
static bool host_name_read(struct reader *reader, const struct node *node, const char *text, size_t length,
                           struct fallback *host);
static bool present_read(struct reader *reader, const struct node *node, struct rung *rung);
static bool stale_read(struct reader *reader, const struct node *node, struct rung *rung);
static bool respond_read(struct reader *reader, const struct node *node, struct rung *rung);
static bool canned_read(struct reader *reader, const struct node *text, const struct node *file,
                        struct rung *rung);
static bool canned_file_read(struct reader *reader, const struct node *node, struct rung *rung);
static bool ends_connection(const struct canned *canned);
static bool defaults_read(struct reader *reader, const struct node *node, struct rung *rung);
static bool time_read(struct reader *reader, const struct node *node, const char *path, uint64_t most_ns,
                      uint64_t *ns);
static void hash_add(struct ladder *ladder, const void *bytes, size_t size);
static void hash_ladder(struct ladder *ladder);

#define QUOTED(node) quote((node)->text, (node)->length).text

const struct ladder *degrade_read(struct reader *reader, const struct node *node)
{
    if (node_is(node, "off"))
        return NULL;
    if (node->kind != NODE_SEQUENCE || !node->children) {
        COMPLAIN(reader, node,
                 "degrade: must be a list of rungs (- host: ..., - stale: ..., - respond: ..., "
                 "- addresses: ...), or off");
        return NULL;
    }
    struct ladder *ladder = reader_get(reader, sizeof *ladder);
    uint32_t errors = reader->problems->errors;
    for (const struct child *child = node->children; ladder && child; child = child->next) {
        if (ladder->shape.count == LADDER_RUNGS_MAX) {
            COMPLAIN(reader, child->node, "degrade: more than %u rungs", LADDER_RUNGS_MAX);
            break;
        }
        rung_read(reader, child->node, ladder);
    }
    if (!ladder || reader->problems->errors != errors)
        return NULL;
    hash_ladder(ladder);
    return ladder;
}

static void rung_read(struct reader *reader, const struct node *node, struct ladder *ladder)
{
    static const char *const names[] = {"host", "stale", "respond", "addresses", "present", "stick", NULL};
    static const enum rung_kind kinds[] = {RUNG_HOST, RUNG_STALE, RUNG_RESPOND, RUNG_ADDRESSES};
    const struct fields fields = {.path = "degrade", .names = names};
    const struct node *values[FIELDS_MAX];
    uint32_t errors = reader->problems->errors;
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node, "degrade: a rung is a mapping (- host: backup.internal:443)");
        return;
    }
    unsigned named = 0, which = 0;
    for (unsigned i = 0; i < 4; i++) {
        named += values[i] != NULL;
        which = values[i] ? i : which;
    }
    if (named != 1 && reader->problems->errors != errors)
        return; /* the word that is not known was meant for one */
    if (named != 1) {
        COMPLAIN(reader, node,
                 "degrade: each rung is one of host, stale, respond, addresses (begin each with a dash)");
        return;
    }
    for (unsigned i = 4; i < 6; i++)
        if (values[i] && which != 0)
            COMPLAIN(reader, values[i], "degrade.%s: belongs to host", names[i]);
    struct rung *rung = &ladder->rungs[ladder->shape.count];
    rung->line = node->line;
    rung->column = node->column;
    ladder->shape.rungs[ladder->shape.count].kind = kinds[which];
    ladder->shape.rungs[ladder->shape.count].choices = 1;
    bool is_read = which == 0   ? hosts_read(reader, values[0], ladder, rung)
                   : which == 1 ? stale_read(reader, values[1], rung)
                   : which == 2 ? respond_read(reader, values[2], rung)
                                : defaults_read(reader, values[3], rung);
    if (which == 0 && values[4])
        is_read &= present_read(reader, values[4], rung);
    if (which == 0 && values[5])
        is_read &= time_read(reader, values[5], "degrade.stick", 24 * 3600 * NS_PER_S, &rung->stick_ns);
    ladder->shape.count += is_read;
}

static bool hosts_read(struct reader *reader, const struct node *node, struct ladder *ladder,
                       struct rung *rung)
{
    struct child single;
    struct fallback *hosts = reader_get(reader, LADDER_CHOICES_MAX * sizeof *hosts);
    uint32_t count = 0;
    bool is_good = hosts != NULL;
    for (const struct child *item = list_items(reader, node, "degrade.host", &single); item && hosts;
         item = item->next) {
        if (count == LADDER_CHOICES_MAX) {
            COMPLAIN(reader, item->node, "degrade.host: more than %u hosts in one rung", LADDER_CHOICES_MAX);
            return false;
        }
        is_good &= host_read(reader, item->node, &hosts[count]);
        count += is_good;
    }
    rung->hosts = hosts;
    ladder->shape.rungs[ladder->shape.count].choices = count;
    return is_good && count;
}

/* "backup.internal:443", "10.0.0.9", "[::1]:443" */
static bool host_read(struct reader *reader, const struct node *node, struct fallback *host)
{
    const char *text = scalar_text(reader, node, "degrade.host");
    if (!text)
        return false;
    if (address_parse(text, &host->address))
        return true;
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : node->length;
    if (colon) {
        uint32_t port;
        if (!count_parse(colon + 1, &port) || port == 0 || port > UINT16_MAX) {
            COMPLAIN(reader, node, "degrade.host: %s has no port from 1 to 65535 behind its colon",
                     QUOTED(node));
            return false;
        }
        host->port = (uint16_t)port;
    }
    char *alone = arena_copy(reader->scratch, text, length);
    if (alone && address_parse(alone, &host->address)) {
        bool is_ambiguous = strchr(alone, ':') && alone[0] != '[';
        if (is_ambiguous)
            COMPLAIN(reader, node, "degrade.host: %s needs brackets around the address (write [%s]:%u)",
                     QUOTED(node), alone, host->port);
        return !is_ambiguous;
    }
    return host_name_read(reader, node, text, length, host);
}

static bool host_name_read(struct reader *reader, const struct node *node, const char *text, size_t length,
                           struct fallback *host)
{
    if (length && text[length - 1] == '.')
        length--;
    bool is_name = length > 0 && length <= NAME_MAX_BYTES, has_letter = false;
    char *name = reader_get(reader, length + 1);
    for (size_t i = 0, label = 0; name && i < length; i++) {
        char c = text[i];
        name[i] = (char)(c >= 'A' && c <= 'Z' ? c + 0x20 : c);
        bool is_letter = (name[i] >= 'a' && name[i] <= 'z') || c == '-' || c == '_';
        has_letter |= is_letter;
        label = c == '.' ? 0 : label + 1;
        bool ends_label = c == '.' && (i == 0 || text[i - 1] == '.');
        is_name &=
            (is_letter || c == '.' || (c >= '0' && c <= '9')) && label <= LABEL_MAX_BYTES && !ends_label;
    }
    if (!is_name || !has_letter) {
        COMPLAIN(reader, node,
                 "degrade.host: %s is no host (write backup.internal:443, 10.0.0.9:443 or [::1]:443)",
                 QUOTED(node));
        return false;
    }
    host->name = name;
    return name != NULL;
}

static bool present_read(struct reader *reader, const struct node *node, struct rung *rung)
{
    if (!scalar_text(reader, node, "degrade.present"))
        return false;
    rung->presents_real = node_is(node, "real");
    if (rung->presents_real || node_is(node, "asked"))
        return true;
    COMPLAIN(reader, node, "degrade.present: %s is no choice (known: asked, real)", QUOTED(node));
    return false;
}

static bool stale_read(struct reader *reader, const struct node *node, struct rung *rung)
{
    static const char *const names[] = {"max_age", "after", NULL};
    const struct fields fields = {.path = "degrade.stale", .names = names};
    const struct node *values[FIELDS_MAX] = {NULL};
    rung->stale = (struct stale_params){MAX_AGE_NS, AFTER_NS, STALE_ASK_EVERY_NS};
    if (node_is_null(node))
        return true;
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node,
                 "degrade.stale: needs max_age or after below it, or nothing (the usual figures)");
        return false;
    }
    bool is_good = true;
    if (values[0])
        is_good &=
            time_read(reader, values[0], "degrade.stale.max_age", 30 * MAX_AGE_NS, &rung->stale.max_age_ns);
    if (values[1])
        is_good &=
            time_read(reader, values[1], "degrade.stale.after", 3600 * NS_PER_S, &rung->stale.after_ns);
    return is_good;
}

static bool respond_read(struct reader *reader, const struct node *node, struct rung *rung)
{
    static const char *const names[] = {"text", "file", "when", "delay", NULL};
    const struct fields fields = {.path = "degrade.respond", .names = names};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node,
                 "degrade.respond: needs text or file below it (respond: {file: canned/503.http})");
        return false;
    }
    if (!values[0] == !values[1]) {
        COMPLAIN(reader, node, "degrade.respond: needs either text or file");
        return false;
    }
    if (!canned_read(reader, values[0], values[1], rung))
        return false;
    if (values[3] && !time_read(reader, values[3], "degrade.respond.delay", 60 * NS_PER_S, &rung->delay_ns))
        return false;
    rung->hangs_up = true;
    if (!values[2])
        return true;
    if (!scalar_text(reader, values[2], "degrade.respond.when"))
        return false;
    rung->awaits_request = node_is(values[2], "request");
    rung->hangs_up = !rung->awaits_request || ends_connection(&rung->canned);
    if (rung->awaits_request || node_is(values[2], "connect"))
        return true;
    COMPLAIN(reader, values[2], "degrade.respond.when: %s is no moment (known: connect, request)",
             QUOTED(values[2]));
    return false;
}

static bool canned_read(struct reader *reader, const struct node *text, const struct node *file,
                        struct rung *rung)
{
    if (file)
        return canned_file_read(reader, file, rung);
    if (text->kind != NODE_SCALAR || node_is_null(text) || text->length == 0) {
        COMPLAIN(reader, text,
                 "degrade.respond.text: needs the bytes to say (an empty answer: addresses or host)");
        return false;
    }
    if (text->length > CANNED_MAX_BYTES) {
        COMPLAIN(reader, text, "degrade.respond.text: is larger than 128 KiB");
        return false;
    }
    rung->canned.bytes = arena_copy(reader->arena, text->text, text->length);
    rung->canned.length = (uint32_t)text->length;
    reader->is_out_of_memory |= !rung->canned.bytes;
    return rung->canned.bytes != NULL;
}

/* An HTTP answer whose end only the end of the connection tells, or that says so. */
static bool ends_connection(const struct canned *canned)
{
    static const char *const lengths[] = {"\r\ncontent-length:", "\r\ntransfer-encoding:"};
    char head[2048];
    size_t length = canned->length < sizeof head - 1 ? canned->length : sizeof head - 1;
    if (length < 5 || memcmp(canned->bytes, "HTTP/", 5) != 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = canned->bytes[i];
        head[i] = (char)(c >= 'A' && c <= 'Z' ? c + 0x20 : c);
    }
    head[length] = '\0';
    char *body = strstr(head, "\r\n\r\n");
    if (body)
        *body = '\0';
    return strstr(head, "\r\nconnection: close") || (!strstr(head, lengths[0]) && !strstr(head, lengths[1]));
}

/* Beside the rule file, and trusted no less and no more than that. */
static bool canned_file_read(struct reader *reader, const struct node *node, struct rung *rung)
{
    const char *name = scalar_text(reader, node, "degrade.respond.file");
    if (!name)
        return false;
    const char *slash = strrchr(reader->path, '/');
    size_t folder = *name == '/' || !slash ? 0 : (size_t)(slash + 1 - reader->path);
    char *path = reader_get(reader, folder + node->length + 1);
    struct arena *memory = arena_open(RULES_SIZE_MAX + 4096);
    struct refusal refusal = {""};
    struct file_identity identity;
    size_t size = 0;
    const char *text = NULL;
    if (path && memory) {
        memcpy(path, reader->path, folder);
        memcpy(path + folder, name, node->length);
        text = file_text(path, memory, &size, &identity, &refusal);
        if (reader->sources)
            sources_add(reader->sources, path, &identity);
    }
    if (!text)
        COMPLAIN(reader, node, "degrade.respond.file: %s %s", QUOTED(node), refusal.text);
    else if (size == 0 || size > CANNED_MAX_BYTES)
        COMPLAIN(reader, node, "degrade.respond.file: %s %s", QUOTED(node),
                 size ? "is larger than 128 KiB" : "is empty");
    bool is_good = text && size && size <= CANNED_MAX_BYTES;
    if (is_good) {
        rung->canned.bytes = arena_copy(reader->arena, text, size);
        rung->canned.length = (uint32_t)size;
        rung->file = path;
        reader->is_out_of_memory |= !rung->canned.bytes;
    }
    arena_close(memory);
    return is_good && rung->canned.bytes;
}

static bool defaults_read(struct reader *reader, const struct node *node, struct rung *rung)
{
    struct child single;
    struct address *addresses = reader_get(reader, ADDRESSES_MAX_KEPT * sizeof *addresses);
    uint32_t count = 0;
    bool is_good = addresses != NULL;
    for (const struct child *item = list_items(reader, node, "degrade.addresses", &single); item && is_good;
         item = item->next) {
        const char *text = scalar_text(reader, item->node, "degrade.addresses");
        if (!text)
            return false;
        if (count == ADDRESSES_MAX_KEPT) {
            COMPLAIN(reader, item->node, "degrade.addresses: more than %u addresses", ADDRESSES_MAX_KEPT);
            return false;
        }
        is_good = address_parse(text, &addresses[count]);
        if (!is_good)
            COMPLAIN(reader, item->node, "degrade.addresses: %s is no address (write 10.0.0.9 or fd00::9)",
                     QUOTED(item->node));
        count++;
    }
    rung->addresses = addresses;
    rung->address_count = count;
    return is_good && count;
}

static bool time_read(struct reader *reader, const struct node *node, const char *path, uint64_t most_ns,
                      uint64_t *ns)
{
    if (!duration_read(reader, node, path, ns))
        return false;
    if (*ns && *ns <= most_ns)
        return true;
    if (*ns)
        COMPLAIN(reader, node, "%s: %s is too large (at most %s)", path, QUOTED(node),
                 duration_text(most_ns).text);
    else
        COMPLAIN(reader, node, "%s: no time at all means nothing here (leave it out)", path);
    return false;
}

/* Ladders with the same are the same: processes keep one copy of them (state/ladders.h). */
static void hash_ladder(struct ladder *ladder)
{
    hash_add(ladder, &ladder->shape, sizeof ladder->shape);
    for (uint32_t i = 0; i < ladder->shape.count; i++) {
        const struct rung *rung = &ladder->rungs[i];
        const uint64_t values[] = {rung->stick_ns,       rung->presents_real, rung->stale.max_age_ns,
                                   rung->stale.after_ns, rung->delay_ns,      rung->awaits_request};
        hash_add(ladder, values, sizeof values);
        for (uint32_t n = 0; rung->hosts && n < ladder->shape.rungs[i].choices; n++) {
            const struct fallback *host = &rung->hosts[n];
            hash_add(ladder, &host->port, sizeof host->port);
            hash_add(ladder, host->address.bytes, sizeof host->address.bytes);
            hash_add(ladder, host->name ? host->name : "", host->name ? strlen(host->name) : 0);
        }
        hash_add(ladder, rung->addresses, rung->address_count * sizeof *rung->addresses);
        hash_add(ladder, rung->canned.bytes, rung->canned.length);
    }
}

static void hash_add(struct ladder *ladder, const void *bytes, size_t size)
{
    ladder->hash = hash_bytes(bytes ? bytes : "", size, ladder->hash + 1);
}
