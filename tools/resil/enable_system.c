/* resil enable --system: /etc/ld.so.preload, after a canary has flown. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "canary.h"
#include "command.h"
#include "enable.h"
#include "message.h"
#include "preload_list.h"
#include "replace.h"
#include "trusted.h"

static char *read_list(void);
static int put_list(const char *before, const char *list);

int enable_system(const char *library)
{
    struct stat there;
    char *problem = lstat(PRELOAD_LIST, &there) == 0 ? trusted_problem(PRELOAD_LIST) : NULL;
    if (problem) {
        complain("refused: %s", problem);
        free(problem);
        return STATUS_FOUND;
    }
    char *before = read_list();
    if (!before)
        return STATUS_UNUSABLE;
    char *list = preload_list_with(before, library);
    int status = STATUS_GOOD;
    struct canary canary = canary_run(list, library);
    if (canary.difference) {
        complain("refused: %s", canary.difference);
        free(canary.difference);
        status = STATUS_FOUND;
    } else {
        printf("%u programs did the same with libresil as without%s.\n", canary.count,
               canary.is_exact ? "" : " (by LD_PRELOAD: no namespace could be made to try the list itself)");
        status = put_list(before, list);
    }
    free(list);
    free(before);
    return status;
}

int disable_system(bool must_be_there)
{
    char *before = read_list();
    if (!before)
        return STATUS_UNUSABLE;
    int status = STATUS_GOOD;
    char *list = preload_list_without(before);
    if (strcmp(before, list) == 0) {
        if (must_be_there)
            complain("it is not enabled: %s does not name libresil", PRELOAD_LIST);
        status = must_be_there ? STATUS_FOUND : STATUS_GOOD;
    } else if (preload_list_is_empty(list) ? unlink(PRELOAD_LIST) != 0 : !replace_file(PRELOAD_LIST, list)) {
        complain("%s cannot be changed: %s", PRELOAD_LIST, strerror(errno));
        status = STATUS_UNUSABLE;
    } else {
        puts("Programs that start from now on run without libresil.");
    }
    free(list);
    free(before);
    return status;
}

/* NULL where it cannot be read, which is said. */
static char *read_list(void)
{
    char *text = read_whole(PRELOAD_LIST);
    if (!text)
        complain("%s cannot be read: %s", PRELOAD_LIST, strerror(errno));
    return text;
}

/* And takes it back at once if programs do not start with it. */
static int put_list(const char *before, const char *list)
{
    char *now = read_list();
    bool is_same = now && strcmp(now, before) == 0;
    free(now);
    if (!is_same) {
        complain("refused: somebody else has changed %s meanwhile (try again)", PRELOAD_LIST);
        return STATUS_FOUND;
    }
    if (strcmp(before, list) != 0 && !replace_file(PRELOAD_LIST, list)) {
        complain("%s cannot be written: %s", PRELOAD_LIST, strerror(errno));
        return STATUS_UNUSABLE;
    }
    if (!canary_lives()) {
        char *without = preload_list_without(before);
        if (preload_list_is_empty(without) || !replace_file(PRELOAD_LIST, without))
            unlink(PRELOAD_LIST);
        free(without);
        complain("taken back: with libresil in %s programs do not start as they did", PRELOAD_LIST);
        return STATUS_FOUND;
    }
    puts("Programs that start from now on run with libresil: " PRELOAD_LIST " says so.\n"
         "To take it back: resil disable --system (or rm " PRELOAD_LIST ")");
    return STATUS_GOOD;
}
