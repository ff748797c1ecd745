/* Inside the loader: from the tree of a rule file to rules. Each part adds its own problems and reads on as far as
 * it can, so that one pass finds as many as possible. */
#ifndef RULES_READER_H
#define RULES_READER_H

#include "base/arena.h"
#include "rules/keys.h"
#include "rules/problems.h"
#include "rules/sources.h"
#include "rules/tree.h"

enum section {
    SECTION_TIMEOUT,
    SECTION_RETRY,
    SECTION_BUDGET,
    SECTION_BREAKER,
    SECTION_FAILURE_RATE,
    SECTION_LIMIT,
    SECTION_COUNT,
};

/* What `defaults` or one rule says. */
struct settings {
    enum { SECTION_UNNAMED, SECTION_ON, SECTION_OFF } sections[SECTION_COUNT];
    struct place {
        uint32_t line, column;
    } limit; /* where it is named; line 0 after errors in it, of which one is enough */
    struct setting {
        bool is_set;
        uint32_t line, column;
        uint64_t value;
    } keys[KEY_COUNT_MAX], enforce;
};

/* Rules as they stand in one file. */
struct rule_list {
    struct rule_list *next;
    struct rule *rules;
    const struct node **names;
    uint32_t count;
};

struct reader {
    struct arena *arena;   /* of the rule set */
    struct arena *scratch; /* gone after loading */
    struct problems *problems;
    struct sources *sources; /* which files were looked at; NULL: nobody asks */
    struct rules_copy *copy; /* of the rule file itself; NULL: it is read */
    unsigned flags;
    bool is_out_of_memory;
    struct settings defaults; /* of the file that is being read */
    const char *path;         /* of that file */
    uint32_t file;            /* its number */
    uint32_t depth;           /* files that are being read around it */
    struct {
        struct file_identity identity;
        const char *path;
        bool is_being_read;
    } files[RULES_FILES_MAX + 1];
    uint32_t file_count; /* 0: what is read is text without a file */
    struct rule_list *first, *last;
    uint32_t rule_count;
    struct function_list *functions; /* in the order of reading */
    uint32_t function_count;
    struct fault_list {
        struct fault_list *next;
        const struct fault *fault;
        const struct node *name;
    } * first_fault, *last_fault; /* in the order of reading */
    uint32_t fault_count;
};

/* fields.c: mappings and scalars */

/* An error at the node. */
#define COMPLAIN(reader, node, ...)                                                                          \
    problem_add((reader)->problems, PROBLEM_ERROR, (node)->line, (node)->column, __VA_ARGS__)

/* Memory of the rule set, zeroed. NULL: noted, and reported at the end. */
void *reader_get(struct reader *reader, size_t size);

/* A copy of the text in it. */
const char *reader_text(struct reader *reader, const char *text);

/* The keys that a mapping may have. */
struct fields {
    const char *path;               /* "retry.budget"; "" at the top and in a rule */
    const char *const *names;       /* NULL at the end; at most FIELDS_MAX */
    const char *const *unsupported; /* known, but not to this version; NULL at the end */
};
enum { FIELDS_MAX = 32 };

/* Gives the value of each name, or NULL where it is missing. False when the node is no mapping. */
bool fields_read(struct reader *reader, const struct node *node, const struct fields *fields,
                 const struct node *values[FIELDS_MAX]);

/* The text of a scalar that says something; else complains about `path` and gives NULL. */
const char *scalar_text(struct reader *reader, const struct node *node, const char *path);

/* The items of a list, of which a scalar is one of one item. NULL, with a complaint, when it has none.
 *
 *     struct child single;
 *     for (const struct child *item = list_items(reader, node, path, &single); item; item = item->next) */
const struct child *list_items(struct reader *reader, const struct node *node, const char *path,
                               struct child *single);

/* read_value.c: one value of the table. False after a complaint. */
bool value_read(struct reader *reader, const struct node *node, uint32_t key, uint64_t *value);

/* A duration outside the table, and a ratio. */
bool duration_read(struct reader *reader, const struct node *node, const char *path, uint64_t *ns);
bool ratio_read(struct reader *reader, const struct node *node, const char *path, uint32_t *ratio_ppm);

/* file.c */

/* The text of a file that is fit to be read, in `memory`; NULL with the reason, for a message that names the file.
 * `identity` is that of the file if it could be opened at all. */
struct refusal {
    char text[160];
};
char *file_text(const char *path, struct arena *memory, size_t *size, struct file_identity *identity,
                struct refusal *refusal);

/* A text that was read before. It lives in its own memory. */
struct rules_copy {
    struct arena *memory;
    const char *text;
    size_t size;
    struct file_identity identity;
};

/* sections.c */

/* Reads one of the sections that may stand in a rule or in `defaults`. */
void section_read(struct reader *reader, const struct node *node, enum section section,
                  struct settings *settings);

/* Makes the values in force of what the rule and the defaults say; `origins` has room for every key. */
void settings_resolve(struct reader *reader, const struct settings *settings, struct policy *policy,
                      struct origin *origins);

/* degrade.c: the ladder of a rule; NULL where there is none, or after complaints. */
const struct ladder *degrade_read(struct reader *reader, const struct node *node);

/* degrade_lint.c: where a rung cannot serve, or nobody would notice. */
void degrade_lint(const struct rule *rule, struct problems *problems);

/* load.c */

/* The name of a rule, fault or function, in memory of the rule set, and the hash of it. NULL after a complaint. */
const char *name_read(struct reader *reader, const struct node *name, uint64_t *identity);

/* A hash of what has to be alike for processes to share its breaker. */
uint64_t rule_params_hash(const struct policy *policy);

/* function_read.c: `functions:` of one file; and of all files, once their rules are joined. */
void functions_read(struct reader *reader, const struct node *node);
void functions_join(struct reader *reader, struct ruleset *set);

/* fault_list.c: `faults`, and what is found in all files. */
void faults_read(struct reader *reader, const struct node *node);
void faults_join(struct reader *reader, struct ruleset *set);

/* Finds the names of all fallback hosts. */
void fallback_names_join(struct reader *reader, struct ruleset *set);

/* match.c */
void match_read(struct reader *reader, const struct node *node, struct rule_match *match);

/* index.c */
const struct index *index_build(struct reader *reader, const struct ruleset *set);

#endif
