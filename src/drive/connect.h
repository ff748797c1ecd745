/* connect() under a rule: finds the target and its rule, asks the breaker, and lets the right driver make the call. */
#ifndef DRIVE_CONNECT_H
#define DRIVE_CONNECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "drive/tell.h"
#include "rules/rules.h"
#include "state/breakers.h"
#include "state/names.h"

/* One connect call under a rule. */
struct connecting {
    int fd;
    const struct sockaddr *address;
    socklen_t length;
    const struct rule *rule;
    struct target target;
    char name[NAME_MAX_BYTES]; /* target.name points here */
    char text[52];             /* the target, for events: connect_text */
    struct host_handle host;
    struct breaker_ticket ticket;
    enum breaker_verdict verdict;
    uint64_t seed;
    uint64_t begun_ns;
    bool is_fresh;           /* blocking and without timeouts of its own, as far as we know */
    uint64_t own_send_ns;    /* the program's own SO_SNDTIMEO ... */
    uint64_t send_option_ns; /* ... and what we have set it to meanwhile */
};

/* Address and port of an AF_INET or AF_INET6 address; false for others. The name is left alone. */
bool target_of_sockaddr(const struct sockaddr *address, socklen_t length, struct target *target);

int drive_connect(int fd, const struct sockaddr *address, socklen_t length);

/* Fills in call->text, once it is clear that it will be needed. */
void connect_text(struct connecting *call);

/* Carries the call out, waiting inside it. Returns as connect does. */
int blocking_connect(struct connecting *call);

/* Tells the breaker what became of an admitted call, and tells of the change that this makes. */
void connect_report(struct host_handle host, const char *target, const struct breaker_params *params,
                    int error, struct breaker_ticket ticket, enum breaker_report report, uint64_t seed,
                    bool is_shadow);

#endif
