/* Which name services the machine asks for hosts (the hosts line of /etc/nsswitch.conf). */
#ifndef DRIVE_NAME_SERVICES_H
#define DRIVE_NAME_SERVICES_H

#include <stdbool.h>

/* Are they files and dns only, both inside libc? Then the resolver's settings say how long a lookup takes, and no call of
 * a lookup comes through our hooks. Modules (resolve, mdns4, myhostname, ...) keep times of their own and connect
 * through the hooks; so does the cache daemon for the times. Read again when the file changes. errno untouched. */
bool name_services_are_plain(void);

#endif
