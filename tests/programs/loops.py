"""Stories about programs that wait in poll, select or epoll, told for any of them. A class names the program
(`command`) and how it says what went wrong; what must hold is the same for all.

Deadlines show in the events that were recorded and in what the program says; nothing here measures time."""

import os
import re
import shutil

from stage import BARE, HANG_S, LIBRARY, PATIENCE_S, RULED, Stage

RETRYING = """
match: {address: 127.0.0.1, port: %d}
timeout: {connect: 2s, total: 20s}
retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: {floor: 10000/s}}
"""

BOUNDED = """
match: {address: 127.0.0.1, port: %d}
timeout: {connect: 300ms, response: 500ms, total: 2s}
retry: {max_retries: 1, base_delay: 50ms}
"""

BREAKING = """
match: {address: 127.0.0.1}
timeout: {connect: 1s, response: %s, total: 20s}
breaker: {failure_threshold: 5, failure_rate: off, recovery_timeout: %s, max_recovery_timeout: %s, jitter: 0%%}
"""

# Waits of the kernel that strace shows, and whether they are one descriptor's state asked for, which takes no time.
SLEEPS = re.compile(r"\b(nanosleep|clock_nanosleep|pause|rt_sigtimedwait)\(")
NO_TIME = re.compile(r"(tv_sec=0, tv_nsec=0\}|\]?, \d+, 0\b)")
SLEEPING_CALLS = ("nanosleep,clock_nanosleep,pause,rt_sigtimedwait,"
                  "poll,ppoll,select,pselect6,epoll_wait,epoll_pwait,epoll_pwait2")


class Traced:
    """A case that has traced connect and SLEEPING_CALLS with strace -f."""

    def calls_of(self, trace):
        """A line for each; strace has two where another thread's came in between."""
        calls, unfinished = [], {}
        with open(trace) as file:
            for line in file.read().splitlines():
                thread = line.split()[0]
                resumed = re.search(r"<\.\.\. \w+ resumed>", line)
                if resumed and thread in unfinished:
                    calls[unfinished.pop(thread)] += line[resumed.end():]
                    continue
                if line.endswith("<unfinished ...>"):
                    unfinished[thread] = len(calls)
                    line = line.removesuffix(" <unfinished ...>")
                calls.append(line)
        return calls

    def assert_only_waits(self, trace, port, waits):
        """The two attempts to connect to the port did not wait, nor did their thread in any call but those."""
        calls = self.calls_of(trace)
        ours = [call for call in calls if f"htons({port})" in call]
        self.assertEqual(len(ours), 2, calls)
        # Any thread of the program that waits may make the second attempt; what holds for the loop's holds for it.
        threads = {call.split()[0] for call in ours}
        for call in ours:
            self.assertIn("EINPROGRESS", call)
        kinds = set()
        for call in (call for call in calls if call.split()[0] in threads):
            self.assertIsNone(SLEEPS.search(call), call)
            name = re.search(r"^\d+ +(\w+)\(", call)
            if name and name.group(1) != "connect" and not NO_TIME.search(call):
                kinds.add(name.group(1))
        self.assertLessEqual(kinds, waits, calls)


class Program(Traced, Stage):
    """A program that asks a server; subclasses say how."""

    program = None  # its name; without it there is nothing to test
    timed_out = "timed out"  # how it says ETIMEDOUT
    refused = "refused"  # and ECONNREFUSED
    settings = {}  # environment

    def setUp(self):
        super().setUp()
        if not shutil.which(self.program):
            self.skipTest(f"{self.program} is not installed")

    def command(self, url):
        """Asks once and prints the answer; what fails is said on stderr."""
        raise NotImplementedError

    def ask(self, url, rules=None, how=RULED, seconds=PATIENCE_S):
        return self.run_program(self.command(url), rules, how, seconds, **self.settings)

    def assert_said(self, ended, what):
        self.assertIn(what.lower(), (ended.err + ended.out).lower(), ended)


