"""Four threads wait in one epoll, with EPOLLONESHOT: each of ten thousand connections ends as it must, once, whoever is told of
it; no event is lost, nothing spins, and nothing grows (stress_threads.c).

With `all` they are there all at once, four times over, and what is due to them is due in the same second."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
PROGRAM = os.path.join(BUILD, "tests/stress_threads")
COUNTING = os.path.join(BUILD, "tests/counting.so")
LIBRARY = os.path.join(BUILD, "libresil.so")
RULES, BURST_RULES = (os.path.join(HERE, name) for name in ("stress-threads.yaml", "stress-burst.yaml"))
COUNT = 10000
LAPS = 4
AT_ONCE = 1000
OPEN_MS, BURST_OPEN_MS = 800, 2500
PATIENCE_MS = 30000
KINDS = ("late", "refused", "silent")


def run(libraries, count, at_once, patience_ms, open_ms, folder, rules, *more):
    environment = {**os.environ, "RESIL_RULES": rules, "RESIL_STATE_DIR": folder, "LD_PRELOAD": ":".join(libraries)}
    arguments = [PROGRAM, str(count), str(at_once), str(patience_ms), str(open_ms), *more]
    out = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, timeout=280).stdout
    return json.loads(out)


def expect(wrong, what, is_so, seen):
    if not is_so:
        wrong.append(f"{what}: {seen}")


def main():
    more, wrong = sys.argv[1:], []
    rules, open_ms, count, at_once = RULES, OPEN_MS, COUNT, AT_ONCE
    if more:
        rules, open_ms, count, at_once = BURST_RULES, BURST_OPEN_MS, LAPS * COUNT, COUNT
    with tempfile.TemporaryDirectory(prefix="resil-stress-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        # By itself, and without a rule, it does not end well: what is silent does not end at all.
        for libraries, none in (([COUNTING], rules), ([LIBRARY, COUNTING], empty)):
            seen = run(libraries, 60, 15, 500, open_ms, os.path.join(folder, "bare"), none, *more)
            expect(wrong, "without rules", seen["lost"] > 0 and seen["unexpected"] > 0 and not seen["silent"], seen)
        state = os.path.join(folder, "state")
        seen = run([LIBRARY, COUNTING], count, at_once, PATIENCE_MS, open_ms, state, rules, *more)
        told = subprocess.run([os.path.join(BUILD, "resil"), "status", "--json"], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "RESIL_STATE_DIR": state}).stdout
    (status,) = json.loads(told)["rule_files"]
    retries = sum(host["retries"] for host in status["hosts"])
    expect(wrong, "ended", sum(seen[kind] for kind in KINDS) == count, seen)
    for what in ("lost", "unexpected", "stray", "doubled", "hidden_seen", "idle", "early"):
        expect(wrong, what, seen[what] == 0, seen)
    # What has failed is told of once; what has connected is, and that there is something to read.
    expect(wrong, "events", seen["events"] == count + seen["late"], seen)
    # Each failure that is hidden, each pause and each attempt may cost a wait, no more. Those that find nothing were ended
    # by a pause that was over, which all threads wake for and most of which come together; by what another thread is about
    # to see to none is ended more than once in a millisecond, or they would be many times as many.
    expect(wrong, "spins", 0 < seen["kernel_waits"] <= seen["waits"] + count + 3 * retries, (seen, retries))
    expect(wrong, "spins in vain", 0 < seen["kernel_empty"] <= seen["waits"] + retries, (seen, retries))
    expect(wrong, "tried again", retries >= 2 * seen["refused"] + seen["silent"], retries)
    expect(wrong, "tried again in each lap", not more or retries >= 4 * count // 3, retries)
    expect(wrong, "memory", seen["pages"] <= 64 and seen["mapped"] <= 64, seen)
    expect(wrong, "descriptors", seen["descriptors"] == 0, seen)
    expect(wrong, "passed through", not any(status["passed_through"].values()), status["passed_through"])
    print(seen, f"retries: {retries}")
    for what in wrong:
        print(what, file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
