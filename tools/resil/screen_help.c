/* Which keys there are: in the last line, and all of them on a screen of their own. */
#include <stdio.h>

#include "paint.h"
#include "screen.h"

static const char *keys_of(const struct screen *screen, int width);

void screen_draw_help(const struct screen *screen)
{
    static const char *const lines[] = {
        "",
        "  arrows, page up, page down, home, end   choose a row (j and k too)",
        "  /   only rows with that in their names      s   another order of hosts",
        "  p   pause                                   f   hosts or faults",
        "  q   quit                                    ?   this; any key goes back",
        "",
        "Hosts (as resil breaker does it; you are asked first)",
        "  o   hold the circuit open: calls fail at once",
        "  c   hold it closed: calls go through, whatever becomes of them",
        "  a   give it back: outcomes decide           r   reset it",
        "",
        "Faults (as resil fault does it; you are asked first)",
        "  o   on: in every program with that rule file, armed or not",
        "  x   off: not even where it is armed         a   as armed",
        "",
        "RUNG is what the host was served by last: full is itself, host a fallback",
        "host, stale the last good answer, canned a canned one, addrs addresses of",
        "the rule's own, error none of these, - nobody gets to it. REJ: by an open",
        "circuit or a limit. Times are half of all calls and 99 of 100, of the last",
        "minute if it had any.",
    };
    (void)screen;
    attron(A_BOLD);
    mvaddnstr(0, 0, "resil top: keys", COLS);
    attroff(A_BOLD);
    for (int i = 0; i < (int)(sizeof lines / sizeof lines[0]) && i + 2 < LINES; i++)
        mvaddnstr(i + 1, 0, lines[i], COLS);
}

void screen_draw_last(const struct screen *screen)
{
    char text[240];
    int width = COLS - 1;
    move(LINES - 1, 0);
    if (screen->message) {
        attron(A_BOLD);
        put(screen->message, width);
        attroff(A_BOLD);
    } else if (screen->find[0] && screen->view != VIEW_HELP) {
        snprintf(text, sizeof text, "with \"%s\" (/ changes it)  %s", screen->find, keys_of(screen, width));
        put(text, width);
    } else {
        put(keys_of(screen, width), width);
    }
}

/* As many as there is room for; ? has those that are left out. */
static const char *keys_of(const struct screen *screen, int width)
{
    static const char wide[] =
        "arrows move  o open  c close  a auto  r reset  f faults  s sort  / find  p pause  ? help  q quit";
    if (screen->view == VIEW_HELP)
        return "any key goes back";
    if (screen->view == VIEW_FAULTS)
        return "arrows move  o on  x off  a as armed  f hosts  / find  p pause  ? help  q quit";
    return width >= (int)sizeof wide - 1
               ? wide
               : "o open  c close  a auto  r reset  f faults  s sort  / find  ? help  q quit";
}
