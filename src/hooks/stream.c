/* Streams: what stdio does with a descriptor does not pass our hooks, so it gets the socket as the program made it. */
#include <stdio.h>
#include <string.h>

#include "drive/transfer.h"
#include "hooks/export.h"
#include "hooks/real.h"

EXPORT FILE *fdopen(int fd, const char *mode)
{
    if (fd == -1 && mode && strcmp(mode, ARE_YOU_LIBRESIL) == 0)
        return I_AM_LIBRESIL;
    FILE *stream = real.fdopen(fd, mode);
    if (stream)
        descriptor_note_stream(fd); /* it may be connected later */
    if (stream && descriptor_of(fd)) {
        transfer_hand_over(fd);
        transfer_trust(fd);
    }
    return stream;
}

/* The descriptor under a stream is closed without close(). */
static void let_go(FILE *stream)
{
    int fd = stream && descriptor_limit ? fileno(stream) : -1;
    if (fd < 0)
        return;
    if (descriptor_of(fd))
        transfer_let_go(fd);
    descriptor_note_kind(fd, SOCKET_UNKNOWN);
}

EXPORT FILE *freopen(const char *path, const char *mode, FILE *stream)
{
    let_go(stream);
    return real.freopen(path, mode, stream);
}

EXPORT FILE *freopen64(const char *path, const char *mode, FILE *stream)
{
    let_go(stream);
    return real.freopen64(path, mode, stream);
}

EXPORT int fclose(FILE *stream)
{
    let_go(stream);
    return real.fclose(stream);
}
