/* The quick form of faults, for the command line: "payments.internal: latency 300ms±50ms 20%". */
#ifndef RESIL_FAULT_WORDS_H
#define RESIL_FAULT_WORDS_H

/* What the words mean, as one line of a rule file's `faults`; NULL after a complaint. `number` makes its name. */
char *fault_words(const char *words, unsigned number);

/* A whole rule file: the rules of that one (NULL: the built-in ones), and these faults. */
char *fault_words_file(char *const *lines, unsigned count, const char *rules);

/* Writes it where the shared state is, under a name that is the same for the same text. NULL after a complaint. */
char *fault_words_write(const char *text);

#endif
