/* What the machine's own files say of names: /etc/hosts, and /etc/resolv.conf for who is to be asked. Read in place, without
 * stdio, memory or libc's resolver: inside a connect there is none of them. errno untouched. */
#ifndef DRIVE_NAME_FILES_H
#define DRIVE_NAME_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "rules/address.h"

#define NAME_SERVERS_MAX 3u /* as libc has it */

/* The addresses that /etc/hosts has for the name, in its normal form: their number, at most `most`. */
unsigned name_files_hosts(const char *name, struct address *addresses, unsigned most);

struct name_servers {
    struct address addresses[NAME_SERVERS_MAX];
    unsigned count;
    unsigned dots;       /* a name with fewer is looked for in the domains first */
    char domains[6][64]; /* in their normal form; longer ones, and more, are left out */
    unsigned domain_count;
};

void name_files_servers(struct name_servers *servers);

#endif
