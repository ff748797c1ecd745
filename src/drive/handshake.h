/* The end of a TLS handshake among what a program sends: nobody has to answer it. */
#ifndef DRIVE_HANDSHAKE_H
#define DRIVE_HANDSHAKE_H

#include "drive/transfer.h"

/* The call has sent `sent` bytes, 1 or more. Are they the end of a handshake, and nothing else? */
bool handshake_is_over(const struct transfer *transfer, size_t sent);

#endif
