#include "drive/ask_name.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "drive/dns_message.h"
#include "drive/name_files.h"
#include "drive/raw.h"
#include "drive/signals.h"
#include "state/names.h"
#include "state/process.h"

#define PORT        53
#define ROUNDS      2u
#define TRY_NS      NS_PER_S          /* for one server's answer */
#define OTHER_NS    (200 * NS_PER_MS) /* for that about the other family, once there is one */
#define LOOK_NS     (20 * NS_PER_MS)  /* how long signals wait at most */
#define SIGNALS_MAX 64u               /* so often a question is asked anew because of them */

/* What is to be found, and what came of it so far. */
struct asking {
    const char *name; /* as it is asked for now: perhaps with a domain */
    uint64_t until_ns;
    const sigset_t *mask;
    struct address *addresses;
    unsigned *count, most;
    unsigned signals;
};

enum came { CAME_ANSWER, CAME_NO_SUCH_NAME, CAME_NOTHING, CAME_SIGNAL, CAME_INTERRUPTED };

static enum came ask_as(struct asking *asking, const struct name_servers *servers, const char *name);
static enum came ask_all(struct asking *asking, const struct name_servers *servers);
static enum came ask(struct asking *asking, const struct address *server);
static enum came listen_to(struct asking *asking, int fd, const struct dns_question questions[2]);
static int open_to(const struct address *server);
static bool has_signal(const sigset_t *mask);

enum asked ask_name(const char *name, uint64_t until_ns, const sigset_t *mask, struct address *addresses,
                    unsigned *count, unsigned most)
{
    struct name_servers servers;
    struct asking asking = {
        .until_ns = until_ns, .mask = mask, .addresses = addresses, .count = count, .most = most};
    unsigned dots = 0;
    for (const char *at = name; *at; at++)
        dots += *at == '.';
    name_files_servers(&servers);
    *count = 0;
    /* As libc: the name as it is comes first if it has dots enough, and else last. */
    bool is_first = dots >= servers.dots;
    enum came came = is_first ? ask_as(&asking, &servers, name) : CAME_NO_SUCH_NAME;
    for (unsigned i = 0; came == CAME_NO_SUCH_NAME && i < servers.domain_count; i++) {
        char longer[NAME_MAX_BYTES];
        if (strlen(name) + 1 + strlen(servers.domains[i]) >= sizeof longer)
            continue;
        struct text text = text_begin(longer, sizeof longer);
        text_add(&text, "%s.%s", name, servers.domains[i]);
        came = ask_as(&asking, &servers, longer);
    }
    if (came == CAME_NO_SUCH_NAME && !is_first)
        came = ask_as(&asking, &servers, name);
    return came == CAME_ANSWER ? ASKED_FOUND : came == CAME_INTERRUPTED ? ASKED_INTERRUPTED : ASKED_IN_VAIN;
}

/* An answer without addresses is none. */
static enum came ask_as(struct asking *asking, const struct name_servers *servers, const char *name)
{
    asking->name = name;
    enum came came = ask_all(asking, servers);
    return came == CAME_ANSWER && !*asking->count ? CAME_NO_SUCH_NAME : came;
}

static enum came ask_all(struct asking *asking, const struct name_servers *servers)
{
    for (unsigned turn = 0; turn < ROUNDS * servers->count;) {
        if (clock_now_ns() >= asking->until_ns)
            break;
        enum came came = ask(asking, &servers->addresses[turn % servers->count]);
        if (came == CAME_SIGNAL) {
            bool is_over = signals_wait(-1, 0, clock_now_ns(), asking->mask) == WAITED_INTERRUPTED ||
                           ++asking->signals > SIGNALS_MAX;
            if (is_over)
                return CAME_INTERRUPTED;
            continue;
        }
        if (came != CAME_NOTHING)
            return came;
        turn++;
    }
    return CAME_NOTHING;
}

/* One server, for addresses of both families at once. */
static enum came ask(struct asking *asking, const struct address *server)
{
    struct dns_question questions[2];
    uint16_t id = (uint16_t)process_next_seed();
    if (!dns_ask(&questions[0], id, asking->name, DNS_A) ||
        !dns_ask(&questions[1], id ^ 1, asking->name, DNS_AAAA))
        return CAME_NO_SUCH_NAME;
    int fd = open_to(server);
    if (fd < 0)
        return CAME_NOTHING;
    enum came came = CAME_NOTHING;
    bool is_sent = true;
    for (int i = 0; i < 2; i++)
        is_sent &=
            syscall(SYS_sendto, fd, questions[i].bytes, questions[i].length, MSG_NOSIGNAL, NULL, 0) > 0;
    *asking->count = 0;
    if (is_sent)
        came = listen_to(asking, fd, questions);
    syscall(SYS_close, fd);
    return came;
}

static enum came listen_to(struct asking *asking, int fd, const struct dns_question questions[2])
{
    uint8_t message[DNS_MESSAGE_BYTES];
    bool is_answered[2] = {false, false}, is_there = false;
    uint64_t until_ns = clock_now_ns() + TRY_NS;
    if (asking->until_ns < until_ns)
        until_ns = asking->until_ns;
    while (!is_answered[0] || !is_answered[1]) {
        uint64_t now = clock_now_ns(), look_ns = now + LOOK_NS;
        if (now >= until_ns)
            break;
        if (!raw_wait(fd, POLLIN, look_ns < until_ns ? look_ns : until_ns)) {
            if (has_signal(asking->mask))
                return CAME_SIGNAL;
            continue;
        }
        long size = syscall(SYS_recvfrom, fd, message, sizeof message, MSG_DONTWAIT, NULL, NULL);
        if (size < 0 && errno != EAGAIN && errno != EINTR)
            break; /* nobody listens there */
        for (int i = 0; size > 0 && i < 2; i++) {
            enum dns_verdict verdict = dns_read(&questions[i], message, (size_t)size, asking->addresses,
                                                asking->count, asking->most);
            if (verdict == DNS_FOREIGN || is_answered[i])
                continue;
            if (verdict == DNS_FAILED)
                return *asking->count ? CAME_ANSWER : CAME_NOTHING;
            is_answered[i] = true;
            is_there |= verdict == DNS_ANSWERED;
            uint64_t soon_ns = clock_now_ns() + OTHER_NS;
            if (*asking->count && soon_ns < until_ns)
                until_ns = soon_ns;
        }
    }
    bool is_complete = is_answered[0] && is_answered[1];
    return *asking->count ? CAME_ANSWER
           : !is_complete ? CAME_NOTHING
           : is_there     ? CAME_ANSWER
                          : CAME_NO_SUCH_NAME;
}

static int open_to(const struct address *server)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } to = {.any.sa_family = AF_UNSPEC};
    bool is_v4 = address_is_v4(server);
    if (is_v4) {
        to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(PORT)};
        memcpy(&to.v4.sin_addr, server->bytes + 12, 4);
    } else {
        to.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
        memcpy(&to.v6.sin6_addr, server->bytes, 16);
    }
    int fd = (int)syscall(SYS_socket, to.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && raw_connect(fd, &to.any, is_v4 ? sizeof to.v4 : sizeof to.v6) != 0) {
        syscall(SYS_close, fd);
        return -1;
    }
    return fd;
}

/* Is there one that the program would get now? */
static bool has_signal(const sigset_t *mask)
{
    sigset_t waiting;
    if (sigpending(&waiting) != 0)
        return false;
    for (int number = 1; number < NSIG; number++)
        if (sigismember(&waiting, number) == 1 && sigismember(mask, number) == 0)
            return true;
    return false;
}
