/* The files that a rule set was read from, and whether they are still what they were. */
#ifndef RULES_SOURCES_H
#define RULES_SOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define SOURCES_PATH_BYTES (64u << 10) /* files that do not fit are not watched */

struct sources {
    uint64_t identity; /* of all of them: which files, how large, last changed when */
    uint32_t count;
    uint32_t used;
    char paths[SOURCES_PATH_BYTES]; /* one after the other, each with its zero */
};

/* Which file it is, whatever its path, and in which version. All zero: it cannot be looked at. */
struct file_identity {
    uint64_t device, inode, size, modified_ns, changed_ns;
    uint32_t owner, mode;
};
struct file_identity file_identity_of(const struct stat *status);

void sources_add(struct sources *sources, const char *path, const struct file_identity *identity);

struct glance {
    uint64_t identity;     /* as above, now */
    bool is_gone;          /* there is nothing any more at the first path */
    bool is_being_written; /* one of them was changed by writing into it a moment ago */
};
/* How the files are at `now_ns`, CLOCK_REALTIME. Async-signal-safe; errno is untouched. */
struct glance sources_glance(const struct sources *sources, uint64_t now_ns);

#endif
