"""Signals reach the program as they would without us: a handler that restarts calls is not noticed, one that does not
ends the call, and none is lost."""

import os

from stage import BARE, BUILD, RULED, Stage, main

INTERRUPTED = os.path.join(BUILD, "tests/interrupted")


class Signals(Stage):
    def said(self, what, port, handler, ms, rules, how=RULED, seconds=30):
        ended = self.run_program([INTERRUPTED, what, str(port), handler, str(ms)], rules, how, seconds)
        return "hangs" if ended.has_hung else ended.out.strip()

    def test_a_receive_is_restarted_or_interrupted_as_bare(self):
        """SO_RCVTIMEO, which we set, takes SA_RESTART from the kernel: every 50 ms this would be EINTR."""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {recv: 20s, response: 10s}\n")
        server = self.server("answer --delay 600")
        for handler, expected in ("restart", "good fired open"), ("interrupt", "EINTR fired open"):
            for how in BARE, RULED:
                self.assertEqual(self.said("recv", server.port, handler, 50, rules, how), expected, how)

    def test_a_receive_that_is_restarted_for_ever_still_times_out(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {recv: 700ms}\n")
        server = self.server("hang")
        self.only_with_rules(lambda how: self.said("recv", server.port, "restart", 50, rules, how,
                                                   30 if how == RULED else 2) == "ETIMEDOUT fired open")

    def test_a_connect_is_restarted_or_interrupted_as_bare(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 700ms}\n")
        server = self.server("blackhole")
        self.only_with_rules(lambda how: self.said("connect", server.port, "restart", 50, rules, how,
                                                   30 if how == RULED else 2) == "ETIMEDOUT fired open")
        for how in BARE, RULED:
            self.assertEqual(self.said("connect", server.port, "interrupt", 50, rules, how), "EINTR fired open", how)

    def test_a_signal_ends_the_wait_between_two_attempts(self):
        """A program that gives up by alarm() is not kept for the whole backoff; it sees the failure that is real."""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {total: 60s}\n"
                           "retry: {max_retries: 1, base_delay: 20s, max_delay: 20s, jitter: none}\n")
        server = self.server("refuse")
        self.assertEqual(self.said("connect", server.port, "interrupt", 100, rules, seconds=10), "ECONNREFUSED fired open")
        (failed,) = self.events("connect_failed")
        self.assertEqual(failed["attempt"], 2)

    def test_a_signal_between_attempts_interrupts_the_next_one(self):
        """EINTR is only given while an attempt is in flight: else SO_ERROR would say that it is connected."""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 200ms, total: 60s}\n"
                           "retry: {max_retries: 1, base_delay: 20s, max_delay: 20s, jitter: none}\n")
        server = self.server("blackhole")
        self.assertEqual(self.said("connect", server.port, "interrupt", 900, rules, seconds=10), "EINTR fired open")

    def test_leaving_a_connect_by_siglongjmp_leaves_the_shim_working(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s, total: 60s}\n")
        server = self.server("blackhole")
        self.assertEqual(self.said("jump", server.port, "interrupt", 300, rules), "ETIMEDOUT fired open")

    def test_leaving_a_backoff_by_siglongjmp_leaves_the_shim_working(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {total: 60s}\n"
                           "retry: {max_retries: 1, base_delay: 20s, max_delay: 20s, jitter: none}\n")
        server = self.server("refuse")
        process = self.start([INTERRUPTED, "jump", str(server.port), "interrupt", "300"], rules)
        self.wait_for(lambda: self.events("retry"))
        server.mode("answer")  # for the second connect; the first one waits for 20 s
        self.assertEqual(self.finish(process).out.strip(), "good fired open")


if __name__ == "__main__":
    main()
