#include "rule_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_out.h"
#include "state/current.h"

static bool is_shown(const struct problem *problem, bool are_warnings_wanted);

void rule_file_find(const char *name, struct rule_file *file)
{
    bool is_named;
    file->is_built_in = name && strcmp(name, BUILT_IN) == 0;
    if (name)
        snprintf(file->path, sizeof file->path, "%s", name);
    else if (!rules_find_file(file->path, sizeof file->path, &is_named))
        file->is_built_in = true;
    if (file->is_built_in)
        strcpy(file->path, BUILT_IN);
}

void rule_file_canonical(const struct rule_file *file, char canonical[PATH_MAX])
{
    if (file->is_built_in)
        strcpy(canonical, BUILT_IN);
    else if (!realpath(file->path, canonical) && !path_make_absolute(file->path, canonical))
        snprintf(canonical, PATH_MAX, "%s", file->path);
}

bool path_make_absolute(const char *path, char absolute[PATH_MAX])
{
    size_t length = 0;
    absolute[0] = '\0';
    if (path[0] != '/') {
        if (!getcwd(absolute, PATH_MAX))
            return false;
        length = strlen(absolute);
        if (length > 1 && length + 1 < PATH_MAX) {
            absolute[length++] = '/';
            absolute[length] = '\0';
        }
    }
    if (length + strlen(path) >= PATH_MAX)
        return false;
    strcpy(absolute + length, path);
    return true;
}

struct ruleset *rule_file_load(const struct rule_file *file, struct problems *problems)
{
    return file->is_built_in ? ruleset_builtin(LOAD_ORIGINS, problems)
                             : ruleset_load(file->path, LOAD_ORIGINS, problems);
}

void problems_print(const char *path, const struct problems *problems, bool are_warnings_wanted, FILE *to)
{
    uint32_t shown = 0;
    for (uint32_t i = 0; i < problems->count; i++) {
        const struct problem *problem = &problems->items[i];
        if (!is_shown(problem, are_warnings_wanted))
            continue;
        shown++;
        fprintf(to, "%s:", *problem->path ? problem->path : path);
        if (problem->line)
            fprintf(to, "%u:%u:", problem->line, problem->column);
        fprintf(to, " %s: %s\n", problem->kind == PROBLEM_ERROR ? "error" : "warning", problem->text);
    }
    uint32_t all = problems->errors + (are_warnings_wanted ? problems->warnings : 0);
    if (all > shown)
        fprintf(to, "%s: and %u more (mend these first)\n", path, all - shown);
}

struct json_object *problems_report(const char *path, const struct problems *problems)
{
    struct json_object *report = json_object_new_array();
    for (uint32_t i = 0; i < problems->count; i++) {
        const struct problem *problem = &problems->items[i];
        struct json_object *item = json_new();
        json_add_text(item, "severity", problem->kind == PROBLEM_ERROR ? "error" : "warning");
        json_add_text(item, "file", *problem->path ? problem->path : path);
        json_add_number(item, "line", problem->line);
        json_add_number(item, "column", problem->column);
        json_add_text(item, "text", problem->text);
        json_object_array_add(report, item);
    }
    return report;
}

bool rule_is_for_udp_only(const struct rule *rule)
{
    return rule->match.protocols == PROTOCOL_BIT(PROTOCOL_UDP);
}

struct counted counted(unsigned long number, const char *what)
{
    struct counted result;
    snprintf(result.text, sizeof result.text, "%lu %s%s", number, what, number == 1 ? "" : "s");
    return result;
}

static bool is_shown(const struct problem *problem, bool are_warnings_wanted)
{
    return problem->kind == PROBLEM_ERROR || are_warnings_wanted;
}
