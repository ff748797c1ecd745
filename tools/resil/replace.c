#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"

#define SMALL_BYTES (1 << 20)

static bool write_all(int file, const char *text);
static void settle_folder(const char *path);

bool replace_file(const char *path, const char *text)
{
    char *beside = formatted("%s.resil-XXXXXX", path);
    int file = mkostemp(beside, O_CLOEXEC);
    bool is_done = file >= 0 && write_all(file, text) && fchmod(file, 0644) == 0 && fsync(file) == 0 &&
                   rename(beside, path) == 0;
    int error = errno;
    if (file >= 0) {
        if (!is_done)
            unlink(beside);
        close(file);
    }
    free(beside);
    if (is_done)
        settle_folder(path);
    errno = error;
    return is_done;
}

char *read_whole(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT ? copy_of("") : NULL;
    char *text = allocate(SMALL_BYTES + 1);
    size_t length = fread(text, 1, SMALL_BYTES + 1, file);
    int error = ferror(file) ? errno : length > SMALL_BYTES ? EFBIG : 0;
    fclose(file);
    if (error) {
        free(text);
        errno = error;
        return NULL;
    }
    return grow(text, length + 1);
}

static bool write_all(int file, const char *text)
{
    size_t length = strlen(text);
    while (length) {
        ssize_t count = write(file, text, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        text += count;
        length -= (size_t)count;
    }
    return true;
}

/* The name, too, is there after a power cut. */
static void settle_folder(const char *path)
{
    char *folder = copy_of(path), *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file >= 0) {
        fsync(file);
        close(file);
    }
    free(folder);
}
