#include "fault_leftovers.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "message.h"
#include "state/segment.h"

#define KEPT_S (24 * 60 * 60) /* so long resil log and status can still tell of the run */

static bool is_old(const char *path);
static bool is_in_use(const char *segment);
static bool is_mapped_by(const char *pid, const char *segment);

void fault_leftovers_remove(const char *directory)
{
    DIR *entries = opendir(directory);
    for (const struct dirent *entry = entries ? readdir(entries) : NULL; entry; entry = readdir(entries)) {
        size_t length = strlen(entry->d_name), suffix = sizeof FAULT_RULES_SUFFIX - 1;
        if (strncmp(entry->d_name, FAULT_RULES_PREFIX, sizeof FAULT_RULES_PREFIX - 1) != 0 ||
            length < suffix || strcmp(entry->d_name + length - suffix, FAULT_RULES_SUFFIX) != 0)
            continue;
        char *rules = formatted("%s/%s", directory, entry->d_name), name[64];
        char *canonical = realpath(rules, NULL);
        if (canonical && is_old(rules)) {
            segment_file_name(canonical, name, sizeof name);
            char *segment = formatted("%s/%s", directory, name);
            if (!is_in_use(segment)) {
                unlink(segment);
                unlink(rules);
            }
            free(segment);
        }
        free(canonical);
        free(rules);
    }
    if (entries)
        closedir(entries);
}

/* It is written anew by each run. */
static bool is_old(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == getuid() &&
           time(NULL) - status.st_mtime > KEPT_S;
}

/* By any program that we may look into: others of this user's are not there. */
static bool is_in_use(const char *segment)
{
    char *canonical = realpath(segment, NULL);
    bool is_used = false;
    DIR *processes = canonical ? opendir("/proc") : NULL;
    for (const struct dirent *entry = processes ? readdir(processes) : NULL; entry && !is_used;
         entry = readdir(processes))
        is_used = isdigit((unsigned char)entry->d_name[0]) && is_mapped_by(entry->d_name, canonical);
    if (processes)
        closedir(processes);
    free(canonical);
    return is_used;
}

static bool is_mapped_by(const char *pid, const char *segment)
{
    char *path = formatted("/proc/%s/maps", pid), *line = NULL;
    size_t room = 0;
    bool is_mapped = false;
    FILE *maps = fopen(path, "re");
    while (maps && !is_mapped && getline(&line, &room, maps) > 0) {
        line[strcspn(line, "\n")] = '\0';
        const char *slash = strchr(line, '/');
        is_mapped = slash && strcmp(slash, segment) == 0;
    }
    if (maps)
        fclose(maps);
    free(line);
    free(path);
    return is_mapped;
}
