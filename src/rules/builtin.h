/* The text of rules/default.yaml, compiled in. */
#ifndef RULES_BUILTIN_H
#define RULES_BUILTIN_H

extern const unsigned char builtin_rules[];
extern const unsigned long builtin_rules_size;

#endif
