/* Declared functions, put under policy where they are called.
 *
 * Calls between objects go through tables of addresses (the GOT) of the object that calls. There, in every object that is
 * loaded, the address of a declared function gives way to that of a closure (binding.h), which asks the policy core and
 * passes the call on (call.c). The functions themselves are not touched, nor is what was made a pointer in data.
 *
 * dlopen is not hooked. It goes by who calls it (where to look for a library, in which namespace), and what is called
 * through a hook has another caller; a hook that jumps to it cannot do anything afterwards. But whoever loads an object asks
 * it for something, so it is at dlsym that new objects are looked for, and once a second besides. */
#ifndef FUNCTIONS_FUNCTIONS_H
#define FUNCTIONS_FUNCTIONS_H

#include "report/event.h"
#include "rules/function.h"

/* The rules in force, when they have been read and once a second after that; NULL: none are. Binds what they declare, and
 * puts back what they declare no longer. */
void functions_follow(const struct ruleset *rules);

/* Looks for objects that have been loaded since. */
void functions_look(const struct ruleset *rules);

/* Around a fork. A child of a process that had threads follows no rules until it has asked an object that it has loaded for
 * something: it cannot know whether the objects may be looked at. */
void functions_before_fork(void);
void functions_forked(void);

/* Set while the program has not begun to load libraries itself. */
extern bool functions_at_start;

/* lookup.c: what stands in front of dlsym and dlvsym, and the real ones. */
extern const char functions_dlsym[], functions_dlvsym[];
extern void *(*functions_real_dlsym)(void *handle, const char *name);
extern void *(*functions_real_dlvsym)(void *handle, const char *name, const char *version);

/* Why a declared function is not under policy, as FUNCTION_UNBOUND tells it. */
void functions_tell_unbound(const char *symbol, enum unbound_reason reason);

#endif
