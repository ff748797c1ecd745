/* Every function that receives x every kind of descriptor x flags x what is there to receive. */
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "conform.h"
#include "receivers.h"

static const struct flag {
    const char *name;
    int flags;
} all_flags[] = {
    {"0", 0},
    {"waitall", MSG_WAITALL},
    {"peek", MSG_PEEK},
    {"dontwait", MSG_DONTWAIT},
    {"trunc", MSG_TRUNC},
    {"errqueue", MSG_ERRQUEUE},
    {"oob", MSG_OOB},
    {"nosignal", MSG_NOSIGNAL},
    {"cloexec", MSG_CMSG_CLOEXEC},
    {"more", MSG_MORE},
    {"peek_waitall", MSG_PEEK | MSG_WAITALL},
    {"waitall_dontwait", MSG_WAITALL | MSG_DONTWAIT},
    {"peek_trunc", MSG_PEEK | MSG_TRUNC},
    {"unknown", 0x8000000},
};
#define FEW_FLAGS     6 /* for what is not TCP */
#define FEW_FLAGS_TCP 4 /* for TCP over IPv6 */

enum wanted { ASK_SOME, ASK_NOTHING, ASK_AT_NULL, ASK_BAD_PAGE, ASK_HALF_BAD };

static void act_feed(struct ends *ends, int step)
{
    feed(ends, 20, 50 + step);
}

/* The driver's proof: a response timeout of 1 ms must be seen here. */
static void act_feed_slowly(struct ends *ends, int step)
{
    pause_ms(15);
    feed(ends, 20, step);
}

static void act_close(struct ends *ends, int step)
{
    (void)step;
    close(ends->peer);
    ends->peer = -1;
}

static void act_reset(struct ends *ends, int step)
{
    (void)step;
    end_reset(ends->peer);
    ends->peer = -1;
}

static void act_feed_then_close(struct ends *ends, int step)
{
    if (step == 0)
        feed(ends, 20, 50);
    else
        act_close(ends, step);
}

static void act_feed_then_reset(struct ends *ends, int step)
{
    if (step == 0)
        feed(ends, 20, 50);
    else
        act_reset(ends, step);
}

static void act_shut(struct ends *ends, int step)
{
    (void)step;
    shutdown(ends->fd, SHUT_RD);
}

static void before_some(struct ends *ends)
{
    feed(ends, 30, 1);
}

static void before_much(struct ends *ends)
{
    feed(ends, 90, 2);
}

static void before_two(struct ends *ends)
{
    feed(ends, 10, 3);
    feed(ends, 12, 4);
}

static void before_closed(struct ends *ends)
{
    act_close(ends, 0);
}

static void before_some_then_closed(struct ends *ends)
{
    feed(ends, 30, 5);
    act_close(ends, 0);
}

static void before_reset(struct ends *ends)
{
    act_reset(ends, 0);
}

static void before_half_closed(struct ends *ends)
{
    shutdown(ends->peer, SHUT_WR);
}

static void before_own_shut(struct ends *ends)
{
    shutdown(ends->fd, SHUT_RD);
}

static void before_urgent(struct ends *ends)
{
    feed(ends, 5, 6);
    send(ends->peer, "!", 1, MSG_OOB | MSG_NOSIGNAL);
    feed(ends, 5, 7);
}

