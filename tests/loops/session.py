"""Two descriptors under one pointer: a request is seen at once while the other one connects, and no end that is none (session.c)."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
LIBRARY, COUNTING = os.path.join(BUILD, "libresil.so"), os.path.join(BUILD, "tests/counting.so")
# Without a rule the upstream is refused at once, and the request comes afterwards.
BARE = {"early": "1 meanwhile 1c 111 0", "late": "1 meanwhile 1c 111 0", "pair": "111 111 0"}
RULED = {"early": "1 meanwhile 4 0 0", "late": "1 meanwhile 4 0 0", "pair": "0 0 0"}
WAITS_MAX = 250  # of the kernel, in half a second with an attempt each few milliseconds; a spin makes many thousands


def run(mode, story, address, environment):
    done = subprocess.run([os.path.join(BUILD, "tests/session"), mode, story, address], check=True, timeout=60, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.stdout.strip(), int(done.stderr)


def main():
    wrong = []
    address = f"127.88.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with tempfile.TemporaryDirectory(prefix="resil-session-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "registered.yaml"), "RESIL_STATE_DIR": folder}
        ways = (({"LD_PRELOAD": COUNTING}, BARE), ({"LD_PRELOAD": f"{LIBRARY}:{COUNTING}", "RESIL_RULES": empty}, BARE),
                ({"LD_PRELOAD": f"{LIBRARY}:{COUNTING}"}, RULED))
        for mode in ("level", "edge", "once", "exclusive"):
            for story in ("early", "late", "pair"):
                for more, expected in ways:
                    said, waits = run(mode, story, address, {**environment, **more})
                    if said != expected[story] or waits > WAITS_MAX:
                        wrong.append(f"{mode}, {story}: {said!r} in {waits} waits, expected {expected[story]!r}")
    for what in wrong:
        print(what, file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
