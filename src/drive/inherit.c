#include "drive/inherit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/text.h"
#include "drive/options.h"
#include "drive/transfer.h"
#include "hooks/real.h"
#include "state/process.h"

#define VARIABLE    "RESIL_INHERITED="
#define PRELOAD     "LD_PRELOAD="
#define RECORD_MAX  100 /* bytes */
#define RECORDS_MAX 48
#define NUMBERS_MAX 4096 /* of descriptors that are looked at */

/* One socket. */
struct record {
    uint64_t cookie, recv_ns, send_ns, own_recv_ns, own_send_ns;
};

static bool is_handed_on(int fd, const struct descriptor *entry, enum becoming becoming,
                         const uint64_t streams[3]);
static unsigned read_records(const char *value, struct record *records);
static void adopt(int fd, const struct record *record);

void inherit_note(struct note *note, enum becoming becoming)
{
    note->text[0] = '\0';
    struct text text = text_begin(note->text, sizeof note->text);
    if (descriptor_next(0, ~0u) < 0)
        return;
    /* In a vfork child the table is its parent's, and does not know what the child has made its standard streams. */
    uint64_t streams[] = {option_cookie(0), option_cookie(1), option_cookie(2)};
    for (int fd = descriptor_next(0, ~0u); fd >= 0; fd = descriptor_next((unsigned)fd + 1, ~0u)) {
        const struct descriptor *entry = descriptor_of(fd);
        if (!entry || text.length + RECORD_MAX > sizeof note->text ||
            !is_handed_on(fd, entry, becoming, streams))
            continue;
        const struct guard *guard = descriptor_guard(entry);
        text_add(&text, "%s%lx,%lx,%lx,%lx,%lx", text.length ? ";" : VARIABLE, entry->cookie,
                 shorter(guard->recv_ns, guard->response_ns), guard->send_ns, entry->own_recv_ns,
                 entry->own_send_ns);
    }
}

size_t inherit_count(char *const environment[], const struct note *note)
{
    size_t count = 0;
    bool is_preloaded = false;
    if (!note->text[0])
        return 0;
    for (; environment && environment[count]; count++)
        is_preloaded |= strncmp(environment[count], PRELOAD, strlen(PRELOAD)) == 0;
    return is_preloaded ? count + 2 : 0;
}

void inherit_fill(char **to, char *const environment[], struct note *note)
{
    *to++ = note->text;
    while ((*to++ = *environment++))
        ;
}

void inherit_begin(char **environment)
{
    const char *value = NULL;
    char **to = environment;
    for (char **from = environment; *from; from++)
        if (strncmp(*from, VARIABLE, strlen(VARIABLE)) == 0)
            value = *from + strlen(VARIABLE);
        else
            *to++ = *from;
    *to = NULL;
    struct record records[RECORDS_MAX];
    unsigned count = value ? read_records(value, records) : 0;
    if (!count || !descriptors_open() || !process_owns_memory())
        return;
    struct rlimit most = {0, 0};
    getrlimit(RLIMIT_NOFILE, &most);
    for (int fd = 0; fd < NUMBERS_MAX && (rlim_t)fd < most.rlim_cur; fd++) {
        uint64_t cookie = option_cookie(fd);
        for (unsigned i = 0; cookie && i < count; i++)
            if (records[i].cookie == cookie) {
                adopt(fd, &records[i]);
                break;
            }
    }
}

static bool is_handed_on(int fd, const struct descriptor *entry, enum becoming becoming,
                         const uint64_t streams[3])
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    const struct guard *guard = descriptor_guard(entry);
    if (state & HANDED_OVER || (!guard->recv_ns && !guard->send_ns && !guard->response_ns))
        return false; /* no timeouts of ours */
    if (becoming == SPAWNED)
        return true; /* what the child's actions do to its numbers is not known */
    for (int stream = 0; stream <= STDERR_FILENO; stream++)
        if (streams[stream] == entry->cookie)
            return true;
    int flags = real.fcntl(fd, F_GETFD, NULL);
    return flags >= 0 && !(flags & FD_CLOEXEC) && option_cookie(fd) == entry->cookie;
}

static uint64_t read_number(const char **at)
{
    uint64_t number = 0;
    for (;; (*at)++) {
        if (**at >= '0' && **at <= '9')
            number = number * 16 + (uint64_t)(**at - '0');
        else if (**at >= 'a' && **at <= 'f')
            number = number * 16 + (uint64_t)(**at - 'a' + 10);
        else
            return number;
    }
}

static unsigned read_records(const char *value, struct record *records)
{
    unsigned count = 0;
    for (const char *at = value; count < RECORDS_MAX;) {
        uint64_t numbers[5];
        for (unsigned i = 0; i < 5; i++) {
            numbers[i] = read_number(&at);
            if (*at != (i == 4 ? ';' : ',') && (i < 4 || *at))
                return count; /* whoever wrote this, it was not us */
            if (*at)
                at++;
        }
        records[count++] = (struct record){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
        if (!*at)
            break;
    }
    return count;
}

static void adopt(int fd, const struct record *record)
{
    struct policy policy;
    memset(&policy, 0, sizeof policy);
    policy.timeout.recv_ns = record->recv_ns;
    policy.timeout.send_ns = record->send_ns;
    const struct guard *guard = guard_of(&policy);
    struct descriptor *entry =
        guard ? descriptor_adopt(fd, record->cookie, guard, (struct host_handle){NULL, 0}, "") : NULL;
    if (!entry)
        return;
    entry->owner = process_id();
    entry->own_recv_ns = record->own_recv_ns;
    entry->own_send_ns = record->own_send_ns;
    int flags = real.fcntl(fd, F_GETFL, NULL), type = SOCK_STREAM;
    socklen_t length = sizeof type;
    real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
    uint32_t nature = type == SOCK_DGRAM ? MESSAGES | CONNECTIONLESS : type == SOCK_SEQPACKET ? MESSAGES : 0;
    atomic_store_explicit(&entry->state, INHERITED | nature | (flags & O_NONBLOCK ? NON_BLOCKING : 0),
                          memory_order_release);
}