static void before_own_timeout(struct ends *ends)
{
    struct timeval own = {0, 30000};
    setsockopt(ends->fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
}

/* It is never over: somebody else acts first, however busy the machine is. */
static void before_long_own_timeout(struct ends *ends)
{
    struct timeval own = {4, 0};
    setsockopt(ends->fd, SOL_SOCKET, SO_RCVTIMEO, &own, sizeof own);
}

static void before_some_and_own_timeout(struct ends *ends)
{
    before_own_timeout(ends);
    feed(ends, 30, 8);
}

static void before_request(struct ends *ends)
{
    send(ends->fd, "ask", 3, MSG_NOSIGNAL);
}

enum fit { ANYWHERE, TCP_ONLY, TCP_BLOCKING_FEW };
static const struct situation {
    const char *name;
    void (*before)(struct ends *ends);
    void (*act)(struct ends *ends, int step);
    int steps;
    enum wanted wanted;
    enum fit fit;
    bool is_slow; /* waits for a timeout of the program's own */
} situations[] = {
    {"ready", before_some, NULL, 0, ASK_SOME, ANYWHERE, false},
    {"more_than_asked", before_much, NULL, 0, ASK_SOME, ANYWHERE, false},
    {"two_messages", before_two, NULL, 0, ASK_SOME, ANYWHERE, false},
    {"later", NULL, act_feed, 1, ASK_SOME, ANYWHERE, false},
    {"asked_then_later", before_request, act_feed, 1, ASK_SOME, TCP_ONLY, false},
    {"asked_then_much_later", before_request, act_feed_slowly, 1, ASK_SOME, TCP_BLOCKING_FEW, false},
    {"asked_then_closed", before_request, act_close, 1, ASK_SOME, TCP_ONLY, false},
    {"ready_then_later", before_some, act_feed, 2, ASK_SOME, TCP_ONLY, false},
    {"later_in_parts", NULL, act_feed, 3, ASK_SOME, TCP_ONLY, false},
    {"later_then_closed", NULL, act_feed_then_close, 2, ASK_SOME, TCP_ONLY, false},
    {"later_then_reset", NULL, act_feed_then_reset, 2, ASK_SOME, TCP_ONLY, false},
    {"closed_meanwhile", NULL, act_close, 1, ASK_SOME, ANYWHERE, false},
    {"reset_meanwhile", NULL, act_reset, 1, ASK_SOME, TCP_ONLY, false},
    {"shut_meanwhile", NULL, act_shut, 1, ASK_SOME, TCP_ONLY, false},
    {"closed", before_closed, NULL, 0, ASK_SOME, ANYWHERE, false},
    {"some_then_closed", before_some_then_closed, NULL, 0, ASK_SOME, ANYWHERE, false},
    {"reset", before_reset, NULL, 0, ASK_SOME, TCP_ONLY, false},
    {"half_closed", before_half_closed, NULL, 0, ASK_SOME, ANYWHERE, false},
    {"own_shut", before_own_shut, NULL, 0, ASK_SOME, ANYWHERE, false},
    {"urgent", before_urgent, NULL, 0, ASK_SOME, TCP_ONLY, false},
    {"nothing_asked", before_some, NULL, 0, ASK_NOTHING, ANYWHERE, false},
    {"nothing_asked_nothing_there", NULL, act_feed, 1, ASK_NOTHING, ANYWHERE, false},
    {"null", before_some, NULL, 0, ASK_AT_NULL, ANYWHERE, false},
    {"null_later", NULL, act_feed, 1, ASK_AT_NULL, TCP_ONLY, false},
    {"bad_page", before_some, NULL, 0, ASK_BAD_PAGE, ANYWHERE, false},
    {"bad_page_later", NULL, act_feed, 1, ASK_BAD_PAGE, TCP_ONLY, false},
    {"half_bad", before_much, NULL, 0, ASK_HALF_BAD, ANYWHERE, false},
    {"own_timeout", before_own_timeout, NULL, 0, ASK_SOME, TCP_BLOCKING_FEW, true},
    {"own_timeout_some", before_some_and_own_timeout, NULL, 0, ASK_SOME, TCP_BLOCKING_FEW, true},
    {"own_timeout_later", before_long_own_timeout, act_feed, 1, ASK_SOME, TCP_BLOCKING_FEW, false},
};

/* What lets a receiver that would wait for ever go on: the end of the stream, or one more message. */
static void rescue(struct ends *ends)
{
    if (ends->peer < 0)
        shutdown(ends->fd, SHUT_RDWR);
    else if (ends->kind == PIPE)
        act_close(ends, 0);
    else if (kind_is_stream(ends->kind))
        shutdown(ends->peer, SHUT_WR);
    else
        send(ends->peer, "rescue", 6, MSG_NOSIGNAL);
    if (ends->kind == UDP4 || ends->kind == UDP4_FREE || ends->kind == UNIX_DGRAM)
        shutdown(ends->fd, SHUT_RD);
}

static void cell(const struct receiver *receiver, enum kind kind, enum mode mode, const struct flag *flag,
                 const struct situation *situation)
{
    if (!cell_begin("receive %s %s %s %s %s", kind_names[kind], mode_names[mode], receiver->name, flag->name,
                    situation->name))
        return;
    struct ends ends;
    if (!ends_open(&ends, kind, mode, INWARD, false)) {
        say(" absent");
        cell_end();
        return;
    }
    if (situation->before)
        situation->before(&ends);
    char *page = bad_page(), data[BUFFER_BYTES];
    memset(data, 0xaa, sizeof data);
    memset(page - 64, 0xbb, 64);
    struct request request = {.fd = ends.fd, .data = data, .size = 60, .flags = flag->flags};
    if (situation->wanted == ASK_NOTHING)
        request.size = 0;
    else if (situation->wanted == ASK_AT_NULL)
        request.data = NULL;
    else if (situation->wanted == ASK_BAD_PAGE)
        request.data = page;
    else if (situation->wanted == ASK_HALF_BAD)
        request.data = page - 35;
    helper_begin(&ends,
                 (struct plan){situation->act, situation->steps, situation->is_slow ? NULL : rescue, false});
    receiver->make(&request);
    helper_end();
    say_data("data", data, sizeof data);
    if (situation->wanted == ASK_HALF_BAD)
        say_data("page", page - 64, 64);
    say_poll_of(ends.fd);
    memset(data, 0xaa, sizeof data);
    if (kind != PIPE && kind != PLAIN_FILE) {
        CALL("again", recv(ends.fd, data, sizeof data, MSG_DONTWAIT));
        say_data("data", data, sizeof data);
        CALL("send", send(ends.fd, "x", 1, MSG_DONTWAIT));
    }
    ends_close(&ends);
    cell_end();
}

static bool is_wanted(const struct receiver *receiver, enum kind kind, enum mode mode, size_t flag,
                      const struct situation *situation)
{
    bool is_main = kind == TCP4;
    if (flag && !receiver->has_flags)
        return false;
    if (!is_main && flag >= (kind_is_tcp(kind) ? FEW_FLAGS_TCP : FEW_FLAGS))
        return false;
    if (mode == BORN_NON_BLOCKING && flag > (is_main ? 1 : 0))
        return false;
    if (situation->fit != ANYWHERE && !kind_is_tcp(kind))
        return false;
    if (situation->fit == TCP_BLOCKING_FEW && (!is_main || mode == BORN_NON_BLOCKING || flag > 2))
        return false;
    return kind < PLAIN_FILE || (mode != BORN_NON_BLOCKING && flag < 2 && !situation->act);
}

void table_receive(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int mode = 0; mode < MODES; mode++)
            for (size_t r = 0; r < receiver_count; r++)
                for (size_t f = 0; f < COUNT_OF(all_flags); f++)
                    for (size_t s = 0; s < COUNT_OF(situations); s++)
                        if (is_wanted(&receivers[r], kind, mode, f, &situations[s]))
                            cell(&receivers[r], kind, mode, &all_flags[f], &situations[s]);
}
