#ifndef MISBEHAVE_WORDS_H
#define MISBEHAVE_WORDS_H

/* Splits a line into words in place, at blanks; '...' and "..." keep blanks, as in a shell (what Python's
 * shlex.quote makes is understood). Returns how many words, or -1: a quote is not closed, or there are
 * more than `most`. */
int words_split(char *line, char **words, int most);

#endif
