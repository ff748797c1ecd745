/* For variables on hot paths: their address is known when the library is linked, so no load finds it out. */
#ifndef BASE_HIDDEN_H
#define BASE_HIDDEN_H

#define HIDDEN __attribute__((visibility("hidden")))

/* What nearly every call looks at lies together: what the kernel has just done has put most of the caches to other uses. */
#define HOT __attribute__((section("resil_hot")))

#endif
