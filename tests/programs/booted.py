"""A copy of this machine that systemd has started: as pid 1, in namespaces and a control group of its own, with libresil
installed in /usr and none of the machine's services. Everything on it can be changed, and is gone with it."""

import os
import shlex
import unittest

from machine import ON_A_COPY
from stage import BARE, BUILD, CANNOT_SET_THE_STAGE, Stage

# What could change the kernel that it shares with this machine is masked, and /proc/sys can only be read.
# The last line hands over to systemd; what it starts is story.service, and the machine ends with it.
BOOT = """
folder=%(folder)s
{ %(copy)s } && root=$folder/root && {
    rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/*.requires &&
    cp %(story)s "$root/root/story" && chmod 755 "$root/root/story" &&
    printf '[Unit]\\nAfter=basic.target\\nRequires=basic.target\\nSuccessAction=exit\\nFailureAction=exit\\n[Service]\\nType=oneshot\\nExecStart=/bin/bash /root/story\\n' \\
        >"$root/etc/systemd/system/story.service" &&
    mkdir -p "$root/root/told" && mount --bind %(told)s "$root/root/told" &&
    DESTDIR=$root cmake --install %(build)s --prefix /usr >/dev/null &&
    mount -t tmpfs -o mode=755 tmpfs "$root/run" && mount -t tmpfs -o mode=1777 tmpfs "$root/tmp" &&
    mount -t sysfs -o ro sysfs "$root/sys" && mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" &&
    mount -t proc proc "$root/proc" && mount --bind "$root/proc/sys" "$root/proc/sys" &&
    mount -o remount,bind,ro "$root/proc/sys" && ip link set lo up && cd "$root/etc/systemd/system" &&
    for unit in systemd-sysctl.service systemd-modules-load.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
        proc-sys-fs-binfmt_misc.mount modprobe@.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
        dev-hugepages.mount systemd-remount-fs.service; do ln -sf /dev/null "$unit"; done &&
    touch "$folder/console" && mount --bind "$folder/console" "$root/dev/console" &&
    cd "$root" && mkdir -p .old && pivot_root . .old
} || exit %(cannot)d
umount -l /.old
exec env -i container=resil PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \\
    /lib/systemd/systemd --system --unit=story.service --log-target=null --show-status=no </dev/null
"""


def control_groups():
    """Where the second version of control groups is mounted."""
    with open("/proc/mounts") as file:
        return next((line.split()[1] for line in file if line.split()[2] == "cgroup2"), None)


@unittest.skipUnless(os.geteuid() == 0, "only root can start a machine")
@unittest.skipUnless(os.path.exists("/lib/systemd/systemd"), "systemd is not installed")
class Booted(Stage):
    @classmethod
    def setUpClass(cls):
        why = cls.why_it_cannot_be()
        if why:
            raise unittest.SkipTest("systemd cannot be started here: " + why)

    @classmethod
    def why_it_cannot_be(cls):
        groups = control_groups()
        if not groups:
            return "no control groups of the second version are mounted"
        return None if os.access(groups, os.W_OK) else f"{groups} is read-only"

    def group(self):
        """A control group for the machine, which takes along whatever is left in it."""
        path = os.path.join(control_groups(), f"resil-test-{os.getpid()}-{os.path.basename(self.folder)}")
        os.mkdir(path)

        def is_empty():
            with open(os.path.join(path, "cgroup.events")) as file:
                return "populated 0" in file.read()

        def end():
            with open(os.path.join(path, "cgroup.kill"), "w") as file:
                file.write("1")
            self.wait_for(is_empty)
            for below, _, _ in os.walk(path, topdown=False):
                os.rmdir(below)

        self.addCleanup(end)
        return path

    def on_booted(self, script, seconds=120):
        """What became of the script, run by bash under systemd: its status, and what it printed."""
        stage, told = os.path.join(self.folder, "stage"), os.path.join(self.folder, "told")
        os.mkdir(stage)
        os.mkdir(told)
        story = self.write("story", "exec >/root/told/out 2>/root/told/err </dev/null\n"
                                    f"( {script}\n)\necho $? >/root/told/status\n")
        boot = BOOT % {"folder": shlex.quote(stage), "copy": ON_A_COPY, "story": shlex.quote(story), "told": shlex.quote(told),
                       "build": shlex.quote(BUILD), "cannot": CANNOT_SET_THE_STAGE}
        ended = self.run_program(
            ["sh", "-c", f'echo $$ >{self.group()}/cgroup.procs && exec "$@"', "sh", "unshare", "--mount", "--pid", "--fork", "--uts",
             "--ipc", "--net", "--cgroup", "--kill-child", "bash", "-c", boot], how=BARE, seconds=seconds)
        try:
            with open(os.path.join(told, "status")) as file:
                ended.status = int(file.read())
            for name in "out", "err":
                with open(os.path.join(told, name), errors="replace") as file:
                    setattr(ended, name, file.read())
        except FileNotFoundError:
            self.fail(f"systemd did not run what it was to run: {ended}")
        return ended


