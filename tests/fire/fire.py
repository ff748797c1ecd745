"""Shared state that is damaged, cut short, full, foreign or not to be had: programs end well, and it is said."""

import json
import os
import random
import shlex
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../programs"))
from stage import BUILD, CANNOT_SET_THE_STAGE, UNSHARE, Stage, main  # noqa: E402

CLIENT = os.path.join(BUILD, "tests/client")
RULES = ("match: {}\n"
         "timeout: {connect: 1s, response: 1s, recv: 1s, send: 1s, total: 2s}\n"
         "retry: {max_retries: 1, base_delay: 1ms, max_delay: 2ms}\n"
         "breaker: {failure_threshold: 3, failure_rate: {}, recovery_timeout: 20ms, max_recovery_timeout: 50ms}\n")
PRIVATE = "state could not be shared: private memory instead"
CORRUPTIONS = 10000


class Fire(Stage):
    def setUp(self):
        super().setUp()
        self.upstream = self.server("echo")
        self.rule_file = self.rules(RULES)
        self.random = random.Random(20)

    def client(self, *arguments):
        return [CLIENT, str(self.upstream.port), *arguments]

    def segments(self):
        """Without those that a program is making just now: they have a dot in their names."""
        return [os.path.join(self.state, name) for name in os.listdir(self.state) if "." not in name]

    def segment(self):
        self.assertEqual(len(self.segments()), 1, self.segments())
        return self.segments()[0]

    def runs_well(self, command=None, **environment):
        ended = self.run_program(command or self.client("2"), self.rule_file, RESIL_LOG="stderr", **environment)
        self.assertEqual(ended.status, 0, ended)
        return ended


