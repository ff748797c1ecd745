/* Why libresil may not work in a program. */
#ifndef RESIL_DOUBTS_H
#define RESIL_DOUBTS_H

#include <stdbool.h>

/* Says on stderr what keeps libresil from working in the program, or in what interprets it: what, why it matters, what
 * to do; one line each. Gives false where it had better not be loaded at all. */
bool doubts_say(const char *path, const char *library);

#endif
