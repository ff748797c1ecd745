"""The recipe for containers, followed as it is written, without a daemon: the instructions of the Dockerfile on a base image,
and what a container then is: namespaces, a file system of its own, few capabilities, and perhaps no more than that."""

import os
import re
import shlex
import shutil
import subprocess
import unittest

from stage import BARE, BUILD, CANNOT_SET_THE_STAGE, Stage, main
from walk import ROOT

BASE = os.environ.get("RESIL_CONTAINER_BASE", "/var/cache/libresil/debian-12")
EXAMPLE = os.path.join(ROOT, "docs/examples/container/Dockerfile")
RULES = ("version: 1\nrules:\n  - name: tested\n    match: {port: 9}\n"
         "    breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: 1h, max_recovery_timeout: 1h, error: EHOSTDOWN}\n")
# The image's program: what two connects to a port where nobody listens come to.
PROGRAM = """#!/usr/bin/perl
for (1, 2) { socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, 9, 127, 0, 0, 1)); print $! + 0, $_ == 1 ? " " : "\\n" }
"""
BARE_SAYS, OPENED, FOUND_OPEN = "111 111", "111 112", "112 112"

# What the Dockerfile adds to the base image is in $layer.
MOUNT_IMAGE = """
image=$work/image && mkdir -p "$image" "$layer" "$work/work" &&
mount -t overlay overlay -o "lowerdir=%s,upperdir=$layer,workdir=$work/work" "$image"
""" % BASE
# One container: `container OPTIONS... -- COMMAND...`. What it may write is its own, and is gone with it.
CONTAINER = r"""
container() {
    local shm=yes read_only= state= user=0 pid=--pid caps=-all,+chown,+dac_override,+fowner,+setgid,+setuid,+net_bind_service
    while [ "$1" != -- ]; do case $1 in
        --no-shm) shm= ;; --read-only) read_only=yes ;; --state) state=$2; shift ;; --user) user=$2; shift ;;
        --no-caps) caps=-all ;; --same-pids) pid= ;;
    esac; shift; done; shift
    unshare --mount $pid --fork --ipc --uts bash -c '
        shm=$1 read_only=$2 state=$3 user=$4 caps=$5; shift 5
        own=$(mktemp -d) && mount -t tmpfs tmpfs "$own" && mkdir "$own/root" "$own/upper" "$own/work" && root=$own/root &&
        mount -t overlay overlay -o "lowerdir=$layer:$base,upperdir=$own/upper,workdir=$own/work" "$root" &&
        mount -t proc proc "$root/proc" && mount -t tmpfs -o mode=755 tmpfs "$root/dev" && touch "$root/dev/null" && mount --bind /dev/null "$root/dev/null" &&
        { [ -z "$shm" ] || { mkdir "$root/dev/shm" && mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/dev/shm"; }; } &&
        { [ -z "$state" ] || { mkdir -p "$root/var/lib/resil" && mount --bind "$state" "$root/var/lib/resil" && export RESIL_STATE_DIR=/var/lib/resil; }; } &&
        { [ -z "$read_only" ] || mount -o remount,ro "$root"; } || exit %d
        exec chroot "$root" env - $environment ${RESIL_STATE_DIR:+RESIL_STATE_DIR=$RESIL_STATE_DIR} setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --bounding-set "$caps" "$@"
    ' bash "$shm" "$read_only" "$state" "$user" "$caps" "$@"
}
""" % CANNOT_SET_THE_STAGE


def instructions():
    with open(EXAMPLE) as file:
        text = re.sub(r"\\\n", " ", file.read())
    return [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]


def as_shell(instruction, rest):
    """What docker would do, for the few instructions that there are."""
    if instruction == "COPY":
        options, words = re.findall(r"--(\w+)=(\S+)", rest), [word for word in rest.split() if not word.startswith("--")]
        *sources, target = words
        copied = f'cp {" ".join(sources)} "$image{target}"'
        named = f'"$image{target}"' if not target.endswith("/") else ""
        return (f'mkdir -p "$(dirname "$image{target}x")" && {copied}'
                + "".join(f" && {'chown' if option == 'chown' else 'chmod'} {value} {named}" for option, value in options))
    if instruction == "RUN":
        return f'mount -t proc proc "$image/proc" && chroot "$image" /bin/sh -c {shlex.quote(rest)} >&2 && umount "$image/proc"'
    if instruction == "ENV":
        return f"environment={shlex.quote(rest.replace(chr(92) + '$', '$'))}"
    assert instruction in ("ARG", "FROM"), instruction
    return "true"


