"""`resil breaker`: a person takes a circuit into their own hands, and running programs follow."""

import json
import os
import subprocess

from stage import BARE, PYTHON, RESIL, RULED, Stage, main

RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 1s}
breaker: {failure_threshold: 2, failure_rate: off, recovery_timeout: 60s, max_recovery_timeout: 60s, jitter: 0%}
"""

# Connects once for each line that it reads, and prints what came of it.
ASKING = """
import socket, sys
for line in sys.stdin:
    s = socket.socket()
    print(s.connect_ex(('127.0.0.1', int(sys.argv[1]))), flush=True)
    s.close()
"""


class Breaker(Stage):
    def setUp(self):
        super().setUp()
        self.rule_file = self.rules(RULE)

    def host(self):
        (host,) = [host for report in self.reports() for host in report["hosts"]]
        return host

    def test_a_circuit_opened_by_hand_lets_nothing_through(self):
        upstream = self.server("answer --body fine")
        name = f"127.0.0.1:{upstream.port}"

        def story(how):
            upstream.say("reset-count")
            first = self.run_program(self.wget(upstream.url()), self.rule_file, how)
            self.assertIn("fine", first.out, first)
            if how == RULED:
                self.assertIn("held open", self.resil("breaker", "open", name))
            ended = self.run_program(self.wget(upstream.url()), self.rule_file, how)
            return not ended.is_good and "Connection refused" in ended.err and upstream.count("accepted") == 1

        self.only_with_rules(story)
        self.assertEqual((self.host()["held"], self.host()["rejected"]), ("open", 1))
        self.assertIn("held open", self.resil("status"))
        (steered,) = self.events("circuit_steered")
        self.assertEqual((steered["reason"], steered["target"], steered["program"]), ("open", name, "resil"))
        self.assertIn("circuit held open", self.events("rejected")[0]["text"])

        self.assertIn("given back", self.resil("breaker", "auto", name))
        self.assertIsNone(self.host()["held"])
        self.assertIn("fine", self.run_program(self.wget(upstream.url()), self.rule_file).out)

    def test_a_circuit_closed_by_hand_lets_attempts_through_to_a_host_that_is_down(self):
        server = self.server("refuse")
        name = f"127.0.0.1:{server.port}"
        for _ in range(2):
            self.run_program(self.wget(server.url()), self.rule_file)
        self.assertEqual(self.host()["state"], "open")
        self.run_program(self.wget(server.url()), self.rule_file)
        self.assertEqual(self.host()["rejected"], 1)
        self.resil("breaker", "close", "tested")
        for _ in range(5):
            self.assertIn("refused", self.run_program(self.wget(server.url()), self.rule_file).err)
        self.assertEqual((self.host()["rejected"], self.host()["held"]), (1, "closed"))
        # Given back it begins anew.
        self.resil("breaker", "auto", name)
        self.assertEqual((self.host()["state"], self.host()["failures_in_a_row"]), ("closed", 0))

    def test_a_running_program_follows_at_its_next_call(self):
        upstream = self.server("answer --body fine")
        process = self.start_asking(upstream.port, RULED)

        def ask():
            process.stdin.write("\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        self.assertEqual(ask(), 0)
        for action, expected in ("open", 111), ("close", 0), ("open", 111), ("auto", 0):
            self.resil("breaker", action, f"127.0.0.1:{upstream.port}")
            self.assertEqual(ask(), expected, action)
        process.stdin.close()
        self.assertEqual(process.wait(), 0)
        process.stdout.close()

    def start_asking(self, port, how):
        return subprocess.Popen([PYTHON, "-c", ASKING, str(port)], env=self.environment(self.rule_file, how), text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def test_reset_closes_a_circuit_that_failures_opened(self):
        server = self.server("refuse")
        for _ in range(2):
            self.run_program(self.wget(server.url()), self.rule_file)
        self.assertEqual(self.host()["state"], "open")
        server.mode("answer --body fine")
        self.assertIn("reset", self.resil("breaker", "reset", "127.0.0.*"))
        self.assertIn("fine", self.run_program(self.wget(server.url()), self.rule_file).out)
        self.assertEqual((self.host()["state"], self.host()["held"]), ("closed", None))

    def test_a_host_can_be_held_before_it_is_called(self):
        upstream = self.server("answer --body fine")

        def story(how):
            if how == RULED:
                self.resil("breaker", "--rules", self.rule_file, "open", f"127.0.0.1:{upstream.port}")
            ended = self.run_program(self.wget(upstream.url()), self.rule_file, how)
            return "Connection refused" in ended.err

        self.only_with_rules(story)
        self.assertEqual(upstream.count("accepted"), 2)

    def test_a_name_that_nobody_called_is_said_and_changes_nothing(self):
        self.resil("breaker", "open", "nowhere.test", expect=1)
        self.resil("breaker", "auto", f"127.0.0.1:{self.free_port()}", expect=1)
        self.assertEqual(self.events("circuit_steered"), [])

    def test_wrong_usage(self):
        for arguments in ([], ["open"], ["opne", "x"], ["x"]):
            self.resil("breaker", *arguments, expect=2)

    def test_a_rule_without_breaker_is_said(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s}\n")
        upstream = self.server("answer --body fine")
        self.run_program(self.wget(upstream.url()), rules)
        ended = self.run_program([RESIL, "breaker", "open", "tested"], how=BARE)
        self.assertIn("rule tested has no breaker", ended.err)

    def test_a_host_under_a_rule_without_breaker_is_not_held(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s}\n")
        upstream = self.server("answer --body fine")
        name = f"127.0.0.1:{upstream.port}"

        def assert_refused(*arguments):
            ended = self.run_program([RESIL, "breaker", *arguments, name], how=BARE)
            self.assertEqual((ended.status, ended.out), (1, ""), ended)
            self.assertIn(f"{name}: rule tested has no breaker", ended.err)
            self.assertNotIn("no rule is for it", ended.err)

        assert_refused("--rules", rules, "open")
        self.run_program(self.wget(upstream.url()), rules)
        assert_refused("open")
        assert_refused("close")
        self.assertIsNone(self.host()["held"])
        self.assertEqual(self.events("circuit_steered"), [])
        self.assertIn("given back", self.resil("breaker", "auto", name))

    def assert_unusable(self, said, **extra):
        ended = self.run_program([RESIL, "breaker", "--rules", self.rule_file, "open", "127.0.0.1:1"], how=BARE, **extra)
        self.assertEqual((ended.status, ended.out), (2, ""), ended)
        self.assertRegex(ended.err, said)
        self.assertNotIn("no rule is for it", ended.err)

    def test_a_state_directory_that_cannot_be_used_is_said(self):
        self.assert_unusable("shared state cannot be made in .*/absent/state", RESIL_STATE_DIR=f"{self.folder}/absent/state")
        self.assert_unusable("rules.yaml cannot be read: Not a directory", RESIL_STATE_DIR=self.rule_file)
        os.chmod(self.folder, 0o777)
        self.assert_unusable("is not read: it must belong to user", RESIL_STATE_DIR=self.folder)

    def test_a_rule_file_with_errors_is_said(self):
        self.rule_file = self.rules(RULE.replace("breaker", "braker"))
        self.assert_unusable(r'rules\.yaml:\d+:\d+: error: .*"braker"')
        self.rule_file += ".absent"
        self.assert_unusable("cannot be opened: no such file")

    def test_of_two_rule_files_each_is_named(self):
        server = self.server("answer --body fine")
        other = self.write("other.yaml", open(self.rule_file).read() + "# another file\n")
        for rules in self.rule_file, other:
            self.run_program(self.wget(server.url()), rules)
        said = "".join(line.strip() + " " for line in self.resil("breaker", "close", "tested").splitlines())
        for rules in self.rule_file, other:
            self.assertEqual(said.count(f"127.0.0.1:{server.port} (rule tested of {rules}): circuit held closed"), 1, said)

    def test_changes_as_json(self):
        server = self.server("answer --body fine")
        self.run_program(self.wget(server.url()), self.rule_file)
        (change,) = json.loads(self.resil("breaker", "--json", "close", "tested"))["changes"]
        self.assertEqual(change, {"target": f"127.0.0.1:{server.port}", "rule": "tested", "rules": self.rule_file,
                                  "action": "close"})


class Probe(Stage):
    """A probe that will never report is not waited for: its lease is an hour here."""

    RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 1s, response: 1h, total: 2h}
breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: 1ms, max_recovery_timeout: 1ms, jitter: 0%%}
"""

    def setUp(self):
        super().setUp()
        self.rule_file = self.rules(self.RULE.replace("%%", "%"))
        self.upstream = self.server("reset")
        self.run_program(self.wget(self.upstream.url()), self.rule_file)
        self.upstream.mode("hang")

    def probe(self, code):
        program = ("import os, signal, socket, sys\n"
                   "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n") + code
        self.wait_for(lambda: "probe due" in self.resil("status"))
        return self.start([PYTHON, "-c", program, str(self.upstream.port)], self.rule_file)

    def assert_the_next_call_is_the_probe(self):
        self.upstream.mode("answer --body back")
        ended = self.run_program(self.wget(self.upstream.url()), self.rule_file)
        self.assertIn("back", ended.out, ended)
        self.assertEqual(len(self.events("circuit_closed")), 1)

    def test_one_that_is_killed(self):
        probe = self.probe("print('here', flush=True)\ns.sendall(b'x')\ns.recv(1)\n")
        self.assertEqual(probe.stdout.readline(), "here\n")
        refused = self.run_program(self.wget(self.upstream.url()), self.rule_file)
        self.assertIn("refused", refused.err)
        (report,) = self.reports()
        self.assertEqual(report["hosts"][0]["probe_pid"], probe.pid)
        probe.kill()
        self.finish(probe)
        self.assert_the_next_call_is_the_probe()

    def test_one_that_is_killed_and_not_waited_for(self):
        probe = self.probe("print('here', flush=True)\ns.sendall(b'x')\ns.recv(1)\n")
        self.assertEqual(probe.stdout.readline(), "here\n")
        probe.kill()
        self.wait_for(lambda: self.is_zombie(probe.pid))
        self.assert_the_next_call_is_the_probe()
        self.finish(probe)

    def is_zombie(self, pid):
        with open(f"/proc/{pid}/stat") as file:
            return " Z " in file.read()

    def test_one_that_connects_and_closes(self):
        ended = self.finish(self.probe("s.close()\nprint('closed')\n"))
        self.assertTrue(ended.is_good, ended)
        self.assert_the_next_call_is_the_probe()

    def test_one_that_connects_and_ends_without_closing(self):
        ended = self.finish(self.probe("os._exit(0)\n"))
        self.assertTrue(ended.is_good, ended)
        self.assert_the_next_call_is_the_probe()

    def test_one_that_closes_through_a_raw_system_call_and_lives_on_keeps_its_lease(self):
        """Nobody can know that it is lost."""
        probe = self.probe("import ctypes\nctypes.CDLL(None).syscall(3, s.fileno())\nprint('closed', flush=True)\n"
                           "sys.stdin.read()\nsignal.pause()\n")
        self.assertEqual(probe.stdout.readline(), "closed\n")
        self.assertIn("refused", self.run_program(self.wget(self.upstream.url()), self.rule_file).err)
        probe.kill()
        self.finish(probe)
        self.assert_the_next_call_is_the_probe()


if __name__ == "__main__":
    main()
