/* A library with versions of a function. */
#ifndef PROGRAMS_VERSIONS_H
#define PROGRAMS_VERSIONS_H

void versions_fail(void);
int versions_answer(void); /* 1 in VERSION_1, 2 in VERSION_2 */
int versions_chosen(void); /* 3 */

#endif
