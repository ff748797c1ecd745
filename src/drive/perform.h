/* Makes a call of the program again, or what is left of it. */
#ifndef DRIVE_PERFORM_H
#define DRIVE_PERFORM_H

#include "drive/transfer.h"

#define PERFORM_PARTS 16 /* of an iovec that can be continued in the middle */

ssize_t perform(const struct transfer *transfer);

/* Has the program asked for this one call not to wait? */
bool perform_is_dontwait(const struct transfer *transfer);

/* Can it not be told to return at once? Then signals are let in while it is made. */
bool perform_may_wait(const struct transfer *transfer);

/* A call without the bytes that are done, and what it points to. Not to be copied. */
struct rest {
    struct transfer transfer;
    struct msghdr message;
    struct iovec parts[PERFORM_PARTS];
};
/* Signals are blocked while it is made, so it never waits: a read or write of a socket becomes the recv or send that
 * can be told not to. False: it cannot be continued in the middle. */
bool perform_rest(const struct transfer *transfer, size_t done, struct rest *rest);

/* The call for at most `most` bytes after the first `done`. False: it cannot be cut. perform_part_done gives the program what
 * the kernel has said beside the data. */
bool perform_part(const struct transfer *transfer, size_t done, size_t most, struct rest *rest);
/* The call as one that leaves the message where it is. False: there is no such form of it. */
bool perform_peek(const struct transfer *transfer, struct rest *rest);
void perform_part_done(const struct transfer *transfer, const struct rest *rest);

/* How many bytes it asks for; 0 for several messages. To be asked only after the call has succeeded: until then
 * nobody knows whether the program's pointers are good. */
size_t perform_size(const struct transfer *transfer);

#endif
