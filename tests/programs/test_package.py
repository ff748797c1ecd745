"""The Debian package: what is in it, that it works from where it is, and that nothing of it stays behind."""

import glob
import os
import shlex
import subprocess
import unittest

from machine import ON_A_COPY
from stage import BARE, BUILD, CANNOT_SET_THE_STAGE, Stage, main

# What dpkg and the commands that it runs for every package keep for themselves.
BOOKS = ("/var/lib/dpkg/", "/var/log/dpkg.log", "/var/cache/ldconfig/aux-cache", "/var/cache/man", "/etc/ld.so.cache", "/tmp",
         "/run/systemd/systemd-units-load")
# Of all that was touched: what is not as it is on the machine, whatever it is. Copies of what did not change are nothing.
COMPARE = r"""
compare() {
    cd "$folder/upper" && find . -mindepth 1 -printf '%P\0' | while IFS= read -r -d '' path; do
        if [ -c "$path" ]; then echo "/$path is gone"
        elif [ ! -e "/$path" ] && [ ! -L "/$path" ]; then echo "/$path is new"
        elif [ "$(stat -c '%F %a %u %g %N' "$path")" != "$(cd / && stat -c '%F %a %u %g %N' "$path")" ]; then echo "/$path is another"
        elif [ -f "$path" ] && ! cmp -s "$path" "/$path"; then echo "/$path has changed"
        fi
    done
}
"""


class Package(Stage):
    @classmethod
    def setUpClass(cls):
        cls.made = subprocess.run(["mktemp", "-d"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        cls.addClassCleanup(subprocess.run, ["rm", "-rf", cls.made], check=True)
        said = subprocess.run(["cpack", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", cls.made], cwd=cls.made,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        found = glob.glob(os.path.join(cls.made, "libresil_*.deb"))
        assert said.returncode == 0 and len(found) == 1, said.stdout
        cls.package = found[0]

    def unpacked(self):
        root = os.path.join(self.folder, "root")
        subprocess.run(["dpkg-deb", "-x", self.package, root], check=True)
        return root

    def test_lintian_finds_nothing_wrong(self):
        ended = self.run_program(["lintian", "--allow-root", "--fail-on", "error,warning", self.package], how=BARE, seconds=120)
        self.assertEqual((ended.status, ended.out), (0, ""), ended)

    def test_the_loader_finds_the_library_by_its_word_for_a_processor(self):
        root = self.unpacked()
        server = self.server("up-after 500 answer --body here-I-am")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {total: 20s}\n"
                           "retry: {max_retries: 60, base_delay: 50ms, factor: 1, jitter: none}\n")

        def story(how):
            server.mode("up-after 500 answer --body here-I-am")
            if how == BARE:
                return "here-I-am" in self.run_program(self.wget(server.url()), how=BARE).out
            return "here-I-am" in self.run_program(self.wget(server.url()), rules, how, LD_PRELOAD=f"{root}/usr/$LIB/libresil.so").out

        self.only_with_rules(story)

    def test_all_that_one_needs_is_in_it(self):
        root = self.unpacked()
        for path in ("usr/bin/resil", "usr/bin/misbehave", "usr/share/man/man1/resil.1.gz", "usr/share/man/man1/misbehave.1.gz",
                     "usr/share/man/man5/resil.rules.5.gz", "usr/share/man/man8/libresil.8.gz", "usr/share/resil/rules/rules.schema.json",
                     "usr/share/bash-completion/completions/resil", "usr/share/zsh/vendor-completions/_resil",
                     "usr/share/doc/libresil/README.md", "usr/share/doc/libresil/docs/tutorial.md", "usr/share/doc/libresil/copyright",
                     "usr/share/doc/libresil/docs/examples/container/Dockerfile"):
            self.assertTrue(os.path.exists(os.path.join(root, path)), path)
        shown = self.run_program(["man", "-M", os.path.join(root, "usr/share/man"), "resil.rules"], how=BARE, MANWIDTH="80", PAGER="cat")
        self.assertIn("failure_threshold", shown.out, shown)

    def test_programs_get_what_is_installed_only_if_asked(self):
        """The package alone changes nothing for anybody."""
        root = self.unpacked()
        self.assertEqual(sorted(os.listdir(root)), ["usr"])
        for path, folders, names in os.walk(root):
            for name in names + folders:
                self.assertEqual(os.lstat(os.path.join(path, name)).st_mode & 0o7022, 0, f"{path}/{name}")

    @unittest.skipUnless(os.geteuid() == 0, "installing needs root")
    def test_installing_and_removing_leaves_no_trace(self):
        stage = os.path.join(self.folder, "stage")
        os.mkdir(stage)
        script = f"""
{COMPARE}
folder={shlex.quote(stage)}; {{ {ON_A_COPY} }} || exit {CANNOT_SET_THE_STAGE}
cp "$1" "$folder/root/tmp/libresil.deb"
on() {{ chroot "$folder/root" "$@"; }}
on dpkg-query -W >"$folder/before"; compare >&2; on ldconfig -p | grep libresil >&2
on dpkg -i /tmp/libresil.deb >&2 || exit 1
on resil doctor true >&2 || exit 2
printf '[Service]\\nExecStart=/bin/true\\n' >"$folder/root/etc/systemd/system/resil-test.service"
on resil enable --system >&2 || exit 3
on resil enable --unit resil-test >&2 || exit 4
rm "$folder/root/etc/systemd/system/resil-test.service"
on sh -c 'test -s /etc/ld.so.preload && test -d /etc/systemd/system/resil-test.service.d' || exit 5
on perl -e 'socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, 9, 127, 0, 0, 1))'
on dpkg -i /tmp/libresil.deb >&2 || exit 8
on sh -c 'test -s /etc/ld.so.preload && test -d /etc/systemd/system/resil-test.service.d' || exit 9 # an upgrade changes nothing
on resil status >&2; on ls /dev/shm >&2
on dpkg --remove libresil >&2 || exit 6
on dpkg --purge libresil >&2
on dpkg-query -W | cmp - "$folder/before" >&2 || exit 7
on ls -A /dev/shm
compare
"""
        ended = self.run_program(["unshare", "--mount", "bash", "-c", script, "bash", self.package], how=BARE, seconds=240)
        self.assertTrue(ended.is_good, ended)
        self.assertIn("resil-0", ended.err, "programs should have shared their state")
        left = [line for line in ended.out.split("\n") if line and not line.startswith(BOOKS)]
        self.assertEqual(left, [], ended)


if __name__ == "__main__":
    main()