class Damaged(Fire):
    def spoil(self, file, size):
        """One corruption: words, runs, pages, zeroes, ones; anywhere, or where hosts are."""
        place = self.random.choice([0, 0, self.random.randrange(size), self.random.randrange(size)])
        place += self.random.randrange(4096) if self.random.random() < 0.5 else 0
        length = self.random.choice([1, 8, 8, 64, 512, 4096, 65536])
        what = self.random.choice([self.random.randbytes, self.random.randbytes, bytes,
                                   lambda count: b"\xff" * count])
        place = min(place, size - 1)
        os.pwrite(file, what(min(length, size - place)), place)

    def test_10000_corruptions_never_crash_or_hang_a_program(self):
        self.runs_well()
        running = [subprocess.Popen(self.client("-"), stdin=subprocess.PIPE, text=True,
                                    env=self.environment(self.rule_file)) for _ in range(3)]
        try:
            for number in range(CORRUPTIONS):
                file = os.open(self.segment(), os.O_RDWR)
                self.spoil(file, os.fstat(file).st_size)
                os.close(file)
                if number % 25 == 0:
                    self.runs_well()
                if number % 500 == 0:
                    for command in "status", "log":
                        ended = self.run_program([os.path.join(BUILD, "resil"), command], how="bare")
                        self.assertIn(ended.status, (0, 1, 2), ended)
        finally:
            for program in running:
                program.stdin.close()
        for program in running:
            self.assertEqual(program.wait(30), 0)
        os.unlink(self.segment())
        self.runs_well()
        self.assertGreater(os.stat(self.segment()).st_size, 0)

    def test_a_file_of_any_size_is_replaced_by_the_next_program(self):
        self.runs_well()
        size = os.stat(self.segment()).st_size
        for cut in [0, 1, 4096, size - 1, size + 1] + [self.random.randrange(size) for _ in range(100)]:
            os.truncate(self.segment(), cut)
            self.runs_well(self.client("1"))
            self.assertEqual(os.stat(self.segment()).st_size, size)

    def changed_underneath(self, change):
        """A program has connected, the file is changed, a second later it connects again."""
        program = subprocess.Popen(self.client("3", "wait"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   env=self.environment(self.rule_file))
        self.assertEqual(program.stdout.readline(), "done\n")
        change(self.segment())
        time.sleep(1.1)  # the look at the file is due
        program.stdin.write("\n")
        program.stdin.flush()
        self.assertEqual(program.stdout.readline(), "done\n")
        self.runs_well(self.client("1"))
        program.stdin.write("\n")
        program.stdin.close()
        self.assertEqual((program.wait(30), program.stdout.read()), (0, "done\n"))
        program.stdout.close()
        hosts = json.loads(self.resil("status", "--json"))
        text = json.dumps(hosts)
        self.assertIn('"calls": 3', text)  # both programs', in one file

    def test_a_file_cut_short_under_a_program_is_opened_anew(self):
        self.changed_underneath(lambda path: os.truncate(path, 4096))

    def test_a_file_unlinked_under_a_program_is_opened_anew(self):
        self.changed_underneath(os.unlink)

    def test_a_file_overwritten_under_a_program_is_opened_anew(self):
        def overwrite(path):
            size = os.stat(path).st_size
            with open(path, "r+b") as file:
                file.write(b"\xff" * size)
        self.changed_underneath(overwrite)


class NotToBeHad(Fire):
    def in_mounts(self, prepare, command):
        return [*UNSHARE, "sh", "-c", f'{{ {prepare}; }} || exit {CANNOT_SET_THE_STAGE}; exec "$@"', "sh", *command]

    def is_private(self, command=None, **environment):
        ended = self.runs_well(command, **environment)
        self.assertEqual(ended.err.count(PRIVATE), 1, ended)
        return ended

    def is_shared(self, command=None, **environment):
        ended = self.runs_well(command, **environment)
        self.assertNotIn(PRIVATE, ended.err)
        return ended

    def test_a_full_tmpfs(self):
        os.mkdir(self.state)
        for size in "4k", "64k", "256k":
            self.is_private(self.in_mounts(f"mount -t tmpfs -o size={size},mode=700 none {shlex.quote(self.state)}",
                                           self.client("2")))

    def test_a_tmpfs_that_is_filled_up_later_changes_nothing(self):
        """Every page of the file was there from the beginning."""
        os.mkdir(self.state)
        fill = f"head -c 100000000 /dev/zero >{self.state}/filler; true"
        script = f'"$@" && {{ {fill}; }} 2>/dev/null; "$@"'
        ended = self.is_shared(self.in_mounts(f"mount -t tmpfs -o size=2m,mode=700 none {shlex.quote(self.state)}",
                                              ["sh", "-c", script, "sh", *self.client("3")]))
        self.assertEqual(ended.status, 0)

    def test_no_dev_shm_and_one_that_cannot_be_written(self):
        for prepare in "mount -t tmpfs -o ro none /dev/shm", "mount -t tmpfs none /dev":
            self.is_private(self.in_mounts(prepare, ["env", "-u", "RESIL_STATE_DIR", *self.client("2")]))

    def test_a_file_size_limit(self):
        for blocks in 0, 1, 100:
            self.is_private(["sh", "-c", f'ulimit -f {blocks} && exec "$@"', "sh", *self.client("2")])

    def test_a_folder_that_is_a_link_a_file_or_others_can_write(self):
        real = os.path.join(self.folder, "real")
        os.mkdir(real, 0o700)
        os.symlink(real, self.state)
        self.is_private()
        os.unlink(self.state)
        self.write("state", "")
        self.is_private()
        os.unlink(self.state)
        os.mkdir(self.state)
        os.chmod(self.state, 0o770)
        self.is_private()
        self.assertEqual(os.listdir(real) + os.listdir(self.state), [])

    def test_a_folder_of_somebody_else(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give files away")
        os.mkdir(self.state, 0o700)
        os.chown(self.state, 12345, 12345)
        self.is_private()

    def test_a_file_of_somebody_else_is_replaced(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give files away")
        self.is_shared()
        path = self.segment()
        os.chown(path, 12345, 12345)
        self.is_shared()
        self.assertEqual(os.stat(self.segment()).st_uid, 0)

    def replaced(self, spoil):
        self.is_shared()
        path = self.segment()
        size = os.stat(path).st_size
        spoil(path)
        self.is_shared()
        self.assertEqual((self.segment(), os.lstat(path).st_size), (path, size))

    def test_a_link_in_its_place_is_replaced(self):
        victim = self.write("victim", "precious")

        def spoil(path):
            os.unlink(path)
            os.symlink(victim, path)
        self.replaced(spoil)
        with open(victim) as file:
            self.assertEqual(file.read(), "precious")

    def test_a_fifo_in_its_place_is_replaced(self):
        def spoil(path):
            os.unlink(path)
            os.mkfifo(path)
        self.replaced(spoil)

    def test_another_version_another_boot_another_namespace(self):
        for offset in 0, 8, 12, 16, 56, 64:  # magic, layout, size, boot, pid and time namespace
            def spoil(path):
                with open(path, "r+b") as file:
                    file.seek(offset)
                    byte = file.read(1)
                    file.seek(offset)
                    file.write(bytes([byte[0] ^ 1]))
            self.replaced(spoil)

    def test_a_folder_in_its_place_means_private_memory(self):
        self.is_shared()
        path = self.segment()
        os.unlink(path)
        os.mkdir(path)
        self.is_private()

    def test_another_pid_namespace_has_a_file_of_its_own(self):
        self.is_shared()
        self.is_shared([*UNSHARE, "--pid", "--fork", *self.client("2")])
        self.assertEqual(len(self.segments()), 2)

    def test_what_a_killed_maker_left_is_used_by_the_next_one(self):
        self.is_shared()
        path = self.segment()
        os.rename(path, path + ".0")
        os.truncate(path + ".0", 1234)
        self.is_shared()
        self.assertEqual(os.listdir(self.state), [os.path.basename(path)])


class Versions(Fire):
    def test_breakers_are_shared_between_versions_of_the_rules_only_if_they_have_the_same_parameters(self):
        self.upstream.mode("refuse")
        frame = "match: {{}}\npatience: {}s\nbreaker: {{failure_threshold: {}, recovery_timeout: 60s}}\n"

        def is_rejected():
            events = len(self.events("rejected"))
            self.runs_well(self.client("1"))
            return len(self.events("rejected")) > events
        self.rules(frame.format(10, 2))
        self.runs_well(self.client("2"))
        self.assertTrue(is_rejected())
        self.rules(frame.format(11, 2))  # the same path, another file, the same breaker
        self.assertTrue(is_rejected())
        self.rules(frame.format(11, 3))  # another breaker
        self.assertFalse(is_rejected())
        self.rules(frame.format(10, 2))
        self.assertTrue(is_rejected())
        self.assertEqual(len(self.segments()), 1)


if __name__ == "__main__":
    main()
