#include "preload.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "message.h"
#include "rule_file.h"

#define LIBRARY_NAME "libresil.so"
#define SEPARATORS   ": " /* the loader splits at both, and has no way to quote them */

static int check(const char *library);
static bool find_own_directory(char directory[PATH_MAX]);
static bool is_file(const char *path);

int preload_find(char library[PATH_MAX])
{
    const char *named = getenv("RESIL_LIBRARY");
    if (named && *named) {
        if (path_make_absolute(named, library) && is_file(library))
            return check(library);
        complain(
            "RESIL_LIBRARY names %s, which is not there (unset it to use the one that belongs to this resil)",
            named);
        return STATUS_NO_LIBRARY;
    }
    static const char *const places[] = {".", "../" RESIL_LIBDIR, "../lib/" RESIL_MULTIARCH, "../lib"};
    char directory[PATH_MAX], candidate[2 * PATH_MAX];
    if (!find_own_directory(directory)) {
        complain("cannot find out where resil itself is: %s (set RESIL_LIBRARY to the path of " LIBRARY_NAME
                 ")",
                 strerror(errno));
        return STATUS_NO_LIBRARY;
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(candidate, sizeof candidate, "%s/%s/" LIBRARY_NAME, directory, places[i]);
        if (is_file(candidate) && realpath(candidate, library))
            return check(library);
    }
    complain(LIBRARY_NAME
             " is not there: looked in %s, and from there in %s, %s and %s (set RESIL_LIBRARY to its path)",
             directory, places[1], places[2], places[3]);
    return STATUS_NO_LIBRARY;
}

void preload_set(const char *library)
{
    char *merged = copy_of(library);
    const char *before = getenv("LD_PRELOAD");
    char *list = copy_of(before ? before : ""), *rest = NULL;
    for (char *entry = strtok_r(list, SEPARATORS, &rest); entry; entry = strtok_r(NULL, SEPARATORS, &rest)) {
        if (preload_is_library(entry, library))
            continue;
        char *longer = formatted("%s:%s", merged, entry);
        free(merged);
        merged = longer;
    }
    setenv("LD_PRELOAD", merged, 1);
    free(merged);
    free(list);
}

static int check(const char *library)
{
    if (strpbrk(library, SEPARATORS)) {
        complain("%s cannot stand in LD_PRELOAD, which is split at blanks and colons (move it, or set "
                 "RESIL_LIBRARY to "
                 "a link without them)",
                 library);
        return STATUS_NO_LIBRARY;
    }
    if (access(library, R_OK) != 0) {
        complain("%s cannot be read: %s", library, strerror(errno));
        return STATUS_NO_LIBRARY;
    }
    return 0;
}

static bool find_own_directory(char directory[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", directory, PATH_MAX - 1);
    if (length < 0)
        return false;
    directory[length] = '\0';
    char *slash = strrchr(directory, '/');
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

static bool is_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

bool preload_is_library(const char *path, const char *library)
{
    struct stat first, second;
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, LIBRARY_NAME) == 0)
        return true;
    return stat(path, &first) == 0 && stat(library, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}
