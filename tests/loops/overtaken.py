"""A wait whose time is up ends, whatever another thread has begun meanwhile (overtaken.c)."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
LIBRARY, COUNTING = os.path.join(BUILD, "libresil.so"), os.path.join(BUILD, "tests/counting.so")
FORMS = ("poll", "ppoll", "epoll_wait", "epoll_pwait", "epoll_pwait2")


def main():
    wrong = 0
    address = f"127.84.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with tempfile.TemporaryDirectory(prefix="resil-overtaken-") as folder:
        environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "signals.yaml"), "RESIL_STATE_DIR": folder}
        for form in FORMS:
            said = [subprocess.run([os.path.join(BUILD, "tests/overtaken"), form, address], check=True, timeout=60,
                                   env={**environment, "LD_PRELOAD": libraries}, stdout=subprocess.PIPE).stdout
                    for libraries in (COUNTING, f"{LIBRARY}:{COUNTING}")]
            if said != [b"0 1\n"] * 2:
                wrong += 1
                print(f"{form}: {said}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
