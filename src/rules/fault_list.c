/* The faults of a rule file and of those that it includes. */
#include <string.h>

#include "rules/fault_names.h"
#include "rules/fault_read.h"

void faults_read(struct reader *reader, const struct node *node)
{
    if (node_is_null(node))
        return;
    if (node->kind != NODE_SEQUENCE) {
        COMPLAIN(reader, node, "faults: must be a list (- name: ...)");
        return;
    }
    for (const struct child *child = node->children; child && !reader->is_out_of_memory;
         child = child->next) {
        if (reader->fault_count == FAULTS_MAX) {
            COMPLAIN(reader, child->node, "faults: more than %u of them", FAULTS_MAX);
            return;
        }
        struct fault *fault = reader_get(reader, sizeof *fault);
        struct fault_list *item = arena_get(reader->scratch, sizeof *item);
        reader->is_out_of_memory |= !item;
        if (reader->is_out_of_memory)
            return;
        *item = (struct fault_list){.fault = fault, .name = fault_read(reader, child->node, fault)};
        if (reader->last_fault)
            reader->last_fault->next = item;
        else
            reader->first_fault = item;
        reader->last_fault = item;
        reader->fault_count++;
    }
}

/* A name that is taken. It may stand in a file that was read long ago. */
#define COMPLAIN_OF_NAME(reader, item, ...)                                                                  \
    do {                                                                                                     \
        (reader)->problems->now.path = (item)->fault->file ? (item)->fault->path : NULL;                     \
        (reader)->problems->now.file = (item)->fault->file;                                                  \
        COMPLAIN(reader, (item)->name, __VA_ARGS__);                                                         \
    } while (0)

/* No two of one name: they are switched and reported by it. */
static void check_name(struct reader *reader, const struct ruleset *set, const struct fault_list *item)
{
    for (uint32_t i = 0; item->name && i < set->function_count; i++) {
        const struct function *function = &set->functions[i];
        if (!function->faults.is_given || function->rule.identity != item->fault->params.identity)
            continue;
        COMPLAIN_OF_NAME(reader, item, "name: the faults of the function on line %u go by its name \"%s\"",
                         function->rule.line, item->fault->name);
        return;
    }
    for (const struct fault_list *other = reader->first_fault; other != item; other = other->next) {
        if (!item->name || !other->name || strcmp(other->fault->name, item->fault->name) != 0)
            continue;
        COMPLAIN_OF_NAME(reader, item, "name: the fault on line %u is called \"%s\" too", other->fault->line,
                         item->fault->name);
        return;
    }
}

void faults_join(struct reader *reader, struct ruleset *set)
{
    struct fault *faults = reader_get(reader, reader->fault_count * sizeof *faults);
    if (!faults)
        return;
    for (const struct fault_list *item = reader->first_fault; item; item = item->next) {
        check_name(reader, set, item);
        faults[set->fault_count] = *item->fault;
        set->fault_protocols |= item->fault->match.protocols;
        set->is_any_host |= item->fault->match.host_count != 0;
        set->fault_count++;
    }
    set->faults = faults;
    if (reader->fault_count && fault_names(set) > FAULTS_MAX && reader->last_fault->name)
        COMPLAIN_OF_NAME(reader, reader->last_fault, "faults: more than %u of them, with those of functions",
                         FAULTS_MAX);
}
