"""Loop programs see the same, whatever libresil hides from them (scripts/).

Thousands of programs, each made up from its seed, are told the same story three times: by the kernel alone, under a rule
that never has anything to do, and by way of retries and timeouts that must not be seen. Every event, errno and byte is
compared. A number as argument: so many scripts from that of LOOPS_FIRST on. With `withheld` before it, where the kernel
keeps nothing silent: packets of loopback come with as many hops left as there are. Every other batch has other threads and
is interrupted by signals.
"""

import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
PROGRAM = os.path.join(BUILD, "tests/scripts")
LIBRARY = os.environ.get("LOOPS_LIBRARY") or os.path.join(BUILD, "libresil.so")
CHUNK = 500
AT_ONCE = 4
# Each in a network of its own, so that none of them meets another's addresses; of IPv6 it has all that begin with fd.
NETWORK = """
ip link set lo up && ip -6 route add local fd00::/8 dev lo && echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind
if [ "$HOPS" ]; then
    echo "$HOPS" >/proc/sys/net/ipv4/ip_default_ttl
    for where in all lo; do echo "$HOPS" >/proc/sys/net/ipv6/conf/$where/hop_limit; done
fi
exec env LD_PRELOAD="$PRELOADED" "$@"
"""
IN_NETWORK = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "sh", "-ec", NETWORK, "sh"]
STUCK_S = 60  # a batch takes a few seconds; who does not see what it waits for would wait for hours in all


def begin(how, first, count, state, is_withheld):
    environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "rules.yaml"), "RESIL_STATE_DIR": state}
    told = "hidden" if how == "hidden" else "plain"
    command = [*IN_NETWORK, PROGRAM, told, str(first), str(count), *(["own"] if is_withheld else []),
               *(["threads"] if first // CHUNK % 2 else [])]
    environment["HOPS"] = "255" if is_withheld else ""
    environment["PRELOADED"] = LIBRARY if how != "bare" else ""
    out = tempfile.TemporaryFile()
    return subprocess.Popen(command, env=environment, stdout=out), out


def end(process, out, until):
    """What it said; None as the last line if it did not end well."""
    try:
        status = process.wait(max(0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    out.seek(0)
    said = out.read().decode().splitlines()
    out.close()
    return said if status == 0 else [*said, None]


def compare(first, lines):
    differences = 0
    for how in ("never", "hidden"):
        for i, (bare, seen) in enumerate(zip(lines["bare"], lines[how])):
            if bare != seen:
                differences += 1
                if differences <= 3:
                    print(f"script {first + i}, {how}:\n  bare: {bare}\n  seen: {seen}", file=sys.stderr)
        if len(lines[how]) != len(lines["bare"]):
            differences += 1
            print(f"{how}: ends after script {first + len(lines[how]) - 1}", file=sys.stderr)
    return differences


def main():
    arguments = sys.argv[1:]
    is_withheld = arguments[:1] == ["withheld"]
    count = int(arguments[-1]) if len(arguments) > is_withheld else 10000
    first = int(os.environ.get("LOOPS_FIRST", 0))
    began, differences, compared = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="resil-loops-") as folder:
        state = os.path.join(folder, "state")
        todo = [(at, min(CHUNK, first + count - at)) for at in range(first, first + count, CHUNK)]
        while todo and not differences:
            until = time.monotonic() + STUCK_S
            batch, todo = todo[:AT_ONCE], todo[AT_ONCE:]
            runs = [(at, size, {how: begin(how, at, size, state, is_withheld) for how in ("bare", "never", "hidden")})
                    for at, size in batch]
            for at, size, processes in runs:
                lines = {how: end(*process, until) for how, process in processes.items()}
                differences += compare(at, lines) + (len(lines["bare"]) != size)
                compared += len(lines["bare"])
    print(f"{compared} scripts, {differences} differences, {time.monotonic() - began:.1f} s")
    return 1 if differences else 0


sys.exit(main())
