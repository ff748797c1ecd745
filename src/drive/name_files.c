#include "drive/name_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state/names.h"

#define HOSTS_PATH   "/etc/hosts"
#define SERVERS_PATH "/etc/resolv.conf"
#define PARTS_MAX    4096u /* a longer file is not read to its end */

/* A file, word by word. */
struct words {
    int file;
    char part[256];
    size_t at, length;
    unsigned parts;
    char word[NAME_MAX_BYTES]; /* cut */
    unsigned number;           /* in its line; 0 is the first */
    bool has_ended_line;
};

static bool begin(struct words *words, const char *path);
static bool next(struct words *words);
static int character(struct words *words);
static bool is_normally(const char *word, const char *name);
static void add_domain(const char *word, struct name_servers *servers);
static void read_option(const char *word, struct name_servers *servers);

unsigned name_files_hosts(const char *name, struct address *addresses, unsigned most)
{
    struct words words;
    struct address address;
    unsigned count = 0;
    bool is_address = false;
    int error = errno;
    if (begin(&words, HOSTS_PATH)) {
        while (next(&words) && count < most) {
            if (words.number == 0)
                is_address = address_parse(words.word, &address);
            else if (is_address && is_normally(words.word, name)) {
                addresses[count++] = address;
                is_address = false; /* the line may have it twice */
            }
        }
        syscall(SYS_close, words.file);
    }
    errno = error;
    return count;
}

void name_files_servers(struct name_servers *servers)
{
    enum { SERVER, DOMAINS, OPTIONS, ELSE } line = ELSE;
    struct words words;
    int error = errno;
    *servers = (struct name_servers){.dots = 1};
    if (begin(&words, SERVERS_PATH)) {
        while (next(&words)) {
            const char *word = words.word;
            if (words.number == 0) {
                bool are_domains = strcmp(word, "search") == 0 || strcmp(word, "domain") == 0;
                line = strcmp(word, "nameserver") == 0 ? SERVER
                       : are_domains                   ? DOMAINS
                       : strcmp(word, "options") == 0  ? OPTIONS
                                                       : ELSE;
                servers->domain_count = are_domains ? 0 : servers->domain_count; /* the last line counts */
            } else if (line == SERVER && words.number == 1 && servers->count < NAME_SERVERS_MAX) {
                servers->count += address_parse(word, &servers->addresses[servers->count]);
            } else if (line == DOMAINS) {
                add_domain(word, servers);
            } else if (line == OPTIONS) {
                read_option(word, servers);
            }
        }
        syscall(SYS_close, words.file);
    }
    errno = error;
}

static void add_domain(const char *word, struct name_servers *servers)
{
    char normal[NAME_MAX_BYTES];
    bool has_room = servers->domain_count < sizeof servers->domains / sizeof *servers->domains;
    if (has_room && name_normalize(word, normal) && strlen(normal) < sizeof *servers->domains)
        memcpy(servers->domains[servers->domain_count++], normal, strlen(normal) + 1);
}

static void read_option(const char *word, struct name_servers *servers)
{
    if (strncmp(word, "ndots:", 6) != 0)
        return;
    servers->dots = 0;
    for (const char *digit = word + 6; *digit >= '0' && *digit <= '9' && servers->dots < 100; digit++)
        servers->dots = servers->dots * 10 + (unsigned)(*digit - '0');
}

static bool is_normally(const char *word, const char *name)
{
    char normal[NAME_MAX_BYTES];
    return name_normalize(word, normal) && strcmp(normal, name) == 0;
}

static bool begin(struct words *words, const char *path)
{
    words->file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    words->at = words->length = 0;
    words->parts = words->number = 0;
    words->has_ended_line = true;
    return words->file >= 0;
}

/* False: there are no more. */
static bool next(struct words *words)
{
    size_t length = 0;
    bool is_in_comment = false;
    for (;;) {
        int now = character(words);
        bool is_space = now == ' ' || now == '\t' || now == '\r', ends_line = now == '\n' || now < 0;
        is_in_comment |= now == '#' || now == ';';
        if (length && (is_space || ends_line || is_in_comment)) {
            words->at -= now >= 0; /* seen again */
            words->word[length < sizeof words->word ? length : sizeof words->word - 1] = '\0';
            words->number = words->has_ended_line ? 0 : words->number + 1;
            words->has_ended_line = false;
            return true;
        }
        if (now < 0)
            return false;
        if (ends_line) {
            is_in_comment = false;
            words->has_ended_line = true;
        } else if (!is_space && !is_in_comment) {
            if (length < sizeof words->word - 1)
                words->word[length] = (char)now;
            length++;
        }
    }
}

/* -1: the end of the file. */
static int character(struct words *words)
{
    if (words->at == words->length) {
        long size =
            words->parts++ < PARTS_MAX ? syscall(SYS_read, words->file, words->part, sizeof words->part) : 0;
        words->at = 0;
        words->length = size > 0 ? (size_t)size : 0;
        if (size <= 0)
            return -1;
    }
    return (unsigned char)words->part[words->at++];
}
