/* A file that is there in whole, as it was or as it shall be, whatever happens meanwhile. */
#ifndef RESIL_REPLACE_H
#define RESIL_REPLACE_H

#include <stdbool.h>

/* Writes the text beside the file, on disk, and renames it over the file; readable by all. False with errno set: then
 * nothing has changed. */
bool replace_file(const char *path, const char *text);

/* The text of a small file; empty where there is none. NULL with errno set where it cannot be read. */
char *read_whole(const char *path);

#endif
