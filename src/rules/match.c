/* Reads `match`: which targets and programs a rule is for. */
#include <string.h>

#include "rules/reader.h"
#include "rules/units.h"

#define NAME_MAX_BYTES  253 /* of a host name, and of one label: RFC 1035 */
#define LABEL_MAX_BYTES 63
#define PLAIN_NAME      "letters, digits, - and _, between single dots"

/* The lists of a rule_match while they grow. */
struct growing {
    struct host_pattern *hosts;
    struct prefix *prefixes;
    struct port_range *ports;
    const char **programs;
    const char **paths;
};

static void hosts_read(struct reader *reader, const struct node *node, struct rule_match *match,
                       struct growing *lists);
static void host_read(struct reader *reader, const struct node *node, struct rule_match *match,
                      struct growing *lists);
static void addresses_read(struct reader *reader, const struct node *node, struct rule_match *match,
                           struct growing *lists);
static void ports_read(struct reader *reader, const struct node *node, struct rule_match *match,
                       struct growing *lists);
static void programs_read(struct reader *reader, const struct node *node, struct rule_match *match,
                          struct growing *lists);
static void paths_read(struct reader *reader, const struct node *node, struct rule_match *match,
                       struct growing *lists);
static void protocols_read(struct reader *reader, const struct node *node, struct rule_match *match);
static void check_alone(struct reader *reader, const struct node *const *values, const char *const *names);
static bool is_host_name(struct reader *reader, const struct node *node);
static uint32_t count_of(const struct node *node);

#define QUOTED(node) quote((node)->text, (node)->length).text

void match_read(struct reader *reader, const struct node *node, struct rule_match *match)
{
    static const char *const names[] = {"host", "address", "port", "program", "unix", "protocol", NULL};
    const struct fields fields = {.path = "match", .names = names};
    const struct node *values[FIELDS_MAX];
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node,
                 "match: needs host, address, port, program, unix or protocol (write match: {} for every TCP "
                 "target)");
        return;
    }
    /* A literal address under `host` becomes a prefix. */
    uint32_t host_room = count_of(values[0]), prefix_room = host_room + count_of(values[1]);
    struct growing lists = {
        .hosts = reader_get(reader, host_room * sizeof *lists.hosts),
        .prefixes = reader_get(reader, prefix_room * sizeof *lists.prefixes),
        .ports = reader_get(reader, count_of(values[2]) * sizeof *lists.ports),
        .programs = reader_get(reader, count_of(values[3]) * sizeof *lists.programs),
    };
    lists.paths = reader_get(reader, count_of(values[4]) * sizeof *lists.paths);
    if (reader->is_out_of_memory)
        return;
    match->protocols = PROTOCOL_BIT(values[4] ? PROTOCOL_UNIX : PROTOCOL_TCP);
    if (values[4])
        check_alone(reader, values, names);
    if (values[0])
        hosts_read(reader, values[0], match, &lists);
    if (values[1])
        addresses_read(reader, values[1], match, &lists);
    if (values[2])
        ports_read(reader, values[2], match, &lists);
    if (values[3])
        programs_read(reader, values[3], match, &lists);
    if (values[4])
        paths_read(reader, values[4], match, &lists);
    else if (values[5])
        protocols_read(reader, values[5], match);
    match->hosts = lists.hosts;
    match->prefixes = lists.prefixes;
    match->ports = lists.ports;
    match->programs = lists.programs;
    match->paths = lists.paths;
}

static uint32_t count_of(const struct node *node)
{
    uint32_t count = 0;
    if (!node || node->kind != NODE_SEQUENCE)
        return node != NULL;
    for (const struct child *child = node->children; child; child = child->next)
        count++;
    return count;
}

static void hosts_read(struct reader *reader, const struct node *node, struct rule_match *match,
                       struct growing *lists)
{
    struct child single;
    for (const struct child *item = list_items(reader, node, "match.host", &single); item; item = item->next)
        if (scalar_text(reader, item->node, "match.host"))
            host_read(reader, item->node, match, lists);
}