class Restart:
    """The server comes up 1.5 s after the program has asked for it; where nothing waits for that, after it has given up."""

    def ask_while_down(self, server, command, how, count=1):
        process = self.start(command, self.rules(RETRYING % server.port), how, **self.settings)
        if how == RULED:
            self.wait_for(lambda: self.retries() >= 15 * count or process.poll() is not None)
            server.mode("answer --body here-I-am")
        return self.finish(process)

    def many_survive_a_restart(self, command_for, count):
        """All of them in one loop; each is answered once."""
        def story(how):
            server = self.server("refuse")
            ended = self.ask_while_down(server, command_for(server.url()), how, count)
            if how == RULED:
                self.assertEqual((server.count("accepted"), server.count("answered")), (count, count), ended)
            return ended.is_good and ended.out.count("here-I-am") == count

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), count)
        self.assertEqual(self.events("connect_failed"), [])
        self.assert_nothing_passed_through()

    def test_it_survives_a_restart(self):
        def story(how):
            server = self.server("refuse")
            ended = self.ask_while_down(server, self.command(server.url()), how)
            self.assertFalse(ended.has_hung, ended)
            if how == RULED:
                self.assertEqual((server.count("accepted"), server.count("answered")), (1, 1), ended)
            return ended.is_good and "here-I-am" in ended.out

        self.only_with_rules(story)
        self.assertGreater(len(self.events("retry")), 5)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assertEqual(self.events("connect_failed"), [])
        self.assert_nothing_passed_through()


class BlackHole:
    """SYNs are not answered."""

    def test_it_is_told_of_a_black_hole(self):
        server = self.server("blackhole")
        rules = self.rules(BOUNDED % server.port)

        def story(how):
            ended = self.ask(server.url(), rules, how, HANG_S if how != RULED else PATIENCE_S)
            if how != RULED:
                self.assertTrue(ended.has_hung, ended)
                return False
            self.assertFalse(ended.has_hung or ended.is_good, ended)
            self.assert_said(ended, self.timed_out)
            return True

        self.only_with_rules(story)
        failed = self.events("connect_failed")
        self.assertEqual([(event["error"], event["attempt"]) for event in failed], [("ETIMEDOUT", 2)])
        self.assertLessEqual(failed[0]["duration_ms"], 2000)
        self.assert_nothing_passed_through()

    def test_nothing_of_ours_sleeps_meanwhile(self):
        """What waits is the program's own wait. Everything else that is done takes no time."""
        server = self.server("blackhole")
        rules = self.rules(BOUNDED % server.port)
        trace = os.path.join(self.folder, "trace")
        settings = [f"--env={name}={value}" for name, value in
                    {"LD_PRELOAD": LIBRARY, "RESIL_RULES": rules, **self.settings}.items()]
        ended = self.run_program(["strace", "-f", "-qq", "-o", trace, *settings,
                                  f"--trace=connect,{SLEEPING_CALLS}",
                                  *self.command(server.url())], how=BARE)
        self.assertFalse(ended.has_hung or ended.is_good, ended)
        self.assertEqual(len(self.events("connect_failed")), 1, ended)
        self.assert_only_waits(trace, server.port, set(self.waits))


class Silence:
    """The server accepts and never answers."""

    def test_it_is_told_that_no_answer_comes(self):
        server = self.server("hang")
        rules = self.rules(BOUNDED % server.port)

        def story(how):
            ended = self.ask(server.url(), rules, how, HANG_S if how != RULED else PATIENCE_S)
            if how != RULED:
                self.assertTrue(ended.has_hung, ended)
                return False
            self.assertFalse(ended.has_hung or ended.is_good, ended)
            self.assert_said(ended, self.timed_out)
            return True

        self.only_with_rules(story)
        self.assertEqual(len(self.events("response_timeout")), self.requests)
        self.assert_nothing_passed_through()

    requests = 1  # some programs ask again by themselves


