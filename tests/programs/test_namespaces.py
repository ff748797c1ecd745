"""State is shared by those for whom times and process ids mean the same: what programs in another pid or time namespace know
is their own affair, whatever `resil run` outside has passed on of where it runs itself."""

import os
import shutil
import unittest

from stage import BARE, RESIL, RULED, Stage, main

OPENS_AT_ONCE = """
match: {address: 127.0.0.1}
breaker: {failure_threshold: 1, recovery_timeout: 1h, max_recovery_timeout: 1h}
"""

CONNECT = 'socket(S, 2, 1, 0); exit(connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1)) ? 0 : 1)'
CONFINED = 'chroot($ARGV[1]) or exit 2; chdir("/"); -e "/proc" and exit 2; ' + CONNECT

BOOT_ID_HIDDEN = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /proc/sys && exec "$@"', "sh")

# The next process inside gets the number that the next one outside will get, unless somebody else is quicker.
NOT_THE_SAME = 42
SAME_NUMBER = f'exit {NOT_THE_SAME} if readlink("/proc/self") ne $$; ' + CONNECT
UNTIL_IT_IS_THE_SAME = ('while :; do readlink /proc/self > "$0"; read -r n < "$0"; echo $n > /proc/sys/kernel/ns_last_pid; "$@"; '
                        f's=$?; [ $s = {NOT_THE_SAME} ] || exit $s; done')


@unittest.skipUnless(os.geteuid() == 0, "only root may make namespaces of these kinds, or chroot")
class Namespaces(Stage):
    def setUp(self):
        super().setUp()
        self.opening = self.rules(OPENS_AT_ONCE)

    def connects(self, how, *command):
        """Does it, under a `resil run` that is outside of whatever namespace the command makes?"""
        if how != BARE:
            rules = self.environment(self.opening, how)["RESIL_RULES"]
            command = [RESIL, "run", "--log", "off", "--rules", rules, "--", *command]
        ended = self.run_program(command, how=BARE)
        self.assertIn(ended.status, (0, 1), ended)
        return ended.is_good

    def is_kept_away(self, how, code, *arguments, inside=()):
        """By the circuit that a program outside has opened; `inside` says how to get where another one is not."""
        server = self.server("refuse")
        self.assertFalse(self.connects(how, "perl", "-e", CONNECT, str(server.port)))
        server.mode("answer")
        if inside:
            self.assertTrue(self.connects(how, *inside, "perl", "-e", code, str(server.port), *arguments))
            code = CONNECT
        return not self.connects(how, "perl", "-e", code, str(server.port), *arguments)

    def has_circuits_of_its_own(self, *inside, code=CONNECT):
        self.only_with_rules(lambda how: self.is_kept_away(how, code, inside=inside))

    def test_a_pid_namespace_with_a_proc_of_its_own_has_circuits_of_its_own(self):
        self.has_circuits_of_its_own("unshare", "--pid", "--fork", "--mount-proc")

    def test_so_has_one_that_sees_the_outer_proc(self):
        self.has_circuits_of_its_own("unshare", "--pid", "--fork")

    def test_so_has_one_whose_process_happens_to_have_the_same_number_outside(self):
        note = os.path.join(self.folder, "number")
        self.has_circuits_of_its_own("unshare", "--pid", "--fork", "sh", "-c", UNTIL_IT_IS_THE_SAME, note, code=SAME_NUMBER)

    def test_so_has_a_time_namespace(self):
        self.has_circuits_of_its_own("unshare", "--time", "--monotonic", "5000", "--fork")

    def test_who_locks_itself_up_has_the_circuits_of_those_outside(self):
        jail = os.path.join(self.folder, "jail")
        os.mkdir(jail)
        self.only_with_rules(lambda how: self.is_kept_away(how, CONFINED, jail))

    def test_who_cannot_read_the_boot_id_has_the_circuits_of_those_who_can(self):
        """As a service with ProcSubset=pid: either may come first, and neither puts the other's state away."""
        for first, second in ((), BOOT_ID_HIDDEN), (BOOT_ID_HIDDEN, ()), (BOOT_ID_HIDDEN, BOOT_ID_HIDDEN):
            def story(how):
                shutil.rmtree(self.state, ignore_errors=True)
                server = self.server("refuse")
                command = ["perl", "-e", CONNECT, str(server.port)]
                environment = self.environment(self.opening, how)
                for inside in first, second:
                    ended = self.finish(self.start([*inside, *command], environment.get("RESIL_RULES"), how))
                    self.assertEqual(ended.status, 1, ended)
                files = [name for name in os.listdir(self.state)] if how == RULED else []
                states = [host["state"] for report in self.reports() for host in report["hosts"]]
                return len(files) == 1 and states == ["open"] and len(self.events("rejected")) == 1

            self.only_with_rules(story)


if __name__ == "__main__":
    main()
