"""An epoll within another wait does not keep the program busy while it hides that connects fail (nested.c)."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
OUT, ERR = 4, 8
ECONNREFUSED = 111
OPEN_MS, DELAY_MS = 300, 20  # as registered.yaml has it
IN_VAIN_EACH = 2  # wake-ups for each attempt that has failed
OUTER, INNER = ("level", "edge", "oneshot", "poll", "select"), ("level", "edge", "oneshot", "exclusive")
# In a network where the kernel keeps nothing silent: packets of loopback come with as many hops left as there are.
WITHHELD = """
ip link set lo up && echo 255 >/proc/sys/net/ipv4/ip_default_ttl
exec env LD_PRELOAD="$PRELOADED" "$@"
"""
IN_NETWORK = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "sh", "-ec", WITHHELD, "sh"]


def main():
    wrong = 0
    library, address = os.path.join(BUILD, "libresil.so"), f"127.90.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with tempfile.TemporaryDirectory(prefix="resil-nested-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "registered.yaml"), "RESIL_STATE_DIR": folder}
        ways = {"bare": ([], {}), "emptied": ([], {"LD_PRELOAD": library, "RESIL_RULES": empty}),
                "parked": ([], {"LD_PRELOAD": library}), "withheld": (IN_NETWORK, {"PRELOADED": library})}
        for outer in OUTER:
            for inner in INNER:
                command = [os.path.join(BUILD, "tests/nested"), outer, inner, address, str(OPEN_MS)]
                runs = {how: subprocess.Popen([*where, *command], env={**environment, **more}, stdout=subprocess.PIPE)
                        for how, (where, more) in ways.items()}
                for how, run in runs.items():
                    said = run.communicate(timeout=60)[0].decode().split()
                    seen, error, in_vain, took_ms = int(said[0], 16), *map(int, said[1:])
                    if how in ("bare", "emptied"):
                        is_good = seen & ERR and error == ECONNREFUSED and in_vain == 0
                    else:
                        is_good = seen == OUT and error == 0 and in_vain <= IN_VAIN_EACH * (took_ms / DELAY_MS + 1)
                    if not is_good or run.returncode:
                        wrong += 1
                        print(f"{inner} in {outer}, {how}: {' '.join(said)}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
