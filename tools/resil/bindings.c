#include "bindings.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coverage.h"
#include "message.h"

#define FILE_PREFIX "loader"

static void read_file(const char *path, const char *library, struct bindings *bindings);
static void note(struct bindings *bindings, const char *function, const char *object);

void bindings_ask(const char *folder)
{
    char *path = formatted("%s/" FILE_PREFIX, folder);
    setenv("LD_DEBUG", "bindings", 1);
    setenv("LD_DEBUG_OUTPUT", path, 1);
    free(path);
}

struct bindings bindings_read(const char *folder, const char *library)
{
    struct bindings bindings = {.count = 0};
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        if (strncmp(entry->d_name, FILE_PREFIX ".", sizeof FILE_PREFIX) != 0)
            continue;
        char *path = formatted("%s/%s", folder, entry->d_name);
        bindings.processes++;
        read_file(path, library, &bindings);
        free(path);
    }
    if (directory)
        closedir(directory);
    return bindings;
}

void bindings_end(struct bindings *bindings)
{
    for (size_t i = 0; i < bindings->count; i++) {
        for (size_t n = 0; n < bindings->functions[i].count; n++)
            free(bindings->functions[i].objects[n]);
        free(bindings->functions[i].objects);
        free(bindings->functions[i].function);
    }
    free(bindings->functions);
    *bindings = (struct bindings){.count = 0};
}

/* "   4711:	binding file /usr/bin/wget [0] to /path/libresil.so [0]: normal symbol `connect' [GLIBC_2.2.5]" */
static void read_file(const char *path, const char *library, struct bindings *bindings)
{
    static char line[2 * PATH_MAX + 200], from[PATH_MAX + 1], to[PATH_MAX + 1], name[128];
    FILE *lines = fopen(path, "re");
    while (lines && fgets(line, sizeof line, lines)) {
        const char *said = strstr(line, "binding file ");
        if (said &&
            sscanf(said, "binding file %4096s [%*d] to %4096s [%*d]: normal symbol `%127[^']'", from, to,
                   name) == 3 &&
            strcmp(to, library) == 0 && strcmp(from, library) != 0 && coverage_is_hooked(name))
            note(bindings, name, from);
    }
    if (lines)
        fclose(lines);
}

static void note(struct bindings *bindings, const char *function, const char *object)
{
    struct binding *binding = NULL;
    for (size_t i = 0; i < bindings->count && !binding; i++)
        if (strcmp(bindings->functions[i].function, function) == 0)
            binding = &bindings->functions[i];
    if (!binding) {
        bindings->functions = grow(bindings->functions, (bindings->count + 1) * sizeof *bindings->functions);
        binding = &bindings->functions[bindings->count++];
        *binding = (struct binding){.function = copy_of(function)};
    }
    for (size_t i = 0; i < binding->count; i++)
        if (strcmp(binding->objects[i], object) == 0)
            return;
    binding->objects = grow(binding->objects, (binding->count + 1) * sizeof *binding->objects);
    binding->objects[binding->count++] = copy_of(object);
}
