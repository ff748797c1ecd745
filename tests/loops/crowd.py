"""Four threads wait in one epoll: each of 3000 connections ends as it must, and nothing that has not ended is shown (crowd.c).

How descriptors are registered as argument: once, exclusive, edge or level. How often each is run behind it."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
RULES = os.path.join(HERE, "crowd.yaml")
COUNT = 3000
ENDED = {"late": COUNT // 2, "refused": COUNT // 4, "retried": COUNT // 4}
# Who is told of a number by an event that another thread has been told of too cannot tell whether it is another one's by now.
DATA = {"once": ("pointer", "both", "number"), "edge": ("pointer", "both"), "exclusive": ("pointer", "both"),
        "level": ("pointer", "both")}


def run(mode, data, count, folder, **more):
    environment = {**os.environ, "RESIL_RULES": RULES, "RESIL_STATE_DIR": folder, **more}
    out = subprocess.run([os.path.join(BUILD, "tests/crowd"), mode, data, str(count)], env=environment, check=True,
                         stdout=subprocess.PIPE, timeout=120).stdout
    return json.loads(out)


def main():
    mode, rounds, wrong = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2, []
    library = os.path.join(BUILD, "libresil.so")
    with tempfile.TemporaryDirectory(prefix="resil-crowd-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        for data in DATA[mode]:
            bare, ruleless = run(mode, data, COUNT, folder), run(mode, data, COUNT, folder, LD_PRELOAD=library, RESIL_RULES=empty)
            for how, seen in (("bare", bare), ("without a rule", ruleless)):
                if not seen["unexpected"] or seen["false_ends"] or seen["strange"]:
                    wrong.append(f"{mode}, {data}, {how}: {seen}")
            for _ in range(rounds):
                seen = run(mode, data, COUNT, os.path.join(folder, "state"), LD_PRELOAD=library)
                is_well = all(seen[kind] == number for kind, number in ENDED.items())
                if not is_well or any(seen[what] for what in ("unexpected", "false_ends", "strange", "descriptors")):
                    wrong.append(f"{mode}, {data}: {seen}")
        told = subprocess.run([os.path.join(BUILD, "resil"), "status", "--json"], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "RESIL_STATE_DIR": os.path.join(folder, "state")}).stdout
    (status,) = json.loads(told)["rule_files"]
    if any(status["passed_through"].values()):
        wrong.append(f"passed through: {status['passed_through']}")
    retries = sum(host["retries"] for host in status["hosts"])
    if retries < rounds * len(DATA[mode]) * 2 * ENDED["retried"]:
        wrong.append(f"retries: {retries}")
    for what in wrong:
        print(what, file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
