"""`enforce: 0%`: the program and its server see exactly what they would see bare, and the record says what would have
been done."""

from stage import BARE, PYTHON, Stage, main

RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 300ms, response: 300ms, recv: 300ms, send: 300ms, total: 1s}
retry: {max_retries: 2, base_delay: 50ms}
breaker: {failure_threshold: 2, failure_rate: off, recovery_timeout: 60s}
enforce: 0%
"""

CLIENT = """
import socket, sys
s = socket.socket()
try:
    s.connect(('127.0.0.1', int(sys.argv[1])))
    s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    answer = b''
    while got := s.recv(1000): answer += got
    print(answer)
except OSError as e: print(type(e).__name__, e.errno, e)
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16), s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16))
"""


class Shadow(Stage):
    def same(self, mode, commands, times=3):
        """What each command prints and ends with, and what the server counts, bare and not enforced."""
        rules, seen = self.rules(RULE), {}
        server = self.server(mode)
        for enforced in False, True:
            seen[enforced] = []
            for _ in range(times):
                for command in commands:
                    server.say("reset-count")
                    ended = self.run_program(command(server), rules) if enforced else \
                        self.run_program(command(server), how=BARE)
                    self.assertFalse(ended.has_hung, ended)
                    server.wait("open", 0)
                    seen[enforced].append((ended.status, ended.out, ended.err, server.say("count")))
        self.assertEqual(seen[True], seen[False])
        self.assert_nothing_passed_through()

    def commands(self):
        return (lambda server: self.wget(server.url(), "-nv", "-o", "/dev/null"),
                lambda server: ["perl", "-MIO::Socket::INET", "-e",
                                '$s = IO::Socket::INET->new("127.0.0.1:$ARGV[0]") or die "$!"; print $s "GET / HTTP/1.0\\r\\n'
                                '\\r\\n"; print while <$s>', str(server.port)],
                lambda server: [PYTHON, "-c", CLIENT, str(server.port)])

    def test_a_late_answer_is_waited_for(self):
        self.same("answer --delay 700 --body late", self.commands(), times=1)
        self.assertEqual(self.events("response_timeout"), [])

    def test_a_reset_is_a_reset(self):
        self.same("reset --after-bytes 20", self.commands())

    def test_refused_connects_are_not_repeated_and_not_rejected(self):
        self.same("refuse", self.commands())
        for event in "retry", "circuit_open", "rejected":
            events = self.events(event)
            self.assertTrue(events, event)
            self.assertTrue(all(event["shadow"] for event in events), events)
        self.assertEqual(self.events("connected_late"), [])


if __name__ == "__main__":
    main()
