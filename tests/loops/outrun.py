"""A failure that is over by the time that a wait can tell of it is not told (outrun.c), and one that another thread sees to
while the program changes the number is hidden (renumbered.c)."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
LIBRARY, LATE = os.path.join(BUILD, "libresil.so"), os.path.join(BUILD, "tests/late.so")
IN, OUT, HUP = 1, 4, 16
FORMS = {"poll": HUP, "select": IN, "epoll": HUP, "opaque": HUP, "several": HUP, "copied": HUP}  # and how each would tell of it


def main():
    wrong = 0
    address = f"127.88.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with tempfile.TemporaryDirectory(prefix="resil-outrun-") as folder:
        environment = {**os.environ, "RESIL_RULES": os.path.join(HERE, "registered.yaml"), "RESIL_STATE_DIR": folder}
        programs = {("outrun", form): failure for form, failure in FORMS.items()} | {("renumbered",): HUP}
        for (program, *form), failure in programs.items():
            command = [os.path.join(BUILD, "tests", program), *form, address]
            bare, seen = (int(subprocess.run(command, check=True, timeout=60, env={**environment, "LD_PRELOAD": libraries},
                                             stdout=subprocess.PIPE).stdout, 16)
                          for libraries in (LATE, f"{LIBRARY}:{LATE}"))
            if not bare & failure or seen != OUT:
                wrong += 1
                print(f"{program} {form}: {bare:x} bare, {seen:x}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
