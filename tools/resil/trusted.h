/* What root's programs may load without anybody else having a say in it. */
#ifndef RESIL_TRUSTED_H
#define RESIL_TRUSTED_H

/* NULL where the file and every folder above it belong to root and nobody else can write there; else a sentence that
 * says which one does not, and what to do. The path is absolute and without symbolic links. */
char *trusted_problem(const char *path);

#endif