class Circuit:
    """Programs that never block learn from each other that a host is down, and that it is back."""

    def open_circuit(self, server, rules, how=RULED):
        for number in range(5):
            ended = self.ask(server.url(), rules, how)
            self.assertFalse(ended.is_good, ended)
            self.assertEqual(server.count("accepted"), (number + 1) * self.connects)

    connects = 1  # of a call that gets no answer
    good_connects = 1  # of one that does

    def breaking(self, *durations):
        """The circuit opens with the fifth call that fails."""
        threshold = f"failure_threshold: {5 * self.connects}"
        return self.rules((BREAKING % durations).replace("failure_threshold: 5", threshold))

    def assert_got(self, ended, body):
        self.assertIn(body, ended.out, ended)

    def test_the_sixth_is_rejected(self):
        rules = self.breaking("2s", "60s", "60s")

        def story(how):
            server = self.server("reset")
            self.open_circuit(server, rules, how)
            sixth = self.ask(server.url(), rules, how)
            self.assertFalse(sixth.is_good, sixth)
            return server.count("accepted") == 5 * self.connects and self.refused in sixth.err.lower()

        self.only_with_rules(story)
        (opened,) = self.events("circuit_open")
        self.assertEqual(opened["count"], 5 * self.connects)
        self.assertEqual(sum(host["rejected"] for report in self.reports() for host in report["hosts"]), self.connects)
        self.assertIn(len(self.events("rejected")), range(1, self.connects + 1))
        self.assert_nothing_passed_through()

    def test_refusals_open_it_too(self):
        rules = self.breaking("2s", "60s", "60s")

        def story(how):
            server = self.server("refuse")
            for _ in range(5):
                self.assertFalse(self.ask(server.url(), rules, how).is_good)
            server.mode("answer")
            ended = self.ask(server.url(), rules, how)
            self.assertEqual(server.count("accepted"), self.good_connects if ended.is_good else 0, ended)
            return not ended.is_good and self.refused in ended.err.lower()

        self.only_with_rules(story)
        self.assertEqual([event["count"] for event in self.events("circuit_open")], [5 * self.connects])
        self.assert_nothing_passed_through()

    def test_one_probes_and_the_others_are_rejected(self):
        rules = self.breaking("20s", "500ms", "500ms")

        def story(how):
            server = self.server("reset")
            if how == RULED:
                self.open_circuit(server, rules)
            server.mode("hold --body back-again")
            self.assertEqual(server.say("reset-count"), "ok")
            if how == RULED:
                self.wait_for(lambda: "probe due" in self.resil("status"))
            probe = self.start(self.command(server.url()), rules, how, **self.settings)
            self.assertTrue(server.wait("requests", 1))
            if how != RULED:
                return not self.is_let_in(server, rules, how)
            for _ in range(3):
                other = self.ask(server.url(), rules)
                self.assertFalse(other.is_good, other)
                self.assert_said(other, self.refused)
            self.assertEqual(server.count("accepted"), 1)
            self.assertEqual(server.say("release"), "ok")
            ended = self.finish(probe)
            self.assertTrue(ended.is_good, ended)
            self.assert_got(ended, "back-again")
            self.assertEqual(len(self.events("circuit_closed")), 1)
            server.mode("answer --body for-all")
            for _ in range(2):
                self.assert_got(self.ask(server.url(), rules), "for-all")
            return True

        self.only_with_rules(story)
        self.assertEqual(len(self.events("probe")), 1)
        self.assert_nothing_passed_through()

    def is_let_in(self, server, rules, how):
        """Another one, while an answer is awaited."""
        self.start(self.command(server.url()), rules, how, **self.settings)
        return server.wait("requests", 2)


class Shadow:
    """enforce: 0% decides and records, and changes nothing."""

    def test_what_would_have_been_rejected_is_recorded(self):
        rules = self.rules(BREAKING % ("2s", "60s", "60s") + "enforce: 0%\n")
        server = self.server("refuse")
        for _ in range(6):
            bare = self.ask(server.url(), how=BARE)
            ended = self.ask(server.url(), rules)
            self.assertEqual((ended.status, ended.out), (bare.status, bare.out), ended)
        (opened,) = self.events("circuit_open")
        (rejected,) = self.events("rejected")
        self.assertTrue(opened["shadow"] and rejected["shadow"])
        server.mode("answer --body all-the-same")
        ended = self.ask(server.url(), rules)
        self.assertIn("all-the-same", ended.out, ended)
        self.assert_nothing_passed_through()

    def test_what_would_have_been_tried_again_is_recorded(self):
        server = self.server("refuse")
        rules = self.rules(RETRYING % server.port + "enforce: 0%\n")
        ended = self.ask(server.url(), rules)
        self.assertFalse(ended.is_good, ended)
        self.assertTrue(all(event["shadow"] for event in self.events("retry")))
        self.assertGreaterEqual(len(self.events("retry")), 1)
        self.assert_nothing_passed_through()
