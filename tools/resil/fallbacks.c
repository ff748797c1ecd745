#include "fallbacks.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "segments.h"
#include "state/kept_names.h"
#include "state/segment.h"

/* A fallback host, and what is known of it. */
struct known {
    const char *name;
    unsigned count;
    struct address addresses[KEPT_ADDRESSES_MAX];
    uint64_t age_ns;
};

#define ALLOWED_S   30
#define PATIENCE_MS 1000

static bool is_due(const char *name, bool *is_unknown);
static void look_up(const char *name);
static void look_all_up(const struct ruleset *rules, int is_done);
static bool next_known(const struct rule *rule, uint32_t *number, struct known *known);
static struct segments state_begin(const struct rule *rule, const char *path);
static void state_end(struct segments *segments);

void fallbacks_look_up(const struct ruleset *rules, const char *canonical)
{
    bool is_shared = false, are_due = false, is_unknown = false;
    int ends[2];
    if (!rules->fallback_name_count || !segment_open(canonical, &is_shared) || !is_shared)
        return;
    for (uint32_t i = 0; i < rules->fallback_name_count; i++)
        are_due |= is_due(rules->fallback_names[i].name, &is_unknown);
    if (!are_due || pipe2(ends, O_CLOEXEC) != 0)
        return;
    fflush(NULL);
    bool is_init = getpid() == 1; /* whoever outlives its parent becomes the program's child all the same */
    pid_t child = fork();
    if (child == 0) {
        if (is_init || fork() == 0)
            look_all_up(rules, ends[1]);
        _exit(0); /* the program must not have a child that it has not made */
    }
    close(ends[1]);
    if (child > 0) {
        struct pollfd done = {.fd = ends[0], .events = POLLIN};
        if (!is_init)
            waitpid(child, NULL, 0);
        if (is_unknown || is_init)
            poll(&done, 1, PATIENCE_MS);
        if (is_init) {
            kill(child, SIGKILL);
            waitpid(child, NULL, 0);
        }
    }
    close(ends[0]);
}

/* In the process of its own. */
static void look_all_up(const struct ruleset *rules, int is_done)
{
    bool is_unknown = false;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++) /* nobody waits for its end */
        dup2(null, fd);
    is_done = dup2(is_done, 3);
    closefrom(4); /* nor for what else the program was given: a lock, a pipe */
    alarm(ALLOWED_S);
    for (uint32_t i = 0; i < rules->fallback_name_count; i++)
        if (is_due(rules->fallback_names[i].name, &is_unknown))
            look_up(rules->fallback_names[i].name);
    close(is_done);
    _exit(0);
}

static bool is_due(const char *name, bool *is_unknown)
{
    struct stale_state state;
    struct address addresses[KEPT_ADDRESSES_MAX];
    kept_names_find(name, KEPT_ANY, &state, addresses);
    *is_unknown |= !state.has_answer;
    return stale_is_due(&state, kept_names_now_ns());
}

static void look_up(const char *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *answers = NULL;
    struct address addresses[KEPT_ADDRESSES_MAX];
    unsigned count = 0;
    if (getaddrinfo(name, NULL, &hints, &answers) != 0) {
        kept_names_failed(name, true);
        return;
    }
    for (const struct addrinfo *answer = answers; answer && count < KEPT_ADDRESSES_MAX;
         answer = answer->ai_next) {
        struct address *address = &addresses[count++];
        *address = (struct address){{[10] = 0xff, [11] = 0xff}};
        if (answer->ai_family == AF_INET6)
            memcpy(address->bytes, &((struct sockaddr_in6 *)(void *)answer->ai_addr)->sin6_addr, 16);
        else
            memcpy(address->bytes + 12, &((struct sockaddr_in *)(void *)answer->ai_addr)->sin_addr, 4);
    }
    freeaddrinfo(answers);
    kept_names_answered(name, KEPT_ANY, addresses, count);
}

void fallbacks_print(const struct rule *rule, const char *path, FILE *to)
{
    struct segments segments = state_begin(rule, path);
    struct known known;
    for (uint32_t number = 0; next_known(rule, &number, &known);) {
        if (!known.count)
            fprintf(to,
                    "Fallback host %s: not looked up yet; connects that do not block skip it until a program "
                    "has.\n",
                    known.name);
        else
            fprintf(to, "Fallback host %s: found at ", known.name);
        for (unsigned i = 0; i < known.count; i++)
            fprintf(to, "%s%s", i ? ", " : "", address_text(&known.addresses[i]).text);
        if (known.count)
            fprintf(to, " %s ago.\n", duration_text(known.age_ns).text);
    }
    state_end(&segments);
}

struct json_object *fallbacks_report(const struct rule *rule, const char *path)
{
    struct json_object *report = json_object_new_array();
    struct segments segments = state_begin(rule, path);
    struct known known;
    for (uint32_t number = 0; next_known(rule, &number, &known);) {
        struct json_object *host = json_new(), *addresses = json_object_new_array();
        for (unsigned i = 0; i < known.count; i++)
            json_object_array_add(addresses, json_object_new_string(address_text(&known.addresses[i]).text));
        json_add_text(host, "name", known.name);
        json_object_object_add(host, "addresses", addresses);
        if (known.count)
            json_add_ms(host, "age_ms", known.age_ns);
        else
            json_add_text(host, "age_ms", NULL);
        json_object_array_add(report, host);
    }
    state_end(&segments);
    return report;
}

/* From number `*number` of its hosts on. False: there are no more. */
static bool next_known(const struct rule *rule, uint32_t *number, struct known *known)
{
    struct stale_state state;
    uint64_t now = kept_names_now_ns();
    known->name = ladder_next_host_name(rule->policy.ladder, number);
    if (!known->name)
        return false;
    known->count = kept_names_find(known->name, KEPT_ANY, &state, known->addresses);
    known->age_ns = now > state.answered_ns ? now - state.answered_ns : 0;
    return true;
}

/* It is only read, and left alone where there is nothing to ask it. */
static struct segments state_begin(const struct rule *rule, const char *path)
{
    struct known known;
    if (!next_known(rule, &(uint32_t){0}, &known))
        return (struct segments){.count = 0};
    struct segments segments = segments_begin(path);
    segments_scan(&segments);
    if (segments.count && segments.files[0]->segment)
        segment_current = (struct segment *)(uintptr_t)segments.files[0]->segment;
    return segments;
}

static void state_end(struct segments *segments)
{
    segment_current = NULL;
    segments_end(segments);
}
