"""A wait that was overtaken by what another thread has begun takes its time, and is told of a signal (overtaken.c)."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
LIBRARY, COUNTING = os.path.join(BUILD, "libresil.so"), os.path.join(BUILD, "tests/counting.so")
EPOLLS = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
# What is asked for, in which forms; what it says bare, without a rule and with rules.
EXPECTED = (
    ((), ("poll", "ppoll", *EPOLLS), [b"0 1\n"] * 3),
    (("seen",), EPOLLS, [b"1 early\n"] * 2 + [b"0 in time\n"]),
    # The kernel had found the connect before the signal came, unless that is hidden.
    (("signal",), EPOLLS[:1], [b"1 - 1\n"] * 2 + [b"-1 EINTR 1\n"]),
    (("restart",), EPOLLS[:1], [b"1 - 1\n"] * 2 + [b"-1 EINTR 1\n"]),
    (("signal",), EPOLLS[1:], [b"1 - 0\n"] * 2 + [b"-1 EINTR 1\n"]),
)


def main():
    wrong = 0
    address = f"127.84.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with tempfile.TemporaryDirectory(prefix="resil-overtaken-") as folder:
        environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "signals.yaml"), "RESIL_STATE_DIR": folder}
        empty = os.path.join(folder, "empty.yaml")
        with open(empty, "w") as file:
            file.write("version: 1\nrules: []\n")
        ways = ({"LD_PRELOAD": COUNTING}, {"LD_PRELOAD": f"{LIBRARY}:{COUNTING}", "RESIL_RULES": empty},
                {"LD_PRELOAD": f"{LIBRARY}:{COUNTING}"})
        for how, forms, expected in EXPECTED:
            for form in forms:
                said = [subprocess.run([os.path.join(BUILD, "tests/overtaken"), form, address, *how], check=True, timeout=60,
                                       env={**environment, **way}, stdout=subprocess.PIPE).stdout for way in ways]
                if said != expected:
                    wrong += 1
                    print(f"{form}, {how}: {said}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
