/* Reads `faults` of a declared function: calls that are not made, and return what a failed one would. */
#include <string.h>

#include "rules/fault_read.h"
#include "rules/function_reader.h"

#define QUOTED(node) quote((node)->text, (node)->length).text

enum { PROBABILITY, NTH, EVERY, AFTER, TIMES, RETURNS, ERROR };

void function_faults_read(struct reader *reader, const struct node *node, struct function *function)
{
    static const char *const names[] = {[PROBABILITY] = "probability",
                                        [NTH] = "nth",
                                        [EVERY] = "every",
                                        [AFTER] = "after",
                                        [TIMES] = "times",
                                        [RETURNS] = "returns",
                                        [ERROR] = "errno",
                                        NULL};
    const struct fields fields = {.path = "faults", .names = names};
    const struct node *values[FIELDS_MAX];
    struct fault_params *params = &function->faults.params;
    if (!fields_read(reader, node, &fields, values)) {
        COMPLAIN(reader, node, "faults: needs returns, and maybe errno, probability or every below it");
        return;
    }
    *params = (struct fault_params){.identity = function->rule.identity, .probability_ppm = PPM_ONE};
    const struct {
        int field;
        const char *name;
        uint32_t *count;
    } counts[] = {{NTH, "faults.nth", &params->nth},
                  {EVERY, "faults.every", &params->every},
                  {AFTER, "faults.after", &params->after},
                  {TIMES, "faults.times", &params->times}};
    if (values[PROBABILITY])
        ratio_read(reader, values[PROBABILITY], "faults.probability", &params->probability_ppm);
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++)
        if (values[counts[i].field])
            params->has_counts |=
                fault_count_read(reader, values[counts[i].field], counts[i].name, 1, counts[i].count);
    if (values[NTH] && values[EVERY])
        COMPLAIN(reader, values[EVERY],
                 "faults.every: nth says which one it is already (leave one of them out)");
    if (values[ERROR] && scalar_text(reader, values[ERROR], "faults.errno")) {
        function->faults.error = errno_by_name(values[ERROR]->text);
        if (function->faults.error == 0)
            COMPLAIN(reader, values[ERROR],
                     "faults.errno: %s is no error that is known here (write ECONNRESET)",
                     QUOTED(values[ERROR]));
    }
    if (!values[RETURNS])
        COMPLAIN(reader, node, "faults.returns: is missing (what a failed call returns)");
    else if (value_of_result(reader, values[RETURNS], "faults.returns", function->returns,
                             &function->faults.value) &&
             !function_has_failed(function, function->faults.value, function->faults.error))
        /* Nothing is asked of it then: it is not a thing of the library's. */
        COMPLAIN(reader, values[RETURNS],
                 "faults.returns: is no failure by fails_when.returns (and its errno)");
    function->faults.is_given = true;
}