static void host_read(struct reader *reader, const struct node *node, struct rule_match *match,
                      struct growing *lists)
{
    struct prefix *prefix = &lists->prefixes[match->prefix_count];
    if (!strchr(node->text, '/') && prefix_parse(node->text, prefix)) {
        match->prefix_count++;
        return;
    }
    if (!is_host_name(reader, node))
        return;
    struct host_pattern *host = &lists->hosts[match->host_count];
    const char *text = node->text;
    size_t length = node->length;
    host->line = node->line;
    host->is_suffix = text[0] == '*';
    if (host->is_suffix) {
        size_t skipped = length > 1 ? 2 : 1;
        text += skipped;
        length -= skipped;
    }
    if (length && text[length - 1] == '.')
        length--;
    char *name = reader_get(reader, length + 1);
    if (!name)
        return;
    for (size_t i = 0; i < length; i++)
        name[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 0x20 : text[i]);
    host->name = name;
    host->length = (uint16_t)length;
    match->host_count++;
}

static bool is_name_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* Else complains, with the remedy for what people write most. */
static bool is_host_name(struct reader *reader, const struct node *node)
{
    const char *text = node->text, *remedy = NULL;
    struct prefix prefix;
    if (strcmp(text, "*") == 0)
        return true;
    if (strstr(text, "://"))
        remedy = "write the name only, without scheme and path";
    else if (prefix_parse_loosely(text, &prefix))
        remedy = "a network goes under match.address";
    else if (strchr(text, ':'))
        remedy = "a port goes under match.port";
    else if (strncmp(text, "*.", 2) == 0)
        text += 2;
    if (!remedy && strchr(text, '*'))
        remedy = "a star stands for whole labels in front: \"*.example.com\"";
    size_t length = 0, label = 0; /* of the current label */
    bool is_number = true, has_dot = false;
    for (const char *at = text; *at && !remedy; at++, length++) {
        if (*at == '.') {
            if (label == 0)
                remedy = PLAIN_NAME;
            if (!at[1])
                break;
            label = 0;
            is_number = has_dot = true;
        } else if ((unsigned char)*at >= 0x80) {
            remedy = "write it in punycode: xn--...";
        } else if (!is_name_byte(*at)) {
            remedy = PLAIN_NAME;
        } else if (++label > LABEL_MAX_BYTES) {
            remedy = "a part between dots is longer than 63 bytes";
        } else {
            is_number &= *at >= '0' && *at <= '9';
        }
    }
    if (!remedy && length > NAME_MAX_BYTES)
        remedy = "longer than 253 bytes";
    if (!remedy && label == 0)
        remedy = "it is empty";
    if (!remedy && has_dot && is_number)
        remedy = "nor an address: it ends in a number";
    if (remedy)
        COMPLAIN(reader, node, "match.host: %s is not a host name (%s)", QUOTED(node), remedy);
    return !remedy;
}

static void addresses_read(struct reader *reader, const struct node *node, struct rule_match *match,
                           struct growing *lists)
{
    struct child single;
    for (const struct child *item = list_items(reader, node, "match.address", &single); item;
         item = item->next) {
        struct prefix *prefix = &lists->prefixes[match->prefix_count];
        const char *text = scalar_text(reader, item->node, "match.address");
        if (!text)
            continue;
        if (prefix_parse(text, prefix))
            match->prefix_count++;
        else if (prefix_parse_loosely(text, prefix))
            COMPLAIN(reader, item->node, "match.address: %s has bits set beyond its length (write %s)",
                     QUOTED(item->node), prefix_text(prefix).text);
        else if (strchr(text, '%'))
            COMPLAIN(reader, item->node, "match.address: %s has a zone (write it without %s)",
                     QUOTED(item->node), quote(strchr(text, '%'), strlen(strchr(text, '%'))).text);
        else
            COMPLAIN(reader, item->node,
                     "match.address: %s is not an address (write 10.1.0.0/16 or fd00::/8; a name goes under "
                     "match.host)",
                     QUOTED(item->node));
    }
}

