/* Questions to name servers and their answers, as RFC 1035 has them: just enough to find where a host is. Nothing here
 * makes a call or keeps anything, and no message is trusted. */
#ifndef DRIVE_DNS_MESSAGE_H
#define DRIVE_DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules/address.h"

#define DNS_MESSAGE_BYTES 512u /* over UDP */

enum dns_type { DNS_A = 1, DNS_AAAA = 28 };

struct dns_question {
    uint8_t bytes[288]; /* a name takes 255 at most */
    size_t length;
};

/* False: it is no name that could be asked for. */
bool dns_ask(struct dns_question *question, uint16_t id, const char *name, enum dns_type type);

enum dns_verdict {
    DNS_FOREIGN, /* no answer to this question */
    DNS_ANSWERED,
    DNS_NO_SUCH_NAME,
    DNS_FAILED, /* the server could not tell */
};

/* Addresses come behind the `count` that are there, up to `most`; those of aliases are taken as the name's own. */
enum dns_verdict dns_read(const struct dns_question *question, const uint8_t *message, size_t length,
                          struct address *addresses, unsigned *count, unsigned most);

#endif
