/* What a fault does, in the words of rule files. */
#include <string.h>

#include "rules/errno_names.h"
#include "rules/faults.h"
#include "rules/values.h"

struct fault_text fault_text(const struct fault *fault)
{
    const struct fault_params *params = &fault->params;
    struct fault_text result;
    struct text text = text_begin(result.text, sizeof result.text);
    text_add(&text, "%s: ", fault_kinds[params->kind].name);
    switch (params->kind) {
    case FAULT_ERROR:
        text_add(&text, "%s",
                 params->operations & FAULT_ON(FAULT_RESOLVE) ? eai_name(params->error)
                                                              : errno_name(params->error));
        break;
    case FAULT_LATENCY:
        text_add(&text, "{delay: ");
        values_add_duration(&text, params->latency.delay_ns);
        if (params->latency.jitter_ns) {
            text_add(&text, ", jitter: ");
            values_add_duration(&text, params->latency.jitter_ns);
            text_add(&text, ", distribution: %s", fault_distribution_names[params->latency.distribution]);
        }
        if (params->latency.correlation_ppm) {
            text_add(&text, ", correlation: ");
            values_add_ratio(&text, params->latency.correlation_ppm);
        }
        text_add(&text, "}");
        break;
    case FAULT_RESET:
        text_add(&text, "{");
        if (params->reset.after_bytes)
            text_add(&text, "after_bytes: %lu", params->reset.after_bytes);
        if (params->reset.after_ns) {
            text_add(&text, "after: ");
            values_add_duration(&text, params->reset.after_ns);
        }
        text_add(&text, "}");
        break;
    case FAULT_BANDWIDTH:
        text_add(&text, "{rate: %luB/s, burst: %luB}", params->bandwidth.bytes_per_s,
                 params->bandwidth.burst_bytes);
        break;
    case FAULT_SLICE:
        text_add(&text, "{size: %lu, variation: %lu", params->slice.size, params->slice.variation);
        if (params->slice.gap_ns) {
            text_add(&text, ", gap: ");
            values_add_duration(&text, params->slice.gap_ns);
        }
        text_add(&text, "}");
        break;
    case FAULT_LIMIT_DATA:
        text_add(&text, "%lu", params->limit_bytes);
        break;
    case FAULT_SLOW_CLOSE:
        values_add_duration(&text, params->close_delay_ns);
        break;
    case FAULT_LOSS:
        text_add(&text, "{ratio: ");
        values_add_ratio(&text, params->ratio_ppm);
        if (params->burst.enter_ppm) {
            text_add(&text, ", burst: {enter: ");
            values_add_ratio(&text, params->burst.enter_ppm);
            text_add(&text, ", leave: ");
            values_add_ratio(&text, params->burst.leave_ppm);
            text_add(&text, ", ratio: ");
            values_add_ratio(&text, params->burst.ratio_ppm);
            text_add(&text, "}");
        }
        text_add(&text, "}");
        break;
    case FAULT_REORDER:
        text_add(&text, "{ratio: ");
        values_add_ratio(&text, params->ratio_ppm);
        text_add(&text, ", depth: %u, hold: ", params->reorder.depth);
        values_add_duration(&text, params->reorder.hold_ns);
        text_add(&text, "}");
        break;
    case FAULT_CORRUPT:
    case FAULT_DUPLICATE:
        values_add_ratio(&text, params->ratio_ppm);
        break;
    case FAULT_ADDRESS: {
        struct address address;
        memcpy(address.bytes, params->address, sizeof address.bytes);
        text_add(&text, "%s", address_text(&address).text);
        break;
    }
    case FAULT_TIMEOUT:
    case FAULT_INTERRUPT:
    case FAULT_EXHAUST:
    case FAULT_KINDS:
        text_add(&text, "{}");
        break;
    }
    return result;
}
