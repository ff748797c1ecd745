"""How long connects and answers took, counted for each host by all its programs."""

from stage import PYTHON, RULED, Stage, main

RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, response: 20s}
retry: {max_retries: 20, base_delay: 300ms, factor: 1, jitter: none}
"""

# Blocking: a request, its answer, and another one on the same connection.
TWICE = """
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
for _ in range(2):
    s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    while not s.recv(10000).endswith(b'fine'): pass
"""


class Latency(Stage):
    def host(self):
        (host,) = [host for report in self.reports() for host in report["hosts"]]
        return host

    def assert_within(self, host, what, count, low_ms, high_ms=60000):
        self.assertEqual(host[what]["count"], count, host)
        for share in "p50_ms", "p99_ms":
            self.assertGreaterEqual(host[what][share], low_ms, host)
            self.assertLessEqual(host[what][share], high_ms, host)

    def test_a_blocking_program_that_waits_for_answers(self):
        server = self.server("answer --delay 250 --body fine --keep-alive")
        rules = self.rules(RULE)

        def story(how):
            ended = self.run_program([PYTHON, "-c", TWICE, str(server.port)], rules, how)
            self.assertTrue(ended.is_good, ended)
            counts = [host["first_byte"]["count"] for report in self.reports() for host in report["hosts"]]
            return counts == [2]

        self.only_with_rules(story)
        self.assert_within(self.host(), "first_byte", 2, 200)
        self.assertGreaterEqual(self.host()["first_byte"]["sum_ms"], 500)
        self.assertEqual(self.host()["connect"]["count"], 1)
        self.assertIn("first byte p50", " ".join(self.resil("status").split()))

    def test_a_program_that_does_not_block(self):
        server = self.server("answer --delay 250 --body fine")
        for _ in range(3):
            ended = self.run_program(["curl", "-sS", server.url()], self.rules(RULE))
            self.assertEqual(ended.out, "fine", ended)
        self.assert_within(self.host(), "first_byte", 3, 200)
        self.assertEqual(self.host()["connect"]["count"], 3)

    def test_a_connect_took_as_long_as_its_retries(self):
        for command in self.wget, lambda url: ["curl", "-sS", url]:
            port = self.free_port()
            ended = self.ask_early(command(f"http://127.0.0.1:{port}/"), self.rules(RULE), RULED,
                                   lambda: self.server("answer --body fine", listen=f"127.0.0.1:{port}"))
            self.assertEqual(ended.out, "fine", ended)
            (host,) = [host for report in self.reports() for host in report["hosts"]
                       if host["target"] == f"127.0.0.1:{port}"]
            self.assert_within(host, "connect", 1, 500)

    def test_what_failed_took_no_time(self):
        port = self.free_port()
        ended = self.run_program(self.wget(f"http://127.0.0.1:{port}/"),
                                 self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 5s}\n"))
        self.assertFalse(ended.is_good, ended)
        self.assertEqual((self.host()["failed"], self.host()["connect"]["count"]), (1, 0))


class Bill(Stage):
    """What `enforce: 0%` waits for, and would not have to."""

    RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 200ms, total: 2s}
retry: off
breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: 60s}
enforce: %d%%
"""
    CODE = """
import socket, sys
for _ in range(3):
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 700)  # the kernel looks after a second
    print(s.connect_ex(('127.0.0.1', int(sys.argv[1]))))
"""

    def bill(self, enforce):
        server = self.server("blackhole")
        ended = self.run_program([PYTHON, "-c", self.CODE, str(server.port)], self.rules(self.RULE % enforce))
        self.assertEqual(len(ended.out.split()), 3, ended)
        (host,) = [host for report in self.reports() for host in report["hosts"]
                   if host["target"] == f"127.0.0.1:{server.port}"]
        return host

    def test_waits_that_rules_would_have_spared_add_up(self):
        shadow = self.bill(0)
        self.assertEqual((shadow["shadowed"], shadow["rejected"]), (shadow["would_reject"] + shadow["would_cut"], 0))
        self.assertEqual((shadow["would_cut"], shadow["would_reject"]), (1, 2))
        # What the first took beyond 0.2 s, and all that the two took that would have been rejected.
        self.assertGreaterEqual(shadow["spared_ms"], 3 * 700 - 200)

    def test_where_rules_are_enforced_nothing_was_waited_for_in_vain(self):
        enforced = self.bill(100)
        self.assertEqual((enforced["would_cut"], enforced["would_reject"], enforced["spared_ms"]), (0, 0, 0))
        self.assertEqual(enforced["rejected"], 2)


if __name__ == "__main__":
    main()
