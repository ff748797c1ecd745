/* What is legal of faults and will disappoint. */
#include "rules/fault_read.h"
#include "rules/pattern.h"

#define COVER_STEPS 1000000ull

/* Does it end every call that it is about? Then those behind it are never asked. */
static bool ends_all(const struct fault *fault)
{
    const struct fault_params *params = &fault->params;
    bool is_end = params->kind == FAULT_ERROR || params->kind == FAULT_TIMEOUT ||
                  params->kind == FAULT_INTERRUPT || params->kind == FAULT_EXHAUST ||
                  params->kind == FAULT_ADDRESS;
    return is_end && params->probability_ppm == PPM_ONE && !params->has_counts && !params->has_schedule &&
           !fault->caller_count && !fault->match.program_count;
}

void faults_lint(const struct ruleset *set, struct problems *problems)
{
    uint64_t steps = COVER_STEPS;
    for (uint32_t i = 0; i < set->fault_count; i++) {
        const struct fault *fault = &set->faults[i];
        uint32_t left = fault->params.operations;
        const struct fault *before = NULL;
        for (uint32_t n = 0; n < i && left; n++) {
            const struct fault *earlier = &set->faults[n];
            if (!(earlier->params.operations & left) || !ends_all(earlier) ||
                !match_covers(&earlier->match, &fault->match, &steps))
                continue;
            left &= ~earlier->params.operations;
            before = earlier;
        }
        if (left || !before)
            continue;
        problems->now.path = fault->file ? fault->path : NULL;
        problems->now.file = fault->file;
        problem_add(problems, PROBLEM_WARNING, fault->line, fault->column,
                    "%s: never fires, because \"%s\" on line %u ends every such call (put it further up)",
                    fault->name, before->name, before->line);
    }
    problems->now.path = NULL;
    problems->now.file = 0;
}
