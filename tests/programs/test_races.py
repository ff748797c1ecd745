"""Threads that close, use again or shut down what another one waits on, and calls that the hooks do not see."""

import os
import subprocess

from stage import BARE, BUILD, RULED, Stage, main

RACES = os.path.join(BUILD, "tests/races")


class Races(Stage):
    def said(self, story, *ports, rules, how=RULED, seconds=30):
        ended = self.run_program([RACES, story, *map(str, ports)], rules, how, seconds)
        return "hangs" if ended.has_hung else ended.out.strip()

    def test_a_number_used_again_while_it_connects_is_left_alone(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 400ms, total: 20s}\n"
                           "retry: {max_retries: 3, base_delay: 50ms, jitter: none}\n")
        black_hole, server = self.server("blackhole"), self.server("answer")
        said = self.said("reused-in-connect", black_hole.port, server.port, rules=rules)
        self.assertEqual(said, "connect ETIMEDOUT, the other answered")
        self.assertEqual(self.events("retry"), [])

    def test_a_number_used_again_while_it_receives_is_left_alone(self):
        """The first connection's receiver wakes up while the second one waits for its answer."""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 3s, recv: 20s}\n")
        server = self.server("answer --delay 2250")
        for how in BARE, RULED:
            for _ in range(3):
                self.assertEqual(self.said("reused-in-receive", server.port, rules=rules, how=how), "answered", how)

    def test_what_becomes_of_another_socket_does_not_count(self):
        rules = self.rules("match: {address: 127.0.0.1, port: %d}\ntimeout: {response: 20s}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s}\n" % (server := self.server("hang")).port)
        resetting = self.server("reset")
        self.assertEqual(self.said("reused-unseen", server.port, resetting.port, rules=rules), "ECONNRESET")
        self.assertEqual(self.events("circuit_open"), [])
        self.assertEqual(self.events("no_answer"), [])

    def again(self, story, mode, answers):
        """The circuit opens after the first connect: the second is the kernel's to answer."""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 20s, recv: 20s}\nbreaker: {failure_threshold: 1}\n")
        for how in BARE, RULED:
            server = self.server(mode)
            process = subprocess.Popen([RACES, story, str(server.port)], env=self.environment(rules, how), text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            first = process.stdout.readline().strip()
            server.mode("refuse")
            if how == RULED:
                self.open_circuit(server.port, rules)
            second = process.communicate("on\n", timeout=20)[0].strip()
            self.assertEqual((first, second), answers, how)

    def test_an_open_circuit_does_not_answer_for_a_connected_socket(self):
        self.again("again", "answer", ("0", "EISCONN"))

    def test_an_open_circuit_does_not_answer_for_a_socket_on_its_way(self):
        self.again("again-in-flight", "blackhole", ("EINPROGRESS", "EALREADY"))

    def test_a_connect_that_another_thread_shuts_down_is_over(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 20s, total: 60s}\n"
                           "retry: {max_retries: 3, base_delay: 50ms, jitter: none}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s}\n")
        server = self.server("blackhole")
        for how in BARE, RULED:
            self.assertEqual(self.said("shut-in-connect", server.port, rules=rules, how=how), "connect ECONNRESET", how)
        self.assertEqual(self.events("retry") + self.events("circuit_open"), [])

    def test_an_error_queue_that_is_not_read_does_not_keep_it_awake(self):
        """The wait goes on behind the kernel's tick, the shorter of the two timeouts."""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 500ms, recv: 3s}\n")
        server = self.server("answer --keep-alive")
        self.assertEqual(self.said("waits-on-errors", server.port, rules=rules), "answered, ETIMEDOUT asleep")

    def test_a_socket_made_blocking_unseen_has_no_timeout_of_ours(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {recv: 200ms}\n")
        server = self.server("answer --delay 800")
        for how in BARE, RULED:
            self.assertEqual(self.said("blocking-unseen", server.port, rules=rules, how=how), "EAGAIN answered", how)

    def test_a_send_that_is_cut_raises_no_signal_before_its_time(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {send: 3s}\n")
        bare = self.said("cut-in-send", rules=rules, how=BARE)
        self.assertEqual(self.said("cut-in-send", rules=rules), bare)
        self.assertTrue(bare.startswith("a part, 0 signals"), bare)


if __name__ == "__main__":
    main()
