#include "rules/sources.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"

/* Who writes a file in place may take several writes for it, and what stands there between two of them may well read as
 * rules that nobody wrote. */
#define SETTLED_AFTER_NS (250 * NS_PER_MS)

static uint64_t mix(uint64_t identity, const struct file_identity *file);

struct file_identity file_identity_of(const struct stat *status)
{
    return (struct file_identity){
        .device = status->st_dev,
        .inode = status->st_ino,
        .size = (uint64_t)status->st_size,
        .modified_ns = (uint64_t)status->st_mtim.tv_sec * NS_PER_S + (uint64_t)status->st_mtim.tv_nsec,
        .changed_ns = (uint64_t)status->st_ctim.tv_sec * NS_PER_S + (uint64_t)status->st_ctim.tv_nsec,
        .owner = status->st_uid,
        .mode = status->st_mode,
    };
}

void sources_add(struct sources *sources, const char *path, const struct file_identity *identity)
{
    size_t size = strlen(path) + 1;
    if (size > sizeof sources->paths - sources->used)
        return;
    memcpy(sources->paths + sources->used, path, size);
    sources->used += (uint32_t)size;
    sources->count++;
    sources->identity = mix(sources->identity, identity);
}

struct glance sources_glance(const struct sources *sources, uint64_t now_ns)
{
    int error = errno;
    struct glance glance = {.identity = 0};
    const char *path = sources->paths;
    for (uint32_t i = 0; i < sources->count; i++, path += strlen(path) + 1) {
        struct stat status;
        struct file_identity file = {0};
        if (stat(path, &status) == 0)
            file = file_identity_of(&status);
        else if (i == 0)
            glance.is_gone = errno == ENOENT;
        /* A file that was renamed into place was finished before: its last change is later than its last write. */
        glance.is_being_written |= file.modified_ns && file.modified_ns == file.changed_ns &&
                                   now_ns - file.modified_ns < SETTLED_AFTER_NS;
        glance.identity = mix(glance.identity, &file);
    }
    errno = error;
    return glance;
}

static uint64_t mix(uint64_t identity, const struct file_identity *file)
{
    return hash_bytes(file, sizeof *file, identity);
}
