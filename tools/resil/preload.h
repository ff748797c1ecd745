/* The library, and LD_PRELOAD. */
#ifndef RESIL_PRELOAD_H
#define RESIL_PRELOAD_H

#include <limits.h>
#include <stdbool.h>

/* Finds libresil.so: RESIL_LIBRARY, next to resil itself, or where it is installed. Says on stderr where it was looked
 * for, or why it cannot be used. 0, or the exit status. */
int preload_find(char library[PATH_MAX]);

/* Puts the library in front of what LD_PRELOAD has, unless it is there already. */
void preload_set(const char *library);

/* Is that the same file, or another libresil? Two of them would each do everything. */
bool preload_is_library(const char *path, const char *library);

#endif
