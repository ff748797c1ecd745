"""The shim is invisible: what a program sees of every call is the same without libresil, with its built-in rules, with a
rule for somebody else, with a rule that matches and never fires, and with one that is not enforced.

`conform` runs a table of cells and prints a line for each. Here it runs in all these ways, and the lines must agree.
    conformance.py [FILTER]     only the cells whose names contain FILTER
    RESIL_BUILD=FOLDER          where conform and libresil.so are (ctest sets it)
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../programs"))
from stage import BUILD, CANNOT_SET_THE_STAGE, LIBRARY, UNSHARE  # noqa: E402

CONFORM = os.environ.get("CONFORM") or os.path.join(BUILD, "tests/conform")
AT_ONCE = 7        # all of them: most of a run is waiting
SHOWN = 60         # groups of differing cells of a run
RESTARTS_MAX = 150 # after cells that hang or crash
RUN_S = 110

# Patterns of the names of cells that may differ between two bare runs, each with the reason.
EXCLUDED = {
}

# Cells that differ under the shim because it is wrong there, each with what is wrong. One that no longer differs anywhere
# fails the test: its line has to go.
KNOWN = {
}

RULE = """version: 1
rules:
  - name: {name}
    match: {{address: [{addresses}]}}
    timeout: {{connect: 60s, response: {response}, recv: 60s, send: 60s, total: 60s}}
    retry: {{max_retries: 2, base_delay: 1ms, jitter: none, retry_on: [timeout]}}
    breaker: {{failure_threshold: 255, failure_rate: off, scope: exchange, failure_prefix: ["\\x01never"]}}
    {more}
  - name: {name}-udp
    match: {{address: [{addresses}], protocol: udp}}
    timeout: {{response: {response}, recv: 60s, send: 60s}}
    breaker: {{failure_threshold: 255, failure_rate: off, scope: exchange, failure_prefix: ["\\x01never"]}}
    {more}
  - name: {name}-unix
    match: {{unix: "{paths}"}}
    timeout: {{connect: 60s, response: {response}, recv: 60s, send: 60s, total: 60s}}
    retry: {{max_retries: 2, base_delay: 1ms, jitter: none, retry_on: [timeout]}}
    breaker: {{failure_threshold: 255, failure_rate: off, scope: exchange, failure_prefix: ["\\x01never"]}}
    {more}
