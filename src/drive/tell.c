#include "drive/tell.h"

#include <string.h>

#include "base/text.h"
#include "report/sink.h"
#include "state/recorder.h"

void tell(struct event *event)
{
    recorder_note(event);
    if (!sink_is_on())
        return;
    char line[320];
    struct text text = text_begin(line, sizeof line - 1);
    text_add(&text, "libresil: ");
    event_say(event, &text);
    line[text.length++] = '\n';
    if (!sink_write(line, text.length))
        segment_passed(PASSED_LOG_LOST);
}

struct event event_about(enum event_kind kind, const char *target)
{
    struct event event = {.kind = (uint16_t)kind};
    memcpy(event.target, target, strnlen(target, sizeof event.target - 1));
    return event;
}
