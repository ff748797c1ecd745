"""`resil status`: what it prints for people fits a terminal, and its JSON is what its help says."""

import json
import re
import unittest

from stage import BARE, PYTHON, Stage, main
from terminal import Terminal, pyte


class Status(Stage):
    def setUp(self):
        super().setUp()
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s, response: 2s}\n"
                           "retry: {max_retries: 2, base_delay: 1ms, jitter: none}\n"
                           "breaker: {failure_threshold: 3, failure_rate: off, recovery_timeout: 1h}\n")
        refuse, hang = self.server("refuse"), self.server("close --after-bytes 0")
        code = ("import socket, sys\n"
                "for port in sys.argv[1:]:\n"
                "    for i in range(5):\n"
                "        s = socket.socket()\n"
                "        if s.connect_ex(('127.0.0.1', int(port))) == 0:\n"
                "            s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "            s.recv(1)\n"
                "    s = socket.socket()\n"
                "    s.setblocking(False)\n"
                "    s.connect_ex(('127.0.0.1', int(port)))\n")
        ended = self.run_program([PYTHON, "-c", code, str(refuse.port), str(hang.port), str(self.free_port())], rules)
        self.assertTrue(ended.is_good, ended)

    def test_it_fits_80_columns(self):
        lines = self.resil("status").splitlines()
        self.assertGreater(len(lines), 10)
        for line in lines:
            self.assertLessEqual(len(line), 80, line)

    @unittest.skipUnless(pyte, "python3-pyte is not installed")
    def test_watching_shows_what_comes_first_and_says_how_much_more_there_is(self):
        whole = [line for line in self.resil("status").splitlines() if line]
        for lines in 12, 60:
            terminal = Terminal(self.environment(how=BARE, TERM="xterm"), "status", "--watch=100ms", lines=lines)
            self.addCleanup(terminal.end)
            text = terminal.until(lambda text: "rules_loaded" in text or "more: resil status has them" in text).splitlines()
            self.assertTrue(text[0].startswith("Rules: "), text)
            self.assertTrue(text[1].startswith("TARGET"), text)
            more = [re.search(r"-- (\d+) lines more", line) for line in text]
            self.assertEqual([int(found[1]) for found in more if found], [len(whole) - 11] if lines == 12 else [], text)
            terminal.press("\x03")
            while terminal.process.poll() is None:
                terminal.read()
            self.assertEqual(terminal.process.returncode, 0)

    def test_the_help_names_every_key_and_no_other(self):
        shown = self.resil("status", "--help")
        documented = set(re.findall(r"^  ([a-z_]+): ", shown, re.M))
        (report,) = self.reports()
        counters = {key for key in report["hosts"][0] if isinstance(report["hosts"][0][key], int)}
        self.assertEqual(documented, set(report["passed_through"]) | counters - {"probe_pid", "failures_in_a_row",
                                                                                "openings_in_a_row", "idle_ms", "probe_in_ms", "spared_ms"})
        for key in set(report) | set(report["hosts"][0]):
            self.assertIn(key, shown)

    def test_times_say_their_unit_and_states_are_words(self):
        (report,) = self.reports()
        opened = [host for host in report["hosts"] if host["state"] == "open"]
        self.assertEqual(len(opened), 3)
        for host in opened:
            self.assertGreater(host["probe_in_ms"], 3000000)
            self.assertGreater(host["rejected"], 0)

    def test_each_event_is_counted_by_the_name_that_log_filters_by(self):
        (report,) = self.reports()
        shown = self.resil("log", "--help")
        for name, number in report["events"].items():
            self.assertIn(f"  {name}: ", shown)
            if name not in ("rules_loaded",):  # counted, not recorded
                self.assertEqual(len(self.events(name)), number, name)

    def test_every_command_tells_its_exit_statuses(self):
        for command in re.findall(r"^  (\w+) ", self.resil("help"), re.M):
            if command not in ("help", "resil"):
                shown = self.resil(command, "--help")
                self.assertIn("Exit status:", shown)
                self.assertLessEqual(max(map(len, shown.splitlines())), 80, command)

    def test_all_of_it_is_json(self):
        json.loads(self.resil("status", "--json"))


if __name__ == "__main__":
    main()