"""


NEVER_FIRING = "limit: {connections: 1000000, rate: 1000000/s, wait: 60s}"


def rule(name, addresses='127.0.0.1, "::1"', paths="*", response="60s", more=""):
    return RULE.format(name=name, addresses=addresses, paths=paths, response=response, more=more)


# How a run differs from a bare one: None, or the rules (an empty text: the built-in ones).
FIRING = "a rule that fires"
WAYS = {
    "bare": None,
    "bare again": None,
    "built-in rules": "",
    "a rule for somebody else": rule("unrelated", addresses="192.0.2.1", paths="/nowhere/else"),
    "a rule that never fires": rule("matching", more=NEVER_FIRING),
    "a rule not enforced": rule("shadow", more=NEVER_FIRING + "\n    enforce: 0%"),
    FIRING: rule("firing", response="1ms"),  # the proof that a difference would be seen
}
FIRING_CELLS = "receive tcp4 blocking read 0"

INSIDE = "CONFORMANCE_INSIDE"
FILES = {"hosts": "127.0.0.1 localhost\n::1 localhost\n", "nsswitch.conf": "hosts: files\nservices: files\n"}


def environment_of(way, folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RESIL_", "LD_PRELOAD"))}
    empty = os.path.join(folder, "empty")
    os.makedirs(empty)
    environment.update(LC_ALL="C.UTF-8", HOME=empty, XDG_CONFIG_HOME=empty)
    if WAYS[way] is None:
        return environment
    environment.update(LD_PRELOAD=LIBRARY, RESIL_STATE_DIR=os.path.join(folder, "state"))
    if WAYS[way]:
        environment["RESIL_RULES"] = os.path.join(folder, "rules.yaml")
        with open(environment["RESIL_RULES"], "w") as file:
            file.write(WAYS[way])
    return environment


def run(way, filter_text):
    """The lines of a run by the names of their cells, what it said on stderr, and the seconds it took."""
    folder = tempfile.mkdtemp(prefix="conform-")
    lines, errors, began, last = {}, "", time.monotonic(), None
    try:
        environment = environment_of(way, folder)
        for _ in range(RESTARTS_MAX):
            command = [CONFORM] + (["--from", last] if last else []) + ([filter_text] if filter_text else [])
            ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                   errors="replace", timeout=RUN_S)
            errors += ended.stderr
            for line in ended.stdout.splitlines():
                last, _, seen = line.partition(":")
                lines[last] = lines.get(last, "") + seen
            if ended.returncode == 0:
                break
            if not ended.stdout:
                lines["(the run)"] = f" ended with {ended.returncode} after {last}"
                break
        else:
            lines["(the run)"] = f" given up after {RESTARTS_MAX} hangs or crashes"
    except subprocess.TimeoutExpired as expired:
        lines["(the run)"] = f" given up after {RUN_S} s, at {(expired.stdout or b'')[-300:]}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return lines, errors, time.monotonic() - began


def is_excluded(name):
    return any(re.fullmatch(pattern, name) for pattern in EXCLUDED)


def known(name):
    return next((pattern for pattern in KNOWN if re.fullmatch(pattern, name)), None)


def differences(lines, expected):
    """Names of cells; what is missing behind the place where a run was given up says no more than that line does."""
    if "(the run)" in lines:
        expected = {name: seen for name, seen in expected.items() if name in lines}
    names = list(expected) + [name for name in lines if name not in expected]
    return [name for name in names if lines.get(name) != expected.get(name) and not is_excluded(name)]


def group_of(name):
    """Cells that differ in kind, mode and function only mostly differ for one reason: one of them is shown."""
    words = name.split()
    return " ".join(words[:1] + words[4:]) if len(words) > 4 else name


def show(way, lines, expected, names):
    groups = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    print(f"--- with {way}: {len(names)} cells differ, of {len(groups)} groups")
    for members in list(groups.values())[:SHOWN]:
        name, others = members[0], sorted({" ".join(member.split()[1:4]) for member in members[1:]})
        print(f"{name}" + (f"   (and {len(members) - 1} more: {', '.join(others[:6])} ...)" if others else ""))
        print(f"    bare:{expected.get(name, ' (no line)')}\n    here:{lines.get(name, ' (no line)')}")
    if len(groups) > SHOWN:
        print(f"... and {len(groups) - SHOWN} more groups: {', '.join(list(groups)[SHOWN:])}")


def symbols(path, *options):
    lines = subprocess.run(["nm", "-D", *options, path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in lines.splitlines()}


def enter_namespace():
    """Goes on where lookups ask this machine's files only: how long a name server takes must not make a difference."""
    folder = tempfile.mkdtemp(prefix="conform-")
    script = "true"
    for name, text in FILES.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
        script += f' && mount --bind "$1/{name}" /etc/{name}'
    script += f' || exit {CANNOT_SET_THE_STAGE}; rm -r "$1"; shift; exec "$@"'
    os.environ[INSIDE] = "1"
    os.execvp(UNSHARE[0], [*UNSHARE, "sh", "-c", script, "sh", folder, sys.executable, *sys.argv])


def main():
    if INSIDE not in os.environ:
        enter_namespace()
    filter_text = sys.argv[1] if len(sys.argv) > 1 else None
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(WAYS, pool.map(lambda way: run(way, FIRING_CELLS if way == FIRING else filter_text), WAYS)))
    bare = results["bare"][0]
    failed, met = not bare, set()
    hooks = {name for name in symbols(LIBRARY, "--defined-only") if not name.startswith("resil_")}  # those are in no libc
    for name in sorted(hooks - symbols(CONFORM, "-u")):
        print(f"--- no cell calls {name}")
        failed = True
    for way, (lines, errors, seconds) in results.items():
        if way == FIRING:
            names = differences(lines, {name: seen for name, seen in bare.items() if FIRING_CELLS in name})
            print(f"{way}: {len(lines)} cells, {seconds:.1f} s, {len(names)} differ, as some must")
            if not filter_text and not any("ETIMEDOUT" in lines[name] for name in names if name in lines):
                print("--- the comparison would notice nothing: no cell shows the timeout of 1 ms")
                failed = True
            continue
        names = differences(lines, bare)
        accepted = [name for name in names if WAYS[way] is not None and known(name)]
        met.update(map(known, accepted))
        names = [name for name in names if name not in set(accepted)]
        print(f"{way}: {len(lines)} cells, {seconds:.1f} s, {len(names)} differ, and {len(accepted)} that are known to")
        if names:
            show(way, lines, bare, names)
            failed = True
        if errors:
            print(f"--- with {way}, on stderr:\n{errors[:2000]}")
            failed = True
    for pattern in set(KNOWN) - met if not filter_text else ():
        print(f"--- no cell differs any more that is known as: {KNOWN[pattern]}: take {pattern!r} out")
        failed = True
    print(f"{len(bare)} cells, {sum(map(is_excluded, bare))} of them excluded, {time.monotonic() - began:.1f} s for all")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
