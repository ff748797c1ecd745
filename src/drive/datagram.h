/* UDP: connecting a socket only says where its datagrams go. What can fail are the exchanges that follow. */
#ifndef DRIVE_DATAGRAM_H
#define DRIVE_DATAGRAM_H

#include "drive/connect.h"

/* Makes the program's call, once, and guards the socket. Returns as connect does. */
int datagram_connect(struct connecting *call);

#endif
