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
        self.would_have_been_cut("response_timeout", 2)
        self.assertEqual(len(self.events("rejected")), 1)  # the third: two are enough to open the circuit

    def would_have_been_cut(self, kind, times, *other_kinds):
        """That is recorded so often, and counted."""
        events = [event for kind in (kind, *other_kinds) for event in self.events(kind)]
        self.assertTrue(all(event["shadow"] for event in events), events)
        self.assertEqual((len(self.events(kind)), {event["duration_ms"] for event in events}), (times, {300}))
        hosts = [host for report in self.reports() for host in report["hosts"]]
        self.assertEqual(sum(host["would_cut"] for host in hosts), len(events))
        self.assertEqual(sum(host["timeouts"] for host in hosts), 0)
        self.assertGreater(sum(host["spared_ms"] for host in hosts), 0)
        for other in {"response_timeout", "recv_timeout", "send_timeout"} - {kind, *other_kinds}:
            self.assertEqual(self.events(other), [])

    def test_a_late_answer_is_waited_for_in_a_loop(self):
        self.same("answer --delay 700 --body late", [lambda server: ["curl", "-sS", server.url()]], times=2)
        self.would_have_been_cut("response_timeout", 2)
        self.assertEqual([event["count"] for event in self.events("circuit_open")], [2])

    def test_data_that_comes_slowly_is_waited_for(self):
        self.same("slow --rate 2 --size 3", self.commands()[2:], times=1)
        self.assertGreaterEqual(len(self.events("recv_timeout")), 2)
        self.would_have_been_cut("recv_timeout", len(self.events("recv_timeout")))

    def test_who_loses_patience_first_had_more_than_the_rule(self):
        code = CLIENT.replace("s = socket.socket()", "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, "
                              "(0).to_bytes(8, 'little') + (600000).to_bytes(8, 'little'))")
        self.same("hang", [lambda server: [PYTHON, "-c", code, str(server.port)]], times=2)
        self.would_have_been_cut("response_timeout", 2)
        self.assertEqual([event["count"] for event in self.events("circuit_open")], [2])

    def test_room_that_comes_late_is_waited_for(self):
        code = ("import socket, threading, time\n"
                "listener = socket.create_server(('127.0.0.1', 0))\n"
                "s = socket.create_connection(listener.getsockname())\n"
                "peer = listener.accept()[0]\n"
                "def read():\n"
                "    time.sleep(1) # so long there is no room, which is what is tested\n"
                "    while peer.recv(1 << 20): pass\n"
                "thread = threading.Thread(target=read); thread.start()\n"
                "print(all(s.send(bytes(1 << 13)) == 1 << 13 for _ in range(4000)))\n"
                "s.close()\n"
                "thread.join()\n")
        self.same("hang", [lambda server: [PYTHON, "-c", code]], times=1)
        self.would_have_been_cut("send_timeout", len(self.events("send_timeout")))
        self.assertTrue(self.events("send_timeout"))

    def test_an_answer_to_a_datagram_is_waited_for(self):
        code = ("import socket, sys, threading, time\n"
                "peer, s = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))\n"
                "peer.bind(('127.0.0.1', 0))\n"
                "s.connect(peer.getsockname())\n"
                "s.send(b'x')\n"
                "time.sleep(0.5)\n"
                "peer.sendto(b'y', s.getsockname())\n"
                "print(s.recv(10))\n")
        ended = self.run_program([PYTHON, "-c", code], self.rules(RULE.replace("127.0.0.1", "127.0.0.1, protocol: udp")))
        self.assertEqual(ended.out, "b'y'\n", ended)
        self.would_have_been_cut("response_timeout", 1)

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
