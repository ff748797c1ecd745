/* One name for two functions, by version, and one that the loader chooses (IFUNC). Each fails once after `versions_fail`. */
#include "versions.h"

static int failures;

void versions_fail(void)
{
    failures = 1;
}

static int answer(int number)
{
    return failures-- > 0 ? -1 : number;
}

int answer_before(void);
int answer_before(void)
{
    return answer(1);
}
__asm__(".symver answer_before, versions_answer@VERSION_1");

int answer_now(void);
int answer_now(void)
{
    return answer(2);
}
__asm__(".symver answer_now, versions_answer@@VERSION_2");

static int answer_chosen(void)
{
    return answer(3);
}

__attribute__((used)) static int (*choose(void))(void)
{
    return answer_chosen;
}
int versions_chosen(void) __attribute__((ifunc("choose")));
