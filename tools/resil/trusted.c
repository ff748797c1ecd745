#include "trusted.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "message.h"

static char *problem_of(const char *path);

char *trusted_problem(const char *path)
{
    char upto[PATH_MAX];
    snprintf(upto, sizeof upto, "%s", path);
    for (char *slash = strrchr(upto, '/'); slash; slash = strrchr(upto, '/')) {
        char *problem = problem_of(upto);
        if (problem)
            return problem;
        *slash = '\0';
    }
    return problem_of("/");
}

/* A sticky folder is no better: whoever empties it (/tmp) takes the file away. */
static char *problem_of(const char *path)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return formatted("%s cannot be looked at: %s", path, strerror(errno));
    if (S_ISLNK(status.st_mode))
        return formatted("%s is a symbolic link", path);
    if (status.st_uid != 0)
        return formatted("%s belongs to user %u, who could put anything in its place (it must be root's)",
                         path, (unsigned)status.st_uid);
    if (status.st_mode & S_IWOTH)
        return formatted("%s can be written by everybody (chmod o-w it, or install libresil elsewhere)",
                         path);
    if (status.st_mode & S_IWGRP && status.st_gid != 0)
        return formatted("%s can be written by group %u (chmod g-w it, or install libresil elsewhere)", path,
                         (unsigned)status.st_gid);
    return NULL;
}
