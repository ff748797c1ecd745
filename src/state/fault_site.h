/* Where in the program a call is made. Takes no lock of the loader's: async-signal-safe. */
#ifndef STATE_FAULT_SITE_H
#define STATE_FAULT_SITE_H

#include <stdint.h>

struct fault_caller {
    const char *module; /* the file name of the library or program; "" = not known */
    const char *symbol; /* the function, if the library exports it; "" = not known */
    uint64_t offset;    /* of the call in the library's file */
};
/* Once, before main; until then calls have no place. */
void fault_site_look_up(void);

struct fault_caller fault_caller_of(uintptr_t address);

#endif
