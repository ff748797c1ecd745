"""What stress.py and stress_threads.py have in common: how their programs are run, and what holds for both."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
COUNTING = os.path.join(BUILD, "tests/counting.so")
LIBRARY = os.path.join(BUILD, "libresil.so")
BURST_RULES = os.path.join(HERE, "stress-burst.yaml")
COUNT = 10000
LAPS = 4
KINDS = ("late", "refused", "silent")


class Stress:
    def __init__(self, program, rules, folder):
        self.program, self.rules, self.folder, self.wrong = os.path.join(BUILD, "tests", program), rules, folder, []

    def run(self, libraries, rules, state, arguments):
        environment = {**os.environ, "RESIL_RULES": rules, "RESIL_STATE_DIR": os.path.join(self.folder, state),
                       "LD_PRELOAD": ":".join(libraries)}
        out = subprocess.run([self.program, *map(str, arguments)], env=environment, check=True, stdout=subprocess.PIPE,
                             timeout=280).stdout
        return json.loads(out)

    def expect(self, what, is_so, seen):
        if not is_so:
            self.wrong.append(f"{what}: {seen}")

    def without_rules(self, arguments):
        """What is seen by itself, and without a rule."""
        empty = os.path.join(self.folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        return [self.run([COUNTING], self.rules, "bare", arguments), self.run([LIBRARY, COUNTING], empty, "bare", arguments)]

    def under_rules(self, arguments, count, is_burst, none):
        """What is seen, and how many retries there were. `none` are counts of what must not be."""
        seen = self.run([LIBRARY, COUNTING], self.rules, "state", arguments)
        told = subprocess.run([os.path.join(BUILD, "resil"), "status", "--json"], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "RESIL_STATE_DIR": os.path.join(self.folder, "state")}).stdout
        (status,) = json.loads(told)["rule_files"]
        retries = sum(host["retries"] for host in status["hosts"])
        self.expect("ended", sum(seen[kind] for kind in KINDS) == count, seen)
        for what in none:
            self.expect(what, seen[what] == 0, seen)
        self.expect("tried again", retries >= 2 * seen["refused"] + seen["silent"], retries)
        self.expect("tried again in each lap", not is_burst or retries >= 4 * count // 3, retries)
        self.expect("memory", seen["pages"] <= 64 and seen["mapped"] <= 64, seen)
        self.expect("descriptors", seen["descriptors"] == 0, seen)
        self.expect("passed through", not any(status["passed_through"].values()), status["passed_through"])
        print(seen, f"retries: {retries}")
        return seen, retries


def stress(program, rules, story):
    """Runs `story(stress)`, and exits with what was wrong."""
    with tempfile.TemporaryDirectory(prefix="resil-stress-") as folder:
        told = Stress(program, rules, folder)
        story(told)
    for what in told.wrong:
        print(what, file=sys.stderr)
    sys.exit(1 if told.wrong else 0)
