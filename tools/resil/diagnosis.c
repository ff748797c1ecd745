#include "diagnosis.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "coverage.h"
#include "json_out.h"
#include "message.h"
#include "segment_report.h"
#include "state/process.h"
#include "wrap.h"

#define MANY 4 /* so many callers are named, the others are counted */

static void print_calls(const struct diagnosis *diagnosis);
static char *callers(const struct libraries *libraries, size_t row, bool are_objects);
static void print_run(const struct diagnosis *diagnosis);
static void print_bindings(const struct bindings *bindings);
static struct json_object *run_as_json(const struct diagnosis *diagnosis);
static void use_state_of(const struct scratch *scratch);

void diagnosis_print(const struct diagnosis *diagnosis)
{
    findings_print(&diagnosis->findings, stdout);
    if (diagnosis->libraries.count)
        print_calls(diagnosis);
    if (diagnosis->has_run)
        print_run(diagnosis);
}

static void print_calls(const struct diagnosis *diagnosis)
{
    printf("\nWhat its %s (program and libraries) may call:\n",
           counted(diagnosis->libraries.count, "file").text);
    /* The last row is of no interest to people. */
    for (size_t row = 0; row + 1 < coverage_count; row++) {
        char *functions = callers(&diagnosis->libraries, row, false);
        char *objects = callers(&diagnosis->libraries, row, true);
        if (*functions) {
            char *line = formatted("%s", coverage_table[row].text);
            printf("  %-17s  %-8s  ", coverage_table[row].name, covered_text(coverage_table[row].covered));
            print_wrapped(line, 31, 31, stdout);
            free(line);
            line = formatted("%s (%s)", functions, objects);
            printf("%31s", "");
            print_wrapped(line, 31, 31, stdout);
            free(line);
        }
        free(functions);
        free(objects);
    }
}

/* "connect, poll", or whose calls they are: "wget, libcurl.so.4 and 2 more". */
static char *callers(const struct libraries *libraries, size_t row, bool are_objects)
{
    char *list = copy_of("");
    size_t more = 0, named = 0;
    const char *seen[128];
    for (size_t i = 0; i < libraries->count; i++) {
        const struct object *object = &libraries->objects[i];
        bool is_caller = false;
        for (size_t n = 0; n < object->import_count; n++) {
            const char *function = object->imports[n];
            if (coverage_find(function) != (int)row)
                continue;
            is_caller = true;
            bool is_seen = are_objects;
            for (size_t s = 0; s < named && !is_seen; s++)
                is_seen = strcmp(seen[s], function) == 0;
            if (is_seen || named == sizeof seen / sizeof *seen)
                continue;
            seen[named++] = function;
            char *longer = formatted("%s%s%s", list, *list ? ", " : "", function);
            free(list);
            list = longer;
        }
        if (!are_objects || !is_caller)
            continue;
        if (named++ >= MANY) {
            more++;
            continue;
        }
        char *longer = formatted("%s%s%s", list, *list ? ", " : "", object->name);
        free(list);
        list = longer;
    }
    if (more) {
        char *longer = formatted("%s and %zu more", list, more);
        free(list);
        list = longer;
    }
    return list;
}

static void print_run(const struct diagnosis *diagnosis)
{
    printf("\nWhat the loader bound to libresil, in %zu process%s:\n", diagnosis->bindings.processes,
           diagnosis->bindings.processes == 1 ? "" : "es");
    print_bindings(&diagnosis->bindings);
    use_state_of(&diagnosis->scratch);
    struct segments segments = segments_begin(NULL);
    segments_scan(&segments);
    printf("\nWhat was done in this run:\n");
    for (size_t i = 0; i < segments.count; i++)
        if (segments.files[i]->segment)
            segment_print(segments.files[i]);
    segments_end(&segments);
}

