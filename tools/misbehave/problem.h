#ifndef MISBEHAVE_PROBLEM_H
#define MISBEHAVE_PROBLEM_H

/* Why something could not be done, in words for the person who asked: at the terminal or through the
 * control socket. */
struct problem {
    char text[320];
};

/* Fills in the text: what is wrong and how to mend it. */
void problem_say(struct problem *problem, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
