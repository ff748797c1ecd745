/* For variables on hot paths: their address is known when the library is linked, so no load finds it out. */
#ifndef BASE_HIDDEN_H
#define BASE_HIDDEN_H

#define HIDDEN __attribute__((visibility("hidden")))

#endif
