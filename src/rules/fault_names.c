#include "rules/fault_names.h"

#include "base/text.h"
#include "rules/errno_names.h"

uint32_t fault_names(const struct ruleset *set)
{
    uint32_t count = set->fault_count;
    for (uint32_t i = 0; i < set->function_count; i++)
        count += set->functions[i].faults.is_given;
    return count;
}

struct named_fault fault_name(const struct ruleset *set, uint32_t number)
{
    if (number < set->fault_count) {
        const struct fault *fault = &set->faults[number];
        return (struct named_fault){.name = fault->name,
                                    .identity = fault->params.identity,
                                    .kind = fault_kinds[fault->params.kind].name,
                                    .fault = fault};
    }
    const struct function *function = set->functions;
    for (uint32_t left = number - set->fault_count; left || !function->faults.is_given; function++)
        left -= function->faults.is_given;
    return (struct named_fault){.name = function->rule.name,
                                .identity = function->faults.params.identity,
                                .kind = fault_kinds[FAULT_ERROR].name,
                                .function = function};
}

struct fault_text fault_name_text(const struct named_fault *named)
{
    struct fault_text what;
    struct text text = text_begin(what.text, sizeof what.text);
    if (named->fault)
        return fault_text(named->fault);
    text_add(&text, "%s returns %s", named->function->symbol, function_fault_text(named->function).text);
    return what;
}

struct fault_text function_fault_text(const struct function *function)
{
    struct fault_text what;
    struct text text = text_begin(what.text, sizeof what.text);
    const char *error = function->faults.error ? errno_name(function->faults.error) : NULL;
    text_add(&text, "%s", result_text(value_type_class(function->returns), function->faults.value).text);
    text_add(&text, "%s%s", error ? ", errno " : "", error ? error : "");
    return what;
}
