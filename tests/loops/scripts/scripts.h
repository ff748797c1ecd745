/* What the parts of the program have in common (scripts.c): servers, which no hook sees; the program's waits and calls; other
 * threads; and what becomes of a connection. */
#ifndef TESTS_LOOPS_SCRIPTS_H
#define TESTS_LOOPS_SCRIPTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

#define CONNECTIONS 3
#define PATIENCE_MS 20000
#define OPAQUE      UINT64_C(0x7f0000000000) /* from here on data are no numbers */

/* Networks of loopback, which the rules tell apart. */
enum net { NET_EAGER = 1, NET_PATIENT, NET_GIVES_UP, NET_IMPATIENT, NET_PLAIN };
/* What becomes of a connection, as the program sees it. */
enum story { SILENT, ACCEPTED, REFUSED };
enum loop {
    POLL,
    PPOLL,
    SELECT,
    PSELECT,
    LEVEL,
    EDGE,
    ONESHOT,
    EDGE_ONESHOT,
    EXCLUSIVE,
    EDGE_EXCLUSIVE,
    NESTED,
    TWO_EPOLLS,
    LOOPS
};

struct connection {
    enum story story;
    int fd;
    bool is_mapped, is_v6, is_over, is_armed, is_registered, is_black_hole;
    _Atomic bool is_closed;
    _Atomic bool is_quiet; /* nobody may see anything of it yet, as nobody has taken it out of an epoll */
    enum net net;
    struct sockaddr_storage address;
    socklen_t length;
    int listener, filler, accepted;
    uint64_t data;
    uint32_t events, inbox;
};

extern bool is_hidden, is_own, has_threads; /* as asked for */
extern _Atomic bool was_interrupted;        /* the last wait was, by a signal */
extern _Atomic bool may_interrupt;          /* signals may come at any time */
extern uint64_t script_random, hidden_random;
extern enum loop loop;
extern int epolls[2], outer;
extern struct connection connections[CONNECTIONS];
extern unsigned count;
extern char line[1 << 16]; /* what was said of this script */
extern size_t length;

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t next(uint64_t *state);
unsigned draw(unsigned below);

/* servers.c: where a connection leads, and who is there. */
int raw(long result);
void raw_close(int *fd);
bool raw_await(int fd, short events);
void raw_read_all(int fd, size_t size, char *got);
socklen_t server_address(const struct connection *connection, unsigned port,
                         struct sockaddr_storage *address);
unsigned *port_for(const struct connection *connection);
int bind_server(const struct connection *connection, unsigned *port);
void make_silent(struct connection *connection, unsigned port);
void accept_it(struct connection *connection);

/* waits.c: the loop, and how it knows the connections. */
bool is_epoll(void);
bool is_edge(void);
uint32_t mode_bits(void);
void control(struct connection *connection, int operation);
void set_data(struct connection *connection);
void add(struct connection *connection);
unsigned look(struct connection *connection, int timeout_ms);
void rearm(struct connection *connection);
void await_event(struct connection *connection);

/* calls.c: what the program does to a connection, and what it is told. */
void outcome(const char *what, long result);
void so_error(struct connection *connection);
void connect_it(struct connection *connection);
void send_something(struct connection *connection);
void receive_something(struct connection *connection, bool may_peek);
void peer_name(struct connection *connection);
void move_to_copy(struct connection *connection);
void fork_child(struct connection *connection);

/* threads.c: what others do meanwhile. */
void begin_threads(void);
void begin_in_thread(struct connection *connection);
void be_interrupted(void);
void begin_beside(void);
void settle_threads(void);
void end_threads(void);

/* stories.c: one connection from its beginning to its end, in steps. */
void begin(struct connection *connection);
void step(struct connection *connection, unsigned *steps);

#endif
