"""Ten thousand connections in one loop, of which each ends as it must, once; nothing spins, and nothing grows (stress.c).

The kind of loop as argument. With `all` behind it they are there all at once, four times over, and what is due to them is
due in the same second."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
PROGRAM = os.path.join(BUILD, "tests/stress")
COUNTING = os.path.join(BUILD, "tests/counting.so")
LIBRARY = os.path.join(BUILD, "libresil.so")
RULES, BURST_RULES = (os.path.join(HERE, name) for name in ("stress.yaml", "stress-burst.yaml"))
COUNT = 10000
LAPS = 4
OPEN_MS = 2500
AT_ONCE = {"level": 1000, "edge": 1000, "poll": 400, "select": 400}  # of 1024, which the servers' share
PATIENCE_MS = 60000
KINDS = ("late", "refused", "silent")


def run(loop, libraries, count, at_once, patience_ms, folder, rules, *more):
    environment = {**os.environ, "RESIL_RULES": rules, "RESIL_STATE_DIR": folder,
                   "LD_PRELOAD": ":".join(libraries)}
    arguments = [PROGRAM, loop, str(count), str(at_once), str(patience_ms), *more]
    out = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, timeout=280).stdout
    return json.loads(out)


def expect(wrong, what, is_so, seen):
    if not is_so:
        wrong.append(f"{what}: {seen}")


def main():
    loop, is_burst, wrong = sys.argv[1], sys.argv[2:] == ["all"], []
    rules, more = (BURST_RULES, [str(OPEN_MS)]) if is_burst else (RULES, [])
    count, at_once = (LAPS * COUNT, COUNT) if is_burst else (COUNT, AT_ONCE[loop])
    with tempfile.TemporaryDirectory(prefix="resil-stress-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        # By itself, and without a rule, it does not end well.
        for libraries, none in (([COUNTING], rules), ([LIBRARY, COUNTING], empty)):
            seen = run(loop, libraries, 40, 40, 300, os.path.join(folder, "bare"), none, *more)
            expect(wrong, "without rules", seen["unexpected"] >= seen["silent"] > 0, seen)
        state = os.path.join(folder, "state")
        seen = run(loop, [LIBRARY, COUNTING], count, at_once, PATIENCE_MS, state, rules, *more)
        told = subprocess.run([os.path.join(BUILD, "resil"), "status", "--json"], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "RESIL_STATE_DIR": state}).stdout
    (status,) = json.loads(told)["rule_files"]
    retries = sum(host["retries"] for host in status["hosts"])
    expect(wrong, "ended", sum(seen[kind] for kind in KINDS) == count, seen)
    for what in ("unexpected", "stray", "hidden_seen", "idle", "early"):
        expect(wrong, what, seen[what] == 0, seen)
    # Each failure that is hidden, each pause and each attempt may cost a wait, no more; most of them share one, and where
    # they all come together nearly all.
    most = retries // 2 if is_burst else count + 3 * retries
    expect(wrong, "spins", 0 < seen["kernel_waits"] <= seen["waits"] + most, (seen, retries))
    expect(wrong, "tried again", retries >= 2 * seen["refused"] + seen["silent"], retries)
    expect(wrong, "tried again in each lap", not is_burst or retries >= 4 * count // 3, retries)
    expect(wrong, "memory", seen["pages"] <= 64 and seen["mapped"] <= 64, seen)
    expect(wrong, "descriptors", seen["descriptors"] == 0, seen)
    expect(wrong, "passed through", not any(status["passed_through"].values()), status["passed_through"])
    print(seen, f"retries: {retries}")
    for what in wrong:
        print(what, file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
