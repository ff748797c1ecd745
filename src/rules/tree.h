/* A YAML text as a tree of nodes that know their place. Only what rule files need: one document, no tags. */
#ifndef RULES_TREE_H
#define RULES_TREE_H

#include "base/arena.h"
#include "rules/rules.h"

enum node_kind { NODE_SCALAR, NODE_SEQUENCE, NODE_MAPPING };

struct node {
    enum node_kind kind;
    bool is_plain;                /* a scalar without quotes */
    uint32_t line, column;        /* from 1 */
    uint32_t length;              /* of the text, in bytes */
    uint32_t weight;              /* nodes to visit here, aliases followed */
    const char *text;             /* of a scalar */
    const struct child *children; /* of a mapping: key, value, key, value... */
};

struct child {
    const struct node *node; /* an alias is the node that it stands for */
    const struct child *next;
};

/* The tree's memory, and libyaml's own where it does not use malloc, come from `scratch`. NULL after an error, which
 * is then among the problems. The tree has bounds on depth and, with aliases followed, on size: whoever walks it
 * needs none. */
const struct node *tree_read(const char *text, size_t size, struct arena *scratch, struct problems *problems);

/* Nothing is written: `key:`, `key: ~` or `key: null`. */
bool node_is_null(const struct node *node);

/* Is it this word? */
bool node_is(const struct node *node, const char *word);

#endif