static void print_bindings(const struct bindings *bindings)
{
    for (size_t i = 0; i < bindings->count; i++) {
        const struct binding *binding = &bindings->functions[i];
        char *list = copy_of("");
        for (size_t n = 0; n < binding->count && n < MANY; n++) {
            const char *slash = strrchr(binding->objects[n], '/');
            char *longer =
                formatted("%s%s%s", list, *list ? ", " : "", slash ? slash + 1 : binding->objects[n]);
            free(list);
            list = longer;
        }
        if (binding->count > MANY) {
            char *longer = formatted("%s and %zu more", list, binding->count - MANY);
            free(list);
            list = longer;
        }
        printf("  %-17s  ", binding->function);
        print_wrapped(list, 21, 21, stdout);
        free(list);
    }
}

struct json_object *diagnosis_json(const struct diagnosis *diagnosis)
{
    static const char *const words[] = {[COVERED] = "yes", [COVERED_PARTLY] = "partly", [COVERED_NOT] = "no"};
    struct json_object *all = json_new(), *calls = json_object_new_array(), *files = json_object_new_array();
    const struct libraries *libraries = &diagnosis->libraries;
    for (size_t i = 0; i < libraries->count; i++)
        json_object_array_add(files, json_object_new_string(libraries->objects[i].path));
    for (size_t row = 0; row < coverage_count; row++) {
        struct json_object *call = json_new(), *functions = json_new();
        for (size_t i = 0; i < libraries->count; i++) {
            const struct object *object = &libraries->objects[i];
            for (size_t n = 0; n < object->import_count; n++) {
                struct json_object *objects;
                if (coverage_find(object->imports[n]) != (int)row)
                    continue;
                if (!json_object_object_get_ex(functions, object->imports[n], &objects))
                    json_object_object_add(functions, object->imports[n], objects = json_object_new_array());
                json_object_array_add(objects, json_object_new_string(object->path));
            }
        }
        json_add_text(call, "name", coverage_table[row].name);
        json_add_text(call, "covered", words[coverage_table[row].covered]);
        json_add_text(call, "text", coverage_table[row].text);
        json_object_object_add(call, "functions", functions);
        json_object_array_add(calls, call);
    }
    json_add_text(all, "program", diagnosis->path);
    json_add_text(all, "file", diagnosis->doubts.path);
    json_add_text(all, "library", diagnosis->library);
    json_add_text(all, "rules", diagnosis->rules.path);
    json_add_bool(all, "is_bad", findings_are_bad(&diagnosis->findings));
    json_object_object_add(all, "findings", findings_json(&diagnosis->findings));
    json_object_object_add(all, "files", files);
    json_object_object_add(all, "calls", calls);
    json_object_object_add(all, "run", diagnosis->has_run ? run_as_json(diagnosis) : NULL);
    return all;
}

static struct json_object *run_as_json(const struct diagnosis *diagnosis)
{
    struct json_object *run = json_new(), *bound = json_new(), *reports = json_object_new_array();
    for (size_t i = 0; i < diagnosis->bindings.count; i++) {
        struct json_object *objects = json_object_new_array();
        for (size_t n = 0; n < diagnosis->bindings.functions[i].count; n++)
            json_object_array_add(objects,
                                  json_object_new_string(diagnosis->bindings.functions[i].objects[n]));
        json_object_object_add(bound, diagnosis->bindings.functions[i].function, objects);
    }
    use_state_of(&diagnosis->scratch);
    struct segments segments = segments_begin(NULL);
    segments_scan(&segments);
    for (size_t i = 0; i < segments.count; i++)
        if (segments.files[i]->segment)
            json_object_array_add(reports, segment_report(segments.files[i]));
    segments_end(&segments);
    bool is_killed = WIFSIGNALED(diagnosis->status);
    json_object_object_add(run, "status",
                           is_killed ? NULL : json_object_new_int(WEXITSTATUS(diagnosis->status)));
    json_object_object_add(run, "signal",
                           is_killed ? json_object_new_int(WTERMSIG(diagnosis->status)) : NULL);
    json_add_number(run, "processes", diagnosis->bindings.processes);
    json_object_object_add(run, "bound", bound);
    json_object_object_add(run, "rule_files", reports);
    return run;
}

static void use_state_of(const struct scratch *scratch)
{
    snprintf(settings.state_dir, sizeof settings.state_dir, "%s", scratch->path);
}
