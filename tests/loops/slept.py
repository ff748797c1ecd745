"""Who sleeps in an epoll is told in time that no answer has come, in whichever way the descriptor is registered, and sees no
more than was asked for (slept.c)."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
IN, OUT, ERR, HUP = 1, 4, 8, 16
ETIMEDOUT = 110
ROUNDS = 4  # where threads share an epoll what they see depends on who is first
EMPTY = "version: 1\nrules: []\n"


def is_told(kind, where, seen):
    """Connections end, which every epoll shows; of a datagram it is told once in an epoll, and where only one of several
    has to be woken, that one is."""
    failures = ERR | HUP if kind == "tcp" else ERR
    told = [bool(events & failures) for events in seen]
    return any(told) if where == "exclusive" or (kind, where) == ("udp", "shared") else all(told)


def main():
    wrong = 0
    address = f"127.89.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with tempfile.TemporaryDirectory(prefix="resil-slept-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write(EMPTY)
        environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "registered.yaml"), "RESIL_STATE_DIR": folder}
        shim = {"LD_PRELOAD": os.path.join(BUILD, "libresil.so")}
        ways = {"bare": {}, "emptied": {**shim, "RESIL_RULES": empty}, "ruled": shim}
        for kind in "tcp", "udp":
            for where in "one", "shared", "several", "exclusive":
                command = [os.path.join(BUILD, "tests/slept"), kind, where, address]
                hows = ["bare", "emptied", *["ruled"] * (ROUNDS if where == "shared" else 1)]
                runs = [subprocess.Popen(command, env={**environment, **ways[how]}, stdout=subprocess.PIPE) for how in hows]
                for how, run in zip(hows, runs):
                    said = run.communicate(timeout=60)[0].decode().split()
                    epolls = len(said) // 2
                    seen, after = ([int(word, 16) for word in part] for part in (said[:epolls], said[epolls + 1:]))
                    is_good = is_told(kind, where, seen) and said[epolls] == str(ETIMEDOUT) and not any(
                        events & OUT for events in seen + after)
                    if is_good if how != "ruled" else not is_good:
                        wrong += 1
                        print(f"{kind} {where}, {how}: {' '.join(said)}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
