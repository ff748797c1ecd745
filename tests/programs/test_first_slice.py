"""wget and python's urllib, without timeouts of their own, against a server that fails in the ways that servers do."""

import errno

from stage import BARE, EMPTIED, HANG_S, RULED, Stage, main

RETRYING = """
match: {address: 127.0.0.1}
timeout: {connect: 1s, total: 10s}
retry: {max_retries: 40, base_delay: 100ms, factor: 1, jitter: none}
"""

BOUNDED = """
match: {address: 127.0.0.1}
timeout: {connect: 300ms, response: 500ms, total: 2s}
retry: {max_retries: 1, base_delay: 50ms}
"""

BREAKING = """
match: {address: 127.0.0.1}
timeout: {connect: 1s, response: %s, total: 20s}
breaker: {failure_threshold: 5, failure_rate: off, recovery_timeout: %s, max_recovery_timeout: %s, jitter: 0%%}
"""


class Restart(Stage):
    """The server comes up 1.5 s after the program has asked for it."""

    def survives(self, command_for):
        rules = self.rules(RETRYING)

        def story(how):
            server = self.server("up-after 1500 answer --body here-I-am")
            ended = self.run_program(command_for(server.url()), rules, how)
            self.assertFalse(ended.has_hung, ended)
            if how == RULED:
                self.assertEqual(server.count("answered"), 1)
            return ended.is_good and "here-I-am" in ended.out

        self.only_with_rules(story)
        self.assertGreater(len(self.events("retry")), 5)
        self.assertEqual([event["target"].split(":")[0] for event in self.events("connected_late")], ["127.0.0.1"])

    def test_wget_survives_a_restart(self):
        self.survives(self.wget)

    def test_urllib_survives_a_restart(self):
        self.survives(self.urllib)


class Silence(Stage):
    """The server takes no connections, or takes them and says nothing: bare, the program waits for ever."""

    def gets_etimedout(self, mode, command_for, event):
        rules = self.rules(BOUNDED)
        server = self.server(mode)

        def story(how):
            ended = self.run_program(command_for(server.url()), rules, how, HANG_S if how != RULED else 30)
            if how != RULED:
                self.assertTrue(ended.has_hung, ended)
                return False
            self.assertFalse(ended.has_hung, ended)
            said_so = "Connection timed out" in ended.err or f"TimeoutError {errno.ETIMEDOUT}" in ended.err
            return not ended.is_good and said_so

        self.only_with_rules(story)
        self.assertTrue(self.events(event))
        return rules

    def is_within_total(self):
        (failed,) = self.events("connect_failed")
        self.assertEqual(failed["error"], "ETIMEDOUT")
        self.assertEqual(failed["attempt"], 2)
        # The kernel's timers are late by up to 7 %; the sum of both attempts stays far below `total`.
        self.assertLessEqual(failed["duration_ms"], 2000)

    def test_wget_is_told_of_a_black_hole(self):
        self.gets_etimedout("blackhole", self.wget, "connect_timeout")
        self.is_within_total()

    def test_urllib_is_told_of_a_black_hole(self):
        self.gets_etimedout("blackhole", self.urllib, "connect_timeout")
        self.is_within_total()

    def test_wget_is_told_that_no_answer_comes(self):
        self.gets_etimedout("hang", self.wget, "response_timeout")

    def test_urllib_is_told_that_no_answer_comes(self):
        self.gets_etimedout("hang", self.urllib, "response_timeout")

    def test_total_bounds_what_the_attempts_would_take(self):
        """Ten attempts of 300 ms do not fit into 700 ms."""
        rules = self.rules("match: {address: 127.0.0.1}\n"
                           "timeout: {connect: 300ms, total: 700ms}\n"
                           "retry: {max_retries: 10, base_delay: 10ms, jitter: none}\n")
        server = self.server("blackhole")
        ended = self.run_program(self.wget(server.url()), rules)
        self.assertIn("Connection timed out", ended.err)
        (failed,) = self.events("connect_failed")
        self.assertLess(failed["attempt"], 5)


