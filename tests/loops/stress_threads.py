"""Four threads wait in one epoll, with EPOLLONESHOT: each of ten thousand connections ends as it must, once, whoever is told of
it; no event is lost, nothing spins, and nothing grows (stress_threads.c).

With `all` they are there all at once, four times over, and what is due to them is due in the same second."""

import os
import sys

from stressed import BURST_RULES, COUNT, HERE, LAPS, stress

AT_ONCE = 1000
OPEN_MS, BURST_OPEN_MS = 800, 2500
PATIENCE_MS = 30000
IS_BURST = sys.argv[1:] == ["all"]


def story(told):
    more = ["all"] if IS_BURST else []
    open_ms, count, at_once = (BURST_OPEN_MS, LAPS * COUNT, COUNT) if IS_BURST else (OPEN_MS, COUNT, AT_ONCE)
    # It does not end well: what is silent does not end at all.
    for seen in told.without_rules([60, 15, 500, open_ms, *more]):
        told.expect("without rules", seen["lost"] > 0 and seen["unexpected"] > 0 and not seen["silent"], seen)
    seen, retries = told.under_rules([count, at_once, PATIENCE_MS, open_ms, *more], count, IS_BURST,
                                     ("lost", "unexpected", "stray", "doubled", "hidden_seen", "idle", "early"))
    # What has failed is told of once; what has connected is, and that there is something to read.
    told.expect("events", seen["events"] == count + seen["late"], seen)
    # Each failure that is hidden, each pause and each attempt may cost a wait, no more. Those that find nothing were ended
    # by a pause that was over, which all threads wake for and most of which come together; by what another thread is about
    # to see to none is ended more than once in a millisecond, or they would be many times as many.
    told.expect("spins", 0 < seen["kernel_waits"] <= seen["waits"] + count + 3 * retries, (seen, retries))
    told.expect("spins in vain", 0 < seen["kernel_empty"] <= seen["waits"] + retries, (seen, retries))


stress("stress_threads", BURST_RULES if IS_BURST else os.path.join(HERE, "stress-threads.yaml"), story)
