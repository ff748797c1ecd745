/* Whose is it what an epoll reports? It says only under what data it was registered, which one descriptor may have or several. */
#ifndef DRIVE_WHOSE_H
#define DRIVE_WHOSE_H

#include "state/descriptors.h"
#include "state/registrations.h"

#define WHOSE_ASKED 8u

/* Those whose it may be. */
struct whose {
    int epoll;
    uint64_t data;
    /* What the kernel has said, where nothing was known; else they are found one by one. */
    struct {
        int fd;
        struct registration registration;
    } asked[WHOSE_ASKED];
    unsigned asked_count;
    bool is_cut;
    bool is_gone; /* the kernel was asked, and nothing is registered under them any more */
    unsigned turn, turn_of_all;
};

/* The only descriptor whose it can be (perhaps one that nothing is to be hidden of); NOBODY_KNOWN; SEVERAL_MAY: of several one
 * at least is ours to see to, or (`is_overtaken`) may have been, and whose_next tells them. Asks the kernel where nothing is
 * known, be it because another thread has closed it meanwhile. */
#define NOBODY_KNOWN (-1)
#define SEVERAL_MAY  (-2)
int whose_event(struct whose *whose, int epoll, const struct epoll_event *event, bool is_overtaken,
                struct registration *found);

/* It is none of those that are known: asks the kernel about others. SEVERAL_MAY, or NOBODY_KNOWN: there are none. */
int whose_else(struct whose *whose);

/* All of them in turn, some perhaps twice. -1: there are no more. whose_again: from the first one on. */
int whose_next(struct whose *whose, struct registration *found);
void whose_again(struct whose *whose);

/* Is it still registered so, where that is known? Its number may have been closed, and be another one's by now. */
bool whose_is_still(const struct whose *whose, int fd);

/* Is there anything of it to be hidden, or to be put right? */
bool whose_is_ours(const struct descriptor *entry);

#endif
