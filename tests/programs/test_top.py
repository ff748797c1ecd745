"""`resil top` on a terminal: what stands there, at 80 columns and more, with colour and without, and what its keys do."""

import os
import re
import subprocess
import termios
import unittest

from stage import BARE, PATIENCE_S, PYTHON, RESIL, RULED, Stage, main
from terminal import Terminal, pyte

RULES = """version: 1
rules:
  - name: payments
    match: {address: 127.0.0.1, port: %d}
    timeout: {connect: 1s, response: 5s}
    breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: 600s, max_recovery_timeout: 600s, jitter: 0%%}
  - name: catalog
    match: {address: 127.0.0.1, port: %d}
    timeout: {connect: 1s, response: 5s}
    breaker: {failure_threshold: 1, failure_rate: off}
  - name: plain
    match: {address: 127.0.0.1}
    timeout: {connect: 1s}
"""

LADDERS = """version: 1
rules:
  - name: canned-rule
    match: {address: 127.0.0.1, port: %d}
    degrade: [{respond: {text: "instead"}}]
  - name: elsewhere
    match: {address: 127.0.0.1, port: %d}
    degrade: [{host: ["127.0.0.1:%d"]}]
  - name: itself
    match: {address: 127.0.0.1, port: %d}
    timeout: {connect: 1s}
"""
FAULTS = """version: 1
rules: [{name: unbroken, match: {address: 127.0.0.1}, timeout: {connect: 1s}}]
faults:
  - {name: not-reached, match: {address: 127.0.0.1, port: %d}, error: EHOSTUNREACH, on: [connect]}
  - {name: another, match: {address: 127.0.0.1, port: 1}, error: ECONNREFUSED}
"""

# Asks once for each port that it reads a line with, and prints what came of it.
ASKING = """
import socket, sys
for line in sys.stdin:
    s = socket.socket()
    error = s.connect_ex(('127.0.0.1', int(line)))
    if not error:
        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        while s.recv(1000): pass
    s.close()
    print(error, flush=True)
"""


