"""Ten thousand connections in one loop, of which each ends as it must, once; nothing spins, and nothing grows (stress.c).

The kind of loop as argument. With `-crowd` behind it as many are open at once, in each of several laps, and what is due
for them (timeouts and retries) comes due within the same second."""

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
COUNT = 10000
CROWD_LAPS = 4
AT_ONCE = {"level": 1000, "edge": 1000, "poll": 400, "select": 400}  # of 1024, which the servers' share
PATIENCE_MS = 60000
KINDS = ("late", "refused", "silent")


def run(loop, libraries, count, at_once, patience_ms, folder, rules):
    environment = {**os.environ, "RESIL_RULES": rules, "RESIL_STATE_DIR": folder,
                   "LD_PRELOAD": ":".join(libraries)}
    arguments = [PROGRAM, loop, str(count), str(at_once), str(patience_ms)]
    out = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, timeout=280).stdout
    return json.loads(out)


def expect(wrong, what, is_so, seen):
    if not is_so:
        wrong.append(f"{what}: {seen}")


def main():
    loop, _, how = sys.argv[1].partition("-")
    wrong, is_crowd = [], how == "crowd"
    rules_file = os.path.join(HERE, "stress-crowd.yaml" if is_crowd else "stress.yaml")
    count = COUNT * CROWD_LAPS if is_crowd else COUNT
    at_once = COUNT if is_crowd else AT_ONCE[loop]
    with tempfile.TemporaryDirectory(prefix="resil-stress-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        # By itself, and without a rule, it does not end well.
        for libraries, rules in (([COUNTING], rules_file), ([LIBRARY, COUNTING], empty)):
            seen = run(loop, libraries, 40, 40, 300, os.path.join(folder, "bare"), rules)
            expect(wrong, "without rules", seen["unexpected"] >= seen["silent"] > 0, seen)
        state = os.path.join(folder, "state")
        seen = run(loop, [LIBRARY, COUNTING], count, at_once, PATIENCE_MS, state, rules_file)
        told = subprocess.run([os.path.join(BUILD, "resil"), "status", "--json"], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "RESIL_STATE_DIR": state}).stdout
    (status,) = json.loads(told)["rule_files"]
    retries = sum(host["retries"] for host in status["hosts"])
    expect(wrong, "ended", sum(seen[kind] for kind in KINDS) == count, seen)
    if is_crowd:
        expect(wrong, "at once", seen["at_once"] == COUNT, seen)
    for what in ("unexpected", "stray", "hidden_seen", "idle", "early"):
        expect(wrong, what, seen[what] == 0, seen)
    # Each failure that is hidden, each pause and each attempt may cost a wait, no more; most of them share one.
    expect(wrong, "spins", 0 < seen["kernel_waits"] <= seen["waits"] + count + 3 * retries, (seen, retries))
    expect(wrong, "tried again", retries >= 2 * seen["refused"] + seen["silent"], retries)
    expect(wrong, "memory", seen["pages"] <= 64 and seen["mapped"] <= 64, seen)
    expect(wrong, "descriptors", seen["descriptors"] == 0, seen)
    expect(wrong, "passed through", not any(status["passed_through"].values()), status["passed_through"])
    print(seen, f"retries: {retries}")
    for what in wrong:
        print(what, file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
