/* Faults on datagrams of UDP sockets that are not connected: whom each one is about, and so which faults are for it.
 *
 * Such a socket has one flow for all whom it talks to, with every fault that might be for one of them. A datagram that is
 * sent names its target; one that is received is looked at where it lies. A server is met by the port that it was bound to,
 * too, as it is where it accepts connections. */
#ifndef DRIVE_FAULT_PEER_H
#define DRIVE_FAULT_PEER_H

#include "drive/transfer.h"
#include "state/faults.h"

struct fault_peer {
    uint64_t without; /* mask of the flow's faults that are not for it */
    char text[56];    /* who it is, for events */
};

/* The program has made a UDP socket. errno is untouched. */
void fault_unconnected(int fd, bool is_non_blocking);

/* To whom, or from whom, the call's next datagram is. PEER_NONE: nothing is known, or nothing is there; make the call.
 * PEER_FAILED: it has failed, and errno says how. Waits for something to be received, if it may. */
enum peer { PEER_FOUND, PEER_NONE, PEER_FAILED };
enum peer fault_peer_of_send(struct flow *flow, const struct transfer *transfer, struct fault_peer *peer);
enum peer fault_peer_of_receive(struct flow *flow, struct descriptor *entry, const struct transfer *transfer,
                                bool may_wait, struct fault_peer *peer);

#endif