static void ports_read(struct reader *reader, const struct node *node, struct rule_match *match,
                       struct growing *lists)
{
    struct child single;
    for (const struct child *item = list_items(reader, node, "match.port", &single); item;
         item = item->next) {
        const char *text = scalar_text(reader, item->node, "match.port");
        if (!text)
            continue;
        char first_text[8] = "";
        size_t first_length = strcspn(text, "-");
        const char *last_text = text[first_length] ? text + first_length + 1 : text;
        if (first_length < sizeof first_text)
            memcpy(first_text, text, first_length);
        uint32_t first, last;
        if (!count_parse(first_text, &first) || !count_parse(last_text, &last))
            COMPLAIN(reader, item->node, "match.port: %s is not a port (write 443 or 8000-8100)",
                     QUOTED(item->node));
        else if (first == 0 || first > UINT16_MAX || last == 0 || last > UINT16_MAX)
            COMPLAIN(reader, item->node, "match.port: %s is not a port (1 to 65535)", QUOTED(item->node));
        else if (first > last)
            COMPLAIN(reader, item->node, "match.port: %s runs backwards (write %u-%u)", QUOTED(item->node),
                     last, first);
        else
            lists->ports[match->port_count++] = (struct port_range){(uint16_t)first, (uint16_t)last};
    }
}

static void programs_read(struct reader *reader, const struct node *node, struct rule_match *match,
                          struct growing *lists)
{
    struct child single;
    for (const struct child *item = list_items(reader, node, "match.program", &single); item;
         item = item->next) {
        const char *text = scalar_text(reader, item->node, "match.program");
        if (!text)
            continue;
        const char *slash = strrchr(text, '/');
        if (slash) {
            COMPLAIN(reader, item->node,
                     "match.program: %s is a path; only the file name is compared (write %s)",
                     QUOTED(item->node), quote(slash + 1, strlen(slash + 1)).text);
            continue;
        }
        char *copy = arena_copy(reader->arena, text, item->node->length);
        if (!copy)
            reader->is_out_of_memory = true;
        else
            lists->programs[match->program_count++] = copy;
    }
}

static void paths_read(struct reader *reader, const struct node *node, struct rule_match *match,
                       struct growing *lists)
{
    struct child single;
    for (const struct child *item = list_items(reader, node, "match.unix", &single); item;
         item = item->next) {
        const char *text = scalar_text(reader, item->node, "match.unix");
        char *copy = text ? arena_copy(reader->arena, text, item->node->length) : NULL;
        if (copy)
            lists->paths[match->path_count++] = copy;
        else
            reader->is_out_of_memory |= text != NULL;
    }
}

static void protocols_read(struct reader *reader, const struct node *node, struct rule_match *match)
{
    static const char *const names[] = {[PROTOCOL_TCP] = "tcp", [PROTOCOL_UDP] = "udp"};
    struct child single;
    match->protocols = 0;
    for (const struct child *item = list_items(reader, node, "match.protocol", &single); item;
         item = item->next) {
        if (!scalar_text(reader, item->node, "match.protocol"))
            continue;
        unsigned protocol = 0;
        while (protocol <= PROTOCOL_UDP && !node_is(item->node, names[protocol]))
            protocol++;
        if (protocol <= PROTOCOL_UDP)
            match->protocols |= PROTOCOL_BIT(protocol);
        else if (node_is(item->node, "unix"))
            COMPLAIN(reader, item->node,
                     "match.protocol: UNIX sockets go by their path (write unix: /run/*.sock)");
        else
            COMPLAIN(reader, item->node, "match.protocol: %s is not a protocol (known: tcp, udp)",
                     QUOTED(item->node));
    }
}

/* What a UNIX socket has not. */
static void check_alone(struct reader *reader, const struct node *const *values, const char *const *names)
{
    static const unsigned others[] = {0, 1, 2, 5};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (values[others[i]])
            COMPLAIN(
                reader, values[others[i]],
                "match.%s: a UNIX socket has none, so with match.unix this rule never matches (write two "
                "rules)",
                names[others[i]]);
}
