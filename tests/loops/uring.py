"""What is registered with an epoll through io_uring is retried too, and what waits beside it is seen at once (uring.c)."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
LIBRARY = os.path.join(BUILD, "libresil.so")
IN, OUT, ERR, HUP = 1, 4, 8, 16
REFUSED, CONNECTED = (f"{events:x} {error} {IN:x} 0" for events, error in ((OUT | ERR | HUP, 111), (OUT, 0)))
NO_IO_URING = 77


def main():
    wrong = []
    address = f"127.88.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with tempfile.TemporaryDirectory(prefix="resil-uring-") as folder:
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "registered.yaml"), "RESIL_STATE_DIR": folder}
        ways = (({}, REFUSED), ({"LD_PRELOAD": LIBRARY, "RESIL_RULES": empty}, REFUSED), ({"LD_PRELOAD": LIBRARY}, CONNECTED))
        for mode in ("level", "edge", "once"):
            # What reports once and is disarmed does not tell what it was for: of two under the same data it cannot be told whose it is.
            for data in ("apart",) if mode == "once" else ("apart", "together"):
                for more, expected in ways:
                    done = subprocess.run([os.path.join(BUILD, "tests/uring"), mode, data, address], timeout=60,
                                          env={**environment, **more}, stdout=subprocess.PIPE, text=True)
                    if done.returncode == NO_IO_URING:
                        print("io_uring_setup is refused here")
                        return NO_IO_URING
                    if done.returncode or done.stdout.strip() != expected:
                        wrong.append(f"{mode}, {data}: {done.stdout.strip()!r}, expected {expected!r}")
    for what in wrong:
        print(what, file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