class Circuit(Stage):
    """Short-lived processes learn from each other that a host is down, and that it is back."""

    def open_circuit(self, server, rules, command_for, how=RULED):
        for number in range(5):
            ended = self.run_program(command_for(server.url()), rules, how)
            self.assertFalse(ended.is_good, ended)
            self.assertEqual(server.count("accepted"), number + 1)

    def opens_after_five(self, command_for):
        rules = self.rules(BREAKING % ("2s", "60s", "60s"))

        def story(how):
            server = self.server("reset")
            self.open_circuit(server, rules, command_for, how)
            sixth = self.run_program(command_for(server.url()), rules, how)
            self.assertFalse(sixth.is_good, sixth)
            return server.count("accepted") == 5 and "refused" in sixth.err.lower()

        self.only_with_rules(story)
        (opened,) = self.events("circuit_open")
        self.assertEqual(opened["count"], 5)
        self.assertEqual(len(self.events("rejected")), 1)
        self.assertIn(" open", self.resil("status"))

    def test_the_sixth_wget_is_rejected(self):
        self.opens_after_five(self.wget)

    def test_the_sixth_urllib_is_rejected(self):
        self.opens_after_five(self.urllib)

    def test_hanging_servers_open_it_too(self):
        rules = self.rules(BREAKING % ("200ms", "60s", "60s"))
        server = self.server("hang")
        self.open_circuit(server, rules, self.wget)
        self.run_program(self.wget(server.url()), rules)
        self.assertEqual(server.count("accepted"), 5)

    def one_probe_among_eight(self, command_for):
        rules = self.rules(BREAKING % ("20s", "500ms", "500ms"))
        server = self.server("reset")
        self.open_circuit(server, rules, command_for)
        server.mode("hold --body back-again")
        self.assertEqual(server.say("reset-count"), "ok")
        self.wait_for(lambda: "probe due" in self.resil("status"))

        probe = self.start(command_for(server.url()), rules)
        self.assertTrue(server.wait("requests", 1))
        for _ in range(7):
            other = self.run_program(command_for(server.url()), rules)
            self.assertFalse(other.is_good, other)
            self.assertIn("refused", other.err.lower())
        self.assertEqual(server.count("accepted"), 1)
        self.assertEqual(server.say("release"), "ok")
        ended = self.finish(probe)
        self.assertTrue(ended.is_good, ended)
        self.assertIn("back-again", ended.out)

        self.assertEqual(len(self.events("circuit_closed")), 1)
        server.mode("answer --body for-all")
        for _ in range(3):
            ended = self.run_program(command_for(server.url()), rules)
            self.assertIn("for-all", ended.out, ended)
        self.assertEqual(len(self.events("probe")), 1)

    def test_one_wget_probes_and_seven_are_rejected(self):
        self.one_probe_among_eight(self.wget)

    def test_one_urllib_probes_and_seven_are_rejected(self):
        self.one_probe_among_eight(self.urllib)

    def test_without_rules_all_eight_get_through(self):
        server = self.server("answer")
        for how in BARE, EMPTIED:
            for _ in range(8):
                self.assertTrue(self.run_program(self.wget(server.url()), None, how).is_good)
        self.assertEqual(server.count("accepted"), 16)

    def test_a_failed_probe_keeps_it_open_for_longer(self):
        rules = self.rules(BREAKING % ("2s", "300ms", "10s"))
        server = self.server("reset")
        self.open_circuit(server, rules, self.wget)
        (opened,) = self.events("circuit_open")
        self.wait_for(lambda: "probe due" in self.resil("status"))
        self.run_program(self.wget(server.url()), rules)
        (reopened,) = self.events("circuit_reopened")
        self.assertEqual(server.count("accepted"), 6)
        self.assertGreater(reopened["delay_ms"], 1.5 * opened["delay_ms"])

    def test_an_open_circuit_rejects_non_blocking_connects(self):
        """curl connects without blocking; it cannot be the probe yet, but it does not get through either."""
        rules = self.rules(BREAKING % ("2s", "60s", "60s"))

        def story(how):
            server = self.server("reset")
            self.open_circuit(server, rules, self.wget, how)
            ended = self.run_program(["curl", "-sS", server.url()], rules, how)
            self.assertFalse(ended.is_good)
            return server.count("accepted") == 5 and "Couldn't connect" in ended.err

        self.only_with_rules(story)


    def test_non_blocking_programs_are_not_locked_out_for_ever(self):
        """Where nobody else calls, no probe would ever close the circuit."""
        rules = self.rules(BREAKING % ("2s", "300ms", "300ms"))
        server = self.server("reset")
        self.open_circuit(server, rules, self.wget)
        server.mode("answer --body back-again")
        self.wait_for(lambda: "probe due" in self.resil("status"))
        ended = self.run_program(["curl", "-sS", server.url()], rules)
        self.assertIn("back-again", ended.out, ended)


class Shadow(Stage):
    def test_enforce_0_changes_nothing_and_records_what_it_would_have_done(self):
        rules = self.rules(BREAKING % ("2s", "60s", "60s") + "enforce: 0%\n")
        server = self.server("refuse")
        for _ in range(6):
            bare = self.run_program(self.wget(server.url()), how=BARE)
            ended = self.run_program(self.wget(server.url()), rules)
            self.assertEqual((ended.status, ended.out), (bare.status, bare.out))
        (opened,) = self.events("circuit_open")
        (rejected,) = self.events("rejected")
        self.assertTrue(opened["shadow"] and rejected["shadow"])


if __name__ == "__main__":
    main()
