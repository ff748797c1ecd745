#include "state/epoll_files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"

/* Lines of "tfd:       12 events:  19 data:  c  pos:0 ino:..."; numbers after `tfd:` are decimal, the others hexadecimal.
 * What was closed while a copy of it lives on keeps its line: of two with the same number the file tells which one is
 * meant. Linux before 4.13 does not say which file it is. */
struct scan {
    int wanted;
    uint64_t wanted_file;
    bool is_found, is_certain;
    struct registration found;
    enum { AT_LABEL, AT_NUMBER, SKIPPING } at;
    enum { OTHER, TFD, EVENTS, DATA, FILE_NUMBER } label;
    char word[8];
    unsigned length;
    int fd;
    uint64_t number;
    bool has_digits;
    /* Or all of them. */
    struct registration line;
    unsigned lines, told;
    epoll_file_each *each;
    void *context;
};

static unsigned digit_of(char c)
{
    return c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 99;
}

/* The end of a line. */
static void tell(struct scan *scan, uint64_t file_number)
{
    struct stat file_of;
    bool is_there = fstat(scan->fd, &file_of) == 0 && file_of.st_ino == file_number;
    scan->each(scan->fd, is_there, &scan->line, scan->context);
    scan->told++;
}

static void number_ended(struct scan *scan)
{
    if (scan->label == EVENTS)
        scan->line.events = (uint32_t)scan->number;
    else if (scan->label == DATA)
        scan->line.data = scan->number;
    else if (scan->label == FILE_NUMBER && scan->each && scan->lines > scan->told) /* its own comes first */
        tell(scan, scan->number);
    if (scan->label == TFD) {
        scan->fd = (int)scan->number;
        scan->lines++;
    } else if (scan->label == EVENTS && scan->fd == scan->wanted)
        scan->found.events = (uint32_t)scan->number;
    else if (scan->label == DATA && scan->fd == scan->wanted) {
        scan->found.data = scan->number;
        scan->is_found = true;
    } else if (scan->label == FILE_NUMBER && scan->fd == scan->wanted) {
        scan->is_found = scan->is_certain = scan->number == scan->wanted_file;
    }
    scan->label = OTHER;
    scan->length = 0;
    scan->at = AT_LABEL;
}

static void scan_byte(struct scan *scan, char c)
{
    if (scan->at == AT_NUMBER) {
        unsigned base = scan->label == TFD ? 10 : 16, digit = digit_of(c);
        if (digit < base) {
            scan->number = scan->number * base + digit;
            scan->has_digits = true;
        } else if (scan->has_digits) {
            number_ended(scan);
        }
        return;
    }
    if (c == ':') {
        static const struct {
            char word[8];
            unsigned length, label;
        } labels[] = {{"tfd", 3, TFD}, {"events", 6, EVENTS}, {"data", 4, DATA}, {"ino", 3, FILE_NUMBER}};
        for (unsigned i = 0; i < sizeof labels / sizeof *labels; i++) {
            unsigned same = 0;
            while (same < scan->length && scan->word[same] == labels[i].word[same])
                same++;
            if (same == scan->length && same == labels[i].length) {
                scan->label = labels[i].label;
                scan->at = AT_NUMBER;
                scan->number = 0;
                scan->has_digits = false;
            }
        }
        scan->length = 0;
    } else if (c == ' ' || c == '\n' || c == '\t') {
        scan->length = 0;
    } else if (scan->length < sizeof scan->word) {
        scan->word[scan->length++] = c;
    }
}

/* False: it cannot be read. */
static bool scan_file(int epoll, struct scan *scan)
{
    char path[48], lines[512];
    struct text text = text_begin(path, sizeof path);
    text_add(&text, "/proc/self/fdinfo/%d", epoll);
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = -1;
    while (file >= 0 && !scan->is_certain && (got = syscall(SYS_read, file, lines, sizeof lines)) > 0)
        for (ssize_t i = 0; i < got && !scan->is_certain; i++)
            scan_byte(scan, lines[i]);
    if (file >= 0)
        syscall(SYS_close, file);
    return got >= 0;
}

bool epoll_file_find(int epoll, int fd, struct registration *found)
{
    int error = errno;
    struct stat file_of;
    struct scan scan = {.wanted = fd, .fd = -1};
    if (fstat(fd, &file_of) == 0) {
        scan.wanted_file = file_of.st_ino;
        scan_file(epoll, &scan);
    }
    errno = error;
    *found = scan.found;
    found->epoll = epoll + 1;
    return scan.is_found;
}

bool epoll_file_tell(int epoll, epoll_file_each *each, void *context)
{
    int error = errno;
    struct scan scan = {.wanted = -1, .fd = -1, .line.epoll = epoll + 1, .each = each, .context = context};
    bool is_read = scan_file(epoll, &scan);
    errno = error;
    return is_read && scan.told == scan.lines;
}