@unittest.skipUnless(os.geteuid() == 0, "only root can make file systems")
@unittest.skipUnless(os.path.isdir(BASE), f"there is no base image in {BASE} (tests/container-base makes it)")
class Container(Stage):
    @classmethod
    def setUpClass(cls):
        cls.context = subprocess.run(["mktemp", "-d"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        cls.addClassCleanup(shutil.rmtree, cls.context, ignore_errors=True)
        subprocess.run(["cpack", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", cls.context], cwd=cls.context,
                       stdout=subprocess.DEVNULL, check=True)
        for name, text in ("rules.yaml", RULES), ("program", PROGRAM):
            with open(os.path.join(cls.context, name), "w") as file:
                file.write(text)
        steps = "".join(f"{{ {as_shell(*instruction)}; }} || exit 9\n" for instruction in instructions())
        said = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", f"""
work={cls.context}/work layer={cls.context}/layer; mkdir "$work"
cd {cls.context} && {{ {MOUNT_IMAGE} }} || exit {CANNOT_SET_THE_STAGE}
{steps}
install -m 755 program "$image/usr/local/bin/program" && echo "$environment" >environment
"""], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert said.returncode == 0, said.stdout

    def with_image(self, script):
        """The script, where `container` starts containers of the image."""
        return self.run_program(["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", f"""
export layer={self.context}/layer base={BASE} environment="PATH=/usr/local/bin:/usr/bin:/bin $(cat {self.context}/environment)"
unset RESIL_STATE_DIR; cd {shlex.quote(self.folder)} && ip link set lo up || exit {CANNOT_SET_THE_STAGE}
{CONTAINER}
{script}"""], how=BARE, seconds=180)

    def test_what_the_recipe_makes_works_in_containers_of_all_kinds(self):
        kinds = {"": "", "--user 1000": "", "--read-only": "", "--no-caps --user 1000 --read-only": "", "--no-shm": "private",
                 "--no-shm --read-only --no-caps --user 1000": "private"}
        told = "".join(f"container {options} -- program 2>err; grep -o 'private memory' err | sort -u; "
                       f"container {options} -- sh -c 'program; program' 2>/dev/null\n" for options in kinds)
        ended = self.with_image(f"""
container -- env -u LD_PRELOAD program
container -- sh -c ': >/etc/resil/rules.yaml; echo "version: 1" >/etc/resil/rules.yaml; program'
{told}
""")
        self.assertTrue(ended.is_good, ended)
        expected = [BARE_SAYS, BARE_SAYS]
        for sharing in kinds.values():
            expected += [OPENED, "private memory", OPENED, OPENED] if sharing else [OPENED, OPENED, FOUND_OPEN]
        self.assertEqual(ended.out.splitlines(), expected, ended)

    def test_a_folder_for_the_state_is_shared_by_those_who_see_each_other_s_processes(self):
        """It must belong to the user; two containers share it if they have their process ids in common, too."""
        ended = self.with_image("""
state() { mkdir "$1"; chown "$2" "$1"; chmod "$3" "$1"; realpath "$1"; }
ours=$(state ours 1000 700) roots=$(state roots 0 700) open=$(state open 1000 777)
for options in --no-shm "--read-only --no-caps"; do
    rm -rf "$ours"/*
    for way in --same-pids --same-pids ""; do container $options --user 1000 --state "$ours" $way -- program 2>/dev/null; done
done
for place in "$roots" "$open"; do
    for time in 1 2; do container --user 1000 --same-pids --state "$place" -- program 2>err; grep -o 'private memory' err | sort -u; done
done
""")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out.splitlines(), [OPENED, FOUND_OPEN, OPENED] * 2 + [OPENED, "private memory"] * 4, ended)

    def test_what_is_in_the_image_helps_to_look(self):
        ended = self.with_image("""
container --user 1000 -- sh -c 'program; resil status; resil doctor /usr/bin/perl; resil explain 127.0.0.1:9' 2>/dev/null
""")
        self.assertTrue(ended.is_good, ended)
        for said in "open, probe in", "good  /usr/bin/perl", 'rule "tested"':
            self.assertIn(said, ended.out)


if __name__ == "__main__":
    main()
