/* Rule files, as commands name and load them. */
#ifndef RESIL_RULE_FILE_H
#define RESIL_RULE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

#include "rules/rules.h"

/* What stands for the rules that are compiled in, wherever a rule file is asked for. */
#define BUILT_IN "built-in"

struct rule_file {
    char path[PATH_MAX]; /* as it was named, or where it was found; BUILT_IN */
    bool is_built_in;
};

/* The named one; for NULL the one that programs would use now. */
void rule_file_find(const char *name, struct rule_file *file);

/* The name by which its shared state goes: absolute, without symbolic links if it exists. */
void rule_file_canonical(const struct rule_file *file, char canonical[PATH_MAX]);

/* Without symbolic links resolved; false when it would be too long. */
bool path_make_absolute(const char *path, char absolute[PATH_MAX]);

/* With where each value comes from. NULL when it has errors. */
struct ruleset *rule_file_load(const struct rule_file *file, struct problems *problems);

/* "F:12:18: error: text" for each, errors only if asked. Says so when there are more than were kept. */
void problems_print(const char *path, const struct problems *problems, bool are_warnings_wanted, FILE *to);

/* The same for machines, with warnings. */
struct json_object;
struct json_object *problems_report(const char *path, const struct problems *problems);

/* Its connects take no time, then. */
bool rule_is_for_udp_only(const struct rule *rule);

/* "1 error", "2 errors" */
struct counted {
    char text[48];
};
struct counted counted(unsigned long number, const char *what);

#endif
