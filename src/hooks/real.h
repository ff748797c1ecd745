/* The functions that the hooks stand in front of. Each pointer is good from the first instruction of the process on:
 * until it has been looked up it leads to a function that does so and goes on. */
#ifndef HOOKS_REAL_H
#define HOOKS_REAL_H

#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/hidden.h"
#include "state/alone.h"

struct real {
#define HOOK(result, name, parameters, arguments, absent)  result(*name) parameters;
#define HOOK_VARIADIC(result, name, first, second, absent) result (*name)(first, second, ...);
#define HOOK_LIST(result, name, absent)
#include "hooks/hooks.def"
#undef HOOK
#undef HOOK_VARIADIC
#undef HOOK_LIST
};

extern struct real real HIDDEN;

/* Looks all of them up; may be called more than once and by several threads. Changes no errno. */
void real_look_up(void);

#endif
