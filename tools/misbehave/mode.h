#ifndef MISBEHAVE_MODE_H
#define MISBEHAVE_MODE_H

#include "problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mode_kind {
    MODE_ANSWER,
    MODE_HOLD,
    MODE_ECHO,
    MODE_REFUSE,
    MODE_BLACKHOLE,
    MODE_HANG,
    MODE_RESET,
    MODE_CLOSE,
    MODE_SLOW,
    MODE_DRAIN,
};

/* One way to misbehave, as asked for. Never changes after parsing; shared by the connections that began
 * under it. */
struct mode {
    enum mode_kind kind;
    unsigned references;
    uint64_t up_after_ms; /* refuse for so long first */

    uint64_t delay_ms;    /* answer */
    uint64_t status;      /* answer, hold, slow, drain */
    uint64_t after_bytes; /* reset, close: cut the answer after so many */
    uint64_t rate;        /* slow, drain: bytes per second */
    uint64_t size;        /* slow: bytes of body */
    bool keep_alive;      /* answer, hold */
    bool at_accept;       /* reset, close: do not wait for the request */
    char *body;           /* NULL: filler */

    /* The HTTP answer that follows from the above. */
    char head[192];
    size_t head_size;
    uint64_t body_size;
    uint64_t send_size; /* of head and body together: less where the mode cuts the answer short */
};

/* Parses `MODE [OPTIONS]`, from the command line or the control socket. NULL: problem says why. */
struct mode *mode_parse(int count, char *const *words, struct problem *problem);

struct mode *mode_share(struct mode *mode);
void mode_release(struct mode *mode);

/* What --help says about modes. */
extern const char mode_help[];

#endif
