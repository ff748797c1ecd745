/* Network addresses as rules see them: always 16 bytes, IPv4 in its v4-mapped form, so that 10.0.0.7 and
 * ::ffff:10.0.0.7 (as the JVM connects) are one host. */
#ifndef RULES_ADDRESS_H
#define RULES_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

struct address {
    uint8_t bytes[16];
};
#define ADDRESS_V4_BITS 96 /* a v4-mapped address is ::ffff:0:0/96 and the four bytes */

/* "10.0.0.7", "::1" or "[::1]". False when it is not a literal address. */
bool address_parse(const char *text, struct address *address);

/* Also "10.1.0.0/16"; without a length the prefix is the one address. The length counts in the 16-byte form. False
 * also where bits are set beyond the length (10.1.0.7/16): which of the two numbers is wrong is not for us to guess. */
struct prefix {
    struct address address;
    uint8_t length_bits;
};
bool prefix_parse(const char *text, struct prefix *prefix);

/* The same, but bits beyond the length are cleared: what was probably meant. */
bool prefix_parse_loosely(const char *text, struct prefix *prefix);

/* "::/0" means every IPv6 address: IPv4 addresses are not in it, although their v4-mapped form would be. */
bool prefix_contains(const struct prefix *prefix, const struct address *address);

bool address_equal(const struct address *a, const struct address *b);
bool address_is_v4(const struct address *address);

/* "10.0.0.7" or "::1". */
struct address_text {
    char text[46];
};
struct address_text address_text(const struct address *address);

/* "10.1.0.0/16"; a single address without a length. */
struct prefix_text {
    char text[50];
};
struct prefix_text prefix_text(const struct prefix *prefix);

#endif