@unittest.skipUnless(pyte, "python3-pyte is not installed")
class Top(Stage):
    def setUp(self):
        super().setUp()
        self.good = self.server("answer --delay 120 --body fine").port
        self.down, self.plain = self.free_port(), self.free_port()
        self.rule_file = self.rules(RULES % (self.down, self.good))

    def asking(self, how=RULED):
        client = subprocess.Popen([PYTHON, "-c", ASKING], env=self.environment(self.rule_file, how), text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)

        def ask(port):
            client.stdin.write(f"{port}\n")
            client.stdin.flush()
            return int(client.stdout.readline())

        return ask

    def call_all(self):
        ask = self.asking()
        for port, expected in (self.good, 0), (self.down, 111), (self.down, 111), (self.plain, 111):
            self.assertEqual(ask(port), expected)
        return ask

    def terminal(self, *arguments, columns=80, lines=24, **extra):
        extra = {"TERM": "xterm-256color", **extra}
        terminal = Terminal(self.environment(how=BARE, **extra), "top", "--every", "200ms", *arguments, columns=columns, lines=lines)
        self.addCleanup(terminal.end)
        return terminal

    def row(self, port, text):
        (line,) = [line for line in text.splitlines()[3:15] if line.startswith(f"127.0.0.1:{port} ")]
        return line

    def test_hosts_that_only_programs_with_rules_have(self):
        def story(how):
            self.asking(how)(self.good)
            terminal = self.terminal()
            text = terminal.until(lambda text: "HOST" in text or "No program" in text)
            text = terminal.until(lambda text: "q quit" in text)
            terminal.press("q")
            return f"127.0.0.1:{self.good}" in text

        self.only_with_rules(story)

    def test_what_stands_in_a_row_at_80_columns(self):
        self.call_all()
        terminal = self.terminal()
        text = terminal.until(lambda text: "q quit" in text)
        self.assertRegex(text.splitlines()[0], r"^resil top  3 hosts +\S+ calls/s  1 open  0 half-open  0 held +by need  \d\d:\d\d:\d\d$")
        self.assertRegex(text.splitlines()[2], r"^HOST +CIRCUIT +RUNG +CALLS/S +FAIL +REJ +RETRY +p50 +p99 +p50 +p99$")
        self.assertRegex(self.row(self.down, text), r" open \d+s - +0 +1 +1 +0 +- +- +- +-$")
        self.assertRegex(self.row(self.good, text), r" closed +full +0 +0 +0 +0 +\S+[um]s +\S+[um]s +1\d\dms +\d+ms$")
        # The one in need comes first, and is the chosen one.
        self.assertTrue(text.splitlines()[3].startswith(f"127.0.0.1:{self.down} "), text)
        self.assertIn("rule payments  of /tmp/", text)
        self.assertRegex(text, r"calls 2  failed 1  rejected 1  openings 1")
        self.assertIn("circuit open, next probe in", text)

    def test_rates_and_the_past_come_with_calls(self):
        ask = self.asking()
        ask(self.good)
        terminal = self.terminal(columns=160)
        terminal.until(lambda text: "q quit" in text)
        ask(self.good)
        text = terminal.until(lambda text: re.search(r"closed +full +[1-9]\S* ", text))
        self.assertRegex(text.splitlines()[2], r"^HOST +RULE +CIRCUIT .* CALLS +$")
        self.assertIn("█", terminal.until(lambda text: "█" in text))
        self.assertRegex(text, r"catalog +closed")

    def test_on_a_terminal_without_colour_and_utf_8(self):
        self.call_all()
        terminal = self.terminal(TERM="vt100", LC_ALL="C")
        text = terminal.until(lambda text: "q quit" in text)
        self.assertRegex(self.row(self.down, text), r" open \d+s ")
        self.assertTrue(terminal.bytes.isascii())
        self.assertNotRegex(terminal.bytes, rb"\x1b\[[0-9;]*3[0-7]m")

    def test_no_color_is_respected(self):
        self.call_all()
        with_colours, without = self.terminal(), self.terminal(NO_COLOR="1")
        for terminal in with_colours, without:
            terminal.until(lambda text: "q quit" in text)
        self.assertRegex(with_colours.bytes, rb"\x1b\[[0-9;]*31m")
        self.assertNotRegex(without.bytes, rb"\x1b\[[0-9;]*3[0-7]m")
        self.assertEqual(self.row(self.down, with_colours.text())[:29], self.row(self.down, without.text())[:29])

    def test_keys_steer_a_running_program_that_follows_at_its_next_call(self):
        ask = self.asking()
        self.assertEqual(ask(self.good), 0)
        terminal = self.terminal()
        terminal.until(lambda text: f"127.0.0.1:{self.good}" in text)
        for key, said, expected in ("o", "circuit held open", 111), ("c", "circuit held closed", 0), ("a", "circuit given back", 0):
            terminal.press(key)
            terminal.until(lambda text: "(y/n)" in text)
            terminal.press("y")
            terminal.until(lambda text: said in text.splitlines()[-1])
            self.assertEqual(ask(self.good), expected, key)
        self.assertEqual([event["reason"] for event in self.events("circuit_steered")], ["open", "close", "auto"])

    def test_who_does_not_say_yes_changes_nothing(self):
        ask = self.asking()
        ask(self.good)
        terminal = self.terminal()
        terminal.until(lambda text: f"127.0.0.1:{self.good}" in text)
        terminal.press("o")
        self.assertIn(f"Hold the circuit of 127.0.0.1:{self.good} open", terminal.until(lambda text: "(y/n)" in text))
        terminal.press("n")
        terminal.until(lambda text: "Nothing was changed" in text)
        self.assertEqual((ask(self.good), self.events("circuit_steered")), (0, []))

    def test_reset_closes_what_failures_opened(self):
        self.call_all()
        terminal = self.terminal()
        terminal.until(lambda text: "1 open" in text)
        terminal.press("r")
        terminal.until(lambda text: "Reset the circuit" in text)
        terminal.press("y")
        terminal.until(lambda text: "0 open" in text)
        self.assertNotIn("open", {host["state"] for report in self.reports() for host in report["hosts"]})

    def test_a_rule_without_breaker_has_nothing_to_hold(self):
        self.asking()(self.plain)
        terminal = self.terminal()
        terminal.until(lambda text: f"127.0.0.1:{self.plain}" in text)
        terminal.press("o")
        terminal.until(lambda text: "rule plain has no breaker" in text)

    def test_a_host_is_chosen_and_stays_chosen_in_another_order(self):
        self.call_all()
        terminal = self.terminal()
        terminal.until(lambda text: "rule payments" in text)
        terminal.press("\x1bOB")  # down
        text = terminal.until(lambda text: "rule catalog" in text or "rule plain" in text)
        chosen = re.search(r"rule (\w+)  of", text).group(1)
        for order in "calls", "failures", "slowest", "name", "need":
            terminal.press("s")
            self.assertIn(f"rule {chosen}  of", terminal.until(lambda text: f"by {order} " in text))

    def test_finding(self):
        self.call_all()
        terminal = self.terminal()
        terminal.until(lambda text: "q quit" in text)
        terminal.press("/CATA\n")
        text = terminal.until(lambda text: 'with "CATA"' in text)
        self.assertIn(f"127.0.0.1:{self.good}", text)
        self.assertNotIn(f"127.0.0.1:{self.down}", text)
        terminal.press("/nowhere\n")
        terminal.until(lambda text: "No host has that in its name" in text)
        terminal.press("/\n")
        terminal.until(lambda text: f"127.0.0.1:{self.down}" in text and "with" not in text)

    def test_the_rung_that_served_a_host_stands_in_its_row(self):
        backup, other = self.server("answer --body backup").port, self.free_port()
        self.rule_file = self.rules(LADDERS % (self.down, other, backup, self.good))
        ask = self.asking()
        for port in self.down, other, self.good:
            self.assertEqual(ask(port), 0)
        for extra in {}, {"TERM": "vt100", "LC_ALL": "C"}:
            terminal = self.terminal(**extra)
            text = terminal.until(lambda text: "q quit" in text)
            self.assertRegex(self.row(self.down, text), r" closed +canned +0 +1 ")
            self.assertRegex(self.row(other, text), r" closed +host +0 +1 ")
            self.assertRegex(self.row(self.good, text), r" closed +full +0 +0 ")
            terminal.press("/canned\n")
            terminal.until(lambda text: re.search(r"closed  served by a canned answer \S+ ago  rule canned-rule", text))
            terminal.press("/\n")

    def test_keys_switch_faults_of_a_running_program_that_follows_at_its_next_call(self):
        self.rule_file = self.rules(FAULTS % self.good)
        ask = self.asking()
        self.assertEqual(ask(self.good), 0, "a fault that nobody armed")
        terminal = self.terminal()
        terminal.until(lambda text: "f faults" in text)
        terminal.press("f")
        text = terminal.until(lambda text: "f hosts" in text)
        self.assertRegex(text, r"\nnot-reached +as armed +never +- +error: EHOSTUNREACH")
        terminal.press("/other\n")
        terminal.until(lambda text: "not-reached" not in text and "another" in text)
        terminal.press("/\n")
        terminal.until(lambda text: "not-reached" in text)
        for key, question, said, expected in (("o", "happen in every program with its rule file?", "on", 113),
                                              ("x", "not happen anywhere?", "off", 0), ("o", "happen", "on", 113),
                                              ("a", "where it is armed, and only there?", "as armed", 0)):
            terminal.press(key)
            self.assertIn("Let fault not-reached", terminal.until(lambda text: question in text))
            terminal.press("y")
            terminal.until(lambda text: f"not-reached: {said}" in text and re.search(rf"\nnot-reached +{said} ", text))
            self.assertEqual(ask(self.good), expected, said)
            terminal.press("f")
            terminal.until(lambda text: ("FAULTS ON" in text) == (said == "on") and "calls/s" in text)
            terminal.press("f")
        self.assertRegex(terminal.until(lambda text: "f hosts" in text), r"\nnot-reached +as armed +2 +1 ")
        self.assertEqual(len(self.events("fault_steered")), 4)

    def test_who_does_not_say_yes_switches_no_fault(self):
        self.rule_file = self.rules(FAULTS % self.good)
        ask = self.asking()
        self.assertEqual(ask(self.good), 0)
        terminal = self.terminal()
        terminal.until(lambda text: "f faults" in text)
        terminal.press("fo")
        terminal.until(lambda text: "(y/n)" in text)
        terminal.press("n")
        terminal.until(lambda text: "Nothing was changed" in text)
        self.assertEqual((ask(self.good), self.events("fault_steered")), (0, []))

    def test_the_last_line_and_help_have_every_key(self):
        self.call_all()
        for columns in 80, 120:
            terminal = self.terminal(columns=columns)
            text = terminal.until(lambda text: "q quit" in text)
            keys = ["o open", "c close", "a auto", "r reset", "f faults", "s sort", "/ find", "? help"]
            for key in keys + (["arrows move", "p pause"] if columns > 80 else []):
                self.assertIn(key, text.splitlines()[-1])
            terminal.press("?")
            text = terminal.until(lambda text: text.splitlines()[-1].startswith("any key goes back"))
            for key in "jk/spfqocarx":
                self.assertRegex(text, rf"(?m)(^|  |\(|and ){key}( {{2,}}| )")
            terminal.press("z")
            terminal.until(lambda text: "calls/s" in text)
            terminal.press("f")
            text = terminal.until(lambda text: "No rule file that programs have used has faults" in text)
            for key in "arrows move", "o on", "x off", "a as armed", "f hosts", "/ find", "p pause", "? help", "q quit":
                self.assertIn(key, text.splitlines()[-1])
            terminal.press("\x1b")
            terminal.until(lambda text: "calls/s" in text)

    def test_a_narrow_terminal_leaves_columns_out_and_wraps_none(self):
        self.call_all()
        terminal = self.terminal(columns=60)
        text = terminal.until(lambda text: "q quit" in text or "/ find" in text)
        self.assertEqual(len([line for line in text.splitlines()[3:15] if line.strip()]), 3, text)

    def test_sizes_from_tiny_to_large(self):
        self.call_all()
        terminal = self.terminal()
        terminal.until(lambda text: "q quit" in text)
        for columns, lines in (20, 5), (200, 60), (1, 1), (80, 12), (80, 24):
            terminal.resize(columns, lines)
            terminal.until(lambda text: columns < 80 or re.search(r"\d\d:\d\d:\d\d$", text.splitlines()[0].rstrip()))
            self.assertIsNone(terminal.process.poll())
        terminal.until(lambda text: f"127.0.0.1:{self.down}" in text and "q quit" in text)

    def test_it_goes_well_and_leaves_the_terminal_as_it_was(self):
        for end in lambda t: t.press("q"), lambda t: t.process.terminate(), lambda t: t.press("\x03"):
            terminal = self.terminal()
            terminal.until(lambda text: "q quit" in text)
            before = len(terminal.bytes)
            end(terminal)
            while terminal.process.poll() is None:
                terminal.read()
            terminal.read()
            self.assertEqual((terminal.process.returncode, terminal.process.stderr.read()), (0, b""))
            self.assertIn(b"\x1b[?1049l", terminal.bytes[before:])

    def test_a_segment_that_is_cut_short_leaves_a_usable_terminal(self):
        self.call_all()
        terminal = self.terminal()
        terminal.until(lambda text: "q quit" in text)
        (name,) = [name for name in os.listdir(self.state) if "." not in name]
        os.truncate(os.path.join(self.state, name), 4096)
        terminal.until(lambda text: "was cut short while it was read" in text)
        while terminal.process.poll() is None:
            terminal.read()
        self.assertEqual(terminal.process.returncode, 2)
        self.assertTrue(termios.tcgetattr(terminal.fd)[3] & termios.ICANON)

    def test_nothing_yet_is_said(self):
        terminal = self.terminal()
        terminal.until(lambda text: "No program of this user has called a host" in text)

    def test_what_is_no_terminal(self):
        ended = self.run_program([RESIL, "top"], how=BARE)
        self.assertEqual((ended.status, ended.out), (2, ""), ended)
        self.assertIn("resil status --watch", ended.err)
        terminal = self.terminal(TERM="nowhere")
        self.assertEqual(terminal.process.wait(PATIENCE_S), 2)
        self.assertIn(b'"nowhere" is not known', terminal.process.stderr.read())


if __name__ == "__main__":
    main()
