/* The servers that stress.c and stress_threads.c connect to, and what else those two have in common. They live in the same process
 * and make their system calls themselves, so that no hook sees them. */
#ifndef TESTS_LOOPS_SERVERS_H
#define TESTS_LOOPS_SERVERS_H

#include <netinet/in.h>

/* How a connection is to end: with a server that is up now and then, that never is, that does not answer. */
enum kind { LATE, REFUSED, SILENT, KINDS };
extern const int expected[KINDS];

struct server {
    int fd;
    struct sockaddr_in address;
};
extern struct server refusing, silent;

/* Those two, and so many of the first kind (8 at most), which listen later. Each process has addresses of its own. */
void open_servers(struct server *late, unsigned count);

/* Says one byte to whoever has connected. */
void answer_all(const struct server *server);

int so_error(int fd);

/* As many descriptors as may be. */
void raise_limit(void);

struct usage {
    long pages, mapped, descriptors;
};
struct usage measure(void);

#endif
