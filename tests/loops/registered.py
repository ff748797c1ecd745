"""What an epoll reports of a descriptor whose registration libresil has to find out about (registered.c)."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
IN, OUT, ERR, HUP = 1, 4, 8, 16
# The network, and what is reported without libresil and with it.
STORIES = {"nudged": (86, 0, 0), "disarmed": (87, IN | OUT | ERR | HUP, IN | OUT | ERR | HUP),
           "retried": (88, IN | OUT | ERR | HUP, OUT)}


def main():
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="resil-registered-") as folder:
        environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "registered.yaml"), "RESIL_STATE_DIR": folder}
        for story, (net, *expected) in STORIES.items():
            address = f"127.{net}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
            said = [int(subprocess.run([os.path.join(BUILD, "tests/registered"), story, address], check=True, timeout=60,
                                       env={**environment, **more}, stdout=subprocess.PIPE).stdout, 16)
                    for more in ({}, {"LD_PRELOAD": os.path.join(BUILD, "libresil.so")})]
            if said != expected:
                wrong += 1
                print(f"{story}: {said}, expected {expected}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
