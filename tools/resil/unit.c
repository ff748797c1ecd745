#include "unit.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "message.h"
#include "replace.h"

/* Where systemd looks, first come first served. */
static const char *const folders[] = {"/etc/systemd/system.control",
                                      "/run/systemd/system.control",
                                      "/run/systemd/transient",
                                      "/run/systemd/generator.early",
                                      UNIT_FOLDER,
                                      "/run/systemd/system",
                                      "/run/systemd/generator",
                                      "/usr/local/lib/systemd/system",
                                      "/usr/lib/systemd/system",
                                      "/lib/systemd/system",
                                      "/run/systemd/generator.late"};
#define FOLDERS (sizeof folders / sizeof folders[0])

static bool template_of(const char *name, char template[256]);
static bool find_as(struct unit *unit, const char *name);
static char *preload_line(const char *path);
static char *preload_in_folder(const char *pattern, const char *ours);
static char *assignment(const char *line, const char *key);
static char *command_line_program(const char *command);

bool unit_name(const char *word, struct unit *unit)
{
    static const char suffix[] = ".service";
    size_t length = strlen(word);
    bool has_suffix = length > strlen(suffix) && strcmp(word + length - strlen(suffix), suffix) == 0;
    for (const char *at = word; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr(":-_.\\@", *at))
            return false;
    if (!length || word[0] == '.' || length + sizeof suffix > sizeof unit->name)
        return false;
    const char *dot = strrchr(word, '.');
    if (dot && !has_suffix &&
        (strcmp(dot, ".socket") == 0 || strcmp(dot, ".timer") == 0 || strcmp(dot, ".target") == 0))
        return false;
    snprintf(unit->name, sizeof unit->name, "%s%s", word, has_suffix ? "" : suffix);
    snprintf(unit->drop_in, sizeof unit->drop_in, "%s/%s.d/" UNIT_DROP_IN, UNIT_FOLDER, unit->name);
    return true;
}

bool unit_find(struct unit *unit)
{
    char template[256];
    return find_as(unit, unit->name) || (template_of(unit->name, template) && find_as(unit, template));
}

char *unit_preload_place(const struct unit *unit)
{
    char template[256];
    char *place = preload_line(unit->fragment);
    bool has_template = template_of(unit->name, template);
    for (size_t i = 0; i < FOLDERS && !place; i++) {
        char *pattern = formatted("%s/%s.d/*.conf", folders[i], unit->name);
        place = preload_in_folder(pattern, unit->drop_in);
        free(pattern);
        if (place || !has_template)
            continue;
        pattern = formatted("%s/%s.d/*.conf", folders[i], template);
        place = preload_in_folder(pattern, unit->drop_in);
        free(pattern);
    }
    return place;
}

char *unit_program(const struct unit *unit)
{
    char *text = read_whole(unit->fragment), *rest = NULL, *program = NULL;
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line && !program;
         line = strtok_r(NULL, "\n", &rest)) {
        const char *command = assignment(line, "ExecStart");
        if (command)
            program = command_line_program(command);
    }
    free(text);
    return program;
}

void unit_drop_ins(void (*found)(const char *path, void *data), void *data)
{
    glob_t paths;
    if (glob(UNIT_FOLDER "/*.service.d/" UNIT_DROP_IN, 0, NULL, &paths) == 0)
        for (size_t i = 0; i < paths.gl_pathc; i++)
            found(paths.gl_pathv[i], data);
    globfree(&paths);
}

/* It has something to say about many a unit; only what it says about our file is our affair. */
char *unit_complaint(const struct unit *unit)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return NULL;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        setenv("SYSTEMD_COLORS", "0", 1);
        execlp("systemd-analyze", "systemd-analyze", "--man=no", "verify", unit->fragment, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    char *complaint = NULL, line[1024];
    FILE *said = fdopen(ends[0], "r");
    while (said && fgets(line, sizeof line, said))
        if (!complaint && strstr(line, unit->drop_in)) {
            line[strcspn(line, "\n")] = '\0';
            complaint = copy_of(line);
        }
    if (said)
        fclose(said);
    else
        close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return complaint;
}

/* Of an instance, getty@tty1.service: getty@.service. */
static bool template_of(const char *name, char template[256])
{
    const char *at = strchr(name, '@'), *dot = strrchr(name, '.');
    if (!at || !dot || dot <= at + 1)
        return false;
    snprintf(template, 256, "%.*s%s", (int)(at + 1 - name), name, dot);
    return true;
}

static bool find_as(struct unit *unit, const char *name)
{
    for (size_t i = 0; i < FOLDERS; i++) {
        snprintf(unit->fragment, sizeof unit->fragment, "%s/%s", folders[i], name);
        if (access(unit->fragment, R_OK) == 0)
            return true;
    }
    unit->fragment[0] = '\0';
    return false;
}

static char *preload_line(const char *path)
{
    char *text = read_whole(path), *place = NULL;
    unsigned number = 0;
    for (char *line = text; line && *line && !place;) {
        size_t length = strcspn(line, "\n");
        bool is_last = !line[length];
        line[length] = '\0';
        number++;
        const char *value = assignment(line, "Environment");
        if (value && strstr(value, "LD_PRELOAD="))
            place = formatted("%s:%u", path, number);
        line += length + !is_last;
    }
    free(text);
    return place;
}

static char *preload_in_folder(const char *pattern, const char *ours)
{
    glob_t paths;
    char *place = NULL;
    if (glob(pattern, 0, NULL, &paths) == 0)
        for (size_t i = 0; i < paths.gl_pathc && !place; i++)
            if (strcmp(paths.gl_pathv[i], ours) != 0)
                place = preload_line(paths.gl_pathv[i]);
    globfree(&paths);
    return place;
}

/* What stands behind "KEY =", NULL where the line says something else. */
static char *assignment(const char *line, const char *key)
{
    line += strspn(line, " \t");
    size_t length = strlen(key);
    if (strncmp(line, key, length) != 0)
        return NULL;
    line += length;
    line += strspn(line, " \t");
    return *line == '=' ? (char *)line + 1 + strspn(line + 1, " \t") : NULL;
}

/* The first word, without the signs that systemd gives a meaning to. */
static char *command_line_program(const char *command)
{
    command += strspn(command, "@-:+!");
    size_t length = strcspn(command, " \t");
    if (!length || *command != '/')
        return NULL;
    char *program = allocate(length + 1);
    memcpy(program, command, length);
    return program;
}
