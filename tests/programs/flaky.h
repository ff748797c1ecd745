/* A client library that fails when it is told to, for the tests of declared functions. */
#ifndef PROGRAMS_FLAKY_H
#define PROGRAMS_FLAKY_H

struct flaky;

/* From now on so many calls of flaky_open and flaky_ask fail. */
void flaky_fail(int times);

/* Never null, like PQconnectdb: flaky_status is 1 of one that could not be opened, and it has to be closed all the same. */
struct flaky *flaky_open(const char *where);
int flaky_status(const struct flaky *flaky);
void flaky_close(struct flaky *flaky);

/* The sum of its arguments; -1 and EIO when it fails. */
int flaky_ask(int a, int b);

/* Each argument in a place of its own, and the sum of them. */
double flaky_mixed(char a, short b, int c, long d, float e, double f, unsigned char g, unsigned long h,
                   const char *i, int j);

/* Calls the caller back; what that returns it returns. */
int flaky_with(int (*callback)(void *data), void *data);

/* How often the functions were really called, and how many handles are open. */
int flaky_calls(void);
int flaky_live(void);

#endif
