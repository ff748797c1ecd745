/* resil enable --unit: a drop-in for a service of systemd's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "doubts.h"
#include "enable.h"
#include "message.h"
#include "preload.h"
#include "replace.h"
#include "rule_file.h"
#include "unit.h"

static int check_rules(const struct unit_request *request, char rules[PATH_MAX]);
static int check_program(const struct unit *unit);
static bool make_folder_of(const char *path);
static void remove_drop_in(const char *path);
static void disable_found(const char *path, void *data);

int enable_unit(const struct unit_request *request, const char *library)
{
    static struct unit unit;
    static char rules[PATH_MAX];
    if (!unit_name(request->name, &unit)) {
        complain("\"%s\" is no name of a service", request->name);
        return STATUS_UNUSABLE;
    }
    if (!unit_find(&unit)) {
        complain("there is no service %s (systemctl list-unit-files '*.service' lists all)", unit.name);
        return STATUS_FOUND;
    }
    char *place = unit_preload_place(&unit);
    if (place) {
        complain("refused: %s sets LD_PRELOAD already (put %s there, in front of what it has)", place,
                 library);
        free(place);
        return STATUS_FOUND;
    }
    int status = check_rules(request, rules);
    if (!status)
        status = check_program(&unit);
    if (status)
        return status;
    char *text = formatted("# Made by `resil enable --unit`. Taken back by: resil disable --unit %s\n"
                           "[Service]\n"
                           "Environment=LD_PRELOAD=%s RESIL_EARLY=1 RESIL_LOG=%s%s%s\n",
                           unit.name, library, request->log ? request->log : "stderr",
                           *rules ? " RESIL_RULES=" : "", rules);
    bool is_written = make_folder_of(unit.drop_in) && replace_file(unit.drop_in, text);
    free(text);
    if (!is_written) {
        complain("%s cannot be written: %s", unit.drop_in, strerror(errno));
        return STATUS_UNUSABLE;
    }
    char *complaint = unit_complaint(&unit);
    if (complaint) {
        remove_drop_in(unit.drop_in);
        complain("taken back, because systemd says: %s", complaint);
        free(complaint);
        return STATUS_FOUND;
    }
    printf("%s will run with libresil: %s is there.\n"
           "Now: systemctl daemon-reload && systemctl restart %s\n"
           "To take it back: resil disable --unit %s\n",
           unit.name, unit.drop_in, unit.name, unit.name);
    return STATUS_GOOD;
}

int disable_unit(const char *name)
{
    static struct unit unit;
    if (!unit_name(name, &unit)) {
        complain("\"%s\" is no name of a service", name);
        return STATUS_UNUSABLE;
    }
    if (access(unit.drop_in, F_OK) != 0) {
        complain("%s is not enabled: there is no %s", unit.name, unit.drop_in);
        return STATUS_FOUND;
    }
    int status = STATUS_GOOD;
    disable_found(unit.drop_in, &status);
    if (status == STATUS_GOOD)
        printf("Now: systemctl daemon-reload && systemctl restart %s\n", unit.name);
    return status;
}

int disable_units(void)
{
    int status = STATUS_GOOD;
    unit_drop_ins(disable_found, &status);
    return status;
}

/* The rule file of a unit, absolute; empty: none is named. 0 or the exit status. */
static int check_rules(const struct unit_request *request, char rules[PATH_MAX])
{
    static const char usual[] = "/etc/resil/rules.yaml";
    static struct rule_file file;
    struct problems problems;
    struct stat status;
    rules[0] = '\0';
    const char *path = request->rules ? request->rules : access(usual, F_OK) == 0 ? usual : NULL;
    if (!path)
        return 0;
    if (request->rules && (!path_make_absolute(path, rules) || strpbrk(rules, " \t\n\"'\\%"))) {
        complain("--rules: %s is no path that can stand in a unit (no blanks, quotes or percent signs)",
                 path);
        return STATUS_UNUSABLE;
    }
    snprintf(file.path, sizeof file.path, "%s", path);
    struct ruleset *set = rule_file_load(&file, &problems);
    if (!set) {
        problems_print(path, &problems, false, stderr);
        complain("refused: the rules cannot be used (see: resil check %s)", path);
        return STATUS_BAD_RULES;
    }
    ruleset_free(set);
    if (stat(path, &status) != 0 || status.st_uid != 0 || status.st_mode & 022) {
        complain(
            "refused: %s must belong to root and be writable by nobody else, or the service will not read it",
            path);
        return STATUS_FOUND;
    }
    if (!(status.st_mode & S_IROTH))
        complain("note: %s cannot be read by all; the user that the service runs as must be able to", path);
    return 0;
}

/* Says what would keep libresil from working in the service. 0, or the status where it might not even start. */
static int check_program(const struct unit *unit)
{
    static struct doubts doubts;
    static char library[PATH_MAX];
    char *program = unit_program(unit);
    if (!program || preload_find(library) != 0)
        return 0;
    doubts_find(program, library, &doubts);
    for (unsigned i = 0; i < doubts.count; i++)
        complain("%s%s", doubts.is_fit ? "note: " : "refused: ", doubts.doubts[i].text);
    int status = doubts.is_fit ? 0 : STATUS_FOUND;
    doubts_end(&doubts);
    free(program);
    return status;
}

static bool make_folder_of(const char *path)
{
    char *folder = copy_of(path);
    *strrchr(folder, '/') = '\0';
    bool is_there = mkdir(folder, 0755) == 0 || errno == EEXIST;
    free(folder);
    return is_there;
}

/* With its folder, if nothing else is in there. */
static void remove_drop_in(const char *path)
{
    char *folder = copy_of(path);
    *strrchr(folder, '/') = '\0';
    unlink(path);
    rmdir(folder);
    free(folder);
}

static void disable_found(const char *path, void *data)
{
    int *status = data;
    remove_drop_in(path);
    if (access(path, F_OK) == 0) {
        complain("%s cannot be removed", path);
        *status = STATUS_UNUSABLE;
    } else {
        printf("%s is gone.\n", path);
    }
}
