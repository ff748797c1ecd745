"""No signal is lost that comes while a program waits and libresil carries something out (signals.c)."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
PROGRAM = os.path.join(BUILD, "tests/signals")
LIBRARY = os.path.join(BUILD, "libresil.so")
RULES = os.path.join(HERE, "signals.yaml")
FORMS = ("poll", "select", "epoll", "ppoll", "pselect", "epoll_pwait", "epoll_pwait2")
ROUNDS = 300


def run(form, folder, rules=None):
    low = f"{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    environment = {**os.environ, "RESIL_STATE_DIR": os.path.join(folder, "state")}
    if rules:
        environment |= {"LD_PRELOAD": LIBRARY, "RESIL_RULES": rules}
    out = subprocess.run([PROGRAM, form, str(ROUNDS), f"127.84.{low}", f"127.85.{low}"], env=environment, check=True,
                         stdout=subprocess.PIPE, timeout=120).stdout
    return json.loads(out)


def main():
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="resil-signals-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        for form in FORMS:
            # A refused connect ends the wait at once, unless there is something to carry out.
            bare = [run(form, folder), run(form, folder, empty)]
            seen = run(form, folder, RULES)
            good = {"interrupted": ROUNDS, "handled": ROUNDS, "lost": 0, "shown": 0, "outside": 0}
            if seen != good or not all(one["shown"] for one in bare):
                wrong += 1
                print(f"{form}: {seen}; without rules: {bare}", file=sys.stderr)
    print(f"{len(FORMS)} waits, {ROUNDS} signals each, {wrong} wrong")
    return 1 if wrong else 0


sys.exit(main())
