"""A machine to install on and to change, which is gone with the command that runs on it: /etc, /run, /usr/local, /var/log,
/dev/shm, the network and the processes are its own. Needs root: nobody else may say what root's programs load."""

import os
import shlex
import unittest

from stage import BUILD, CANNOT_SET_THE_STAGE, Stage

PREPARE = """
mkdir "$folder/etc" && cp -a /etc/. "$folder/etc" && mount --bind "$folder/etc" /etc &&
mount -t tmpfs -o mode=755 tmpfs /usr/local && mkdir /usr/local/bin /usr/local/sbin && cmake --install "$build" --prefix /usr/local >/dev/null &&
mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount -t tmpfs -o mode=755 tmpfs /run &&
mount -t tmpfs -o mode=755 tmpfs /var/log && mkdir /var/log/nginx && ip link set lo up
"""

# The machine's files, to be written over without being touched; what was written is in $folder/upper.
ON_A_COPY = """
mount -t tmpfs -o mode=755 tmpfs "$folder" && mkdir "$folder/upper" "$folder/work" "$folder/root" &&
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root" &&
mount --rbind /proc "$folder/root/proc" && mount --rbind /dev "$folder/root/dev" &&
mount -t tmpfs -o mode=1777 tmpfs "$folder/root/dev/shm"
"""


@unittest.skipUnless(os.geteuid() == 0, "only root may change what services or all programs load")
class Machine(Stage):
    def on_machine(self, script, *arguments, seconds=120):
        """What became of the script, run by bash in a folder of its own on a machine on which libresil was just installed."""
        home = os.path.join(self.folder, f"home-{len(os.listdir(self.folder))}")
        machine = os.path.join(self.folder, f"machine-{len(os.listdir(self.folder))}")
        os.mkdir(home)
        os.mkdir(machine)
        prepare = f"folder={shlex.quote(machine)} build={shlex.quote(BUILD)}\n{{ {PREPARE} }} || exit {CANNOT_SET_THE_STAGE}\n"
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child",
                   "bash", "-c", f"{prepare}cd {shlex.quote(home)}\n{script}", "bash", *arguments]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LC_ALL": "C.UTF-8",
                       "TERM": "dumb", "http_proxy": "", "no_proxy": "*"}
        return self.run_program(["env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command],
                                how="bare", seconds=seconds)
