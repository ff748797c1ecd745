"""Ten thousand connections in one loop, of which each ends as it must, once; nothing spins, and nothing grows (stress.c).

The kind of loop as argument. With `all` behind it they are there all at once, four times over, and what is due to them is
due in the same second."""

import os
import sys

from stressed import BURST_RULES, COUNT, HERE, LAPS, stress

OPEN_MS = 2500
AT_ONCE = {"level": 1000, "edge": 1000, "poll": 400, "select": 400}  # of 1024, which the servers' share
PATIENCE_MS = 60000
LOOP, IS_BURST = sys.argv[1], sys.argv[2:] == ["all"]


def story(told):
    more = [OPEN_MS] if IS_BURST else []
    count, at_once = (LAPS * COUNT, COUNT) if IS_BURST else (COUNT, AT_ONCE[LOOP])
    for seen in told.without_rules([LOOP, 40, 40, 300, *more]):
        told.expect("without rules", seen["unexpected"] >= seen["silent"] > 0, seen)
    seen, retries = told.under_rules([LOOP, count, at_once, PATIENCE_MS, *more], count, IS_BURST,
                                     ("unexpected", "stray", "hidden_seen", "idle", "early"))
    # Each failure that is hidden, each pause and each attempt may cost a wait, no more; most of them share one, and where
    # they all come together nearly all.
    most = retries // 2 if IS_BURST else count + 3 * retries
    told.expect("spins", 0 < seen["kernel_waits"] <= seen["waits"] + most, (seen, retries))


stress("stress", BURST_RULES if IS_BURST else os.path.join(HERE, "stress.yaml"), story)
