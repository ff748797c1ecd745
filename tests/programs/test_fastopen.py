"""TCP Fast Open: connections that the first send makes itself (MSG_FASTOPEN)."""

from stage import BARE, EMPTIED, HANG_S, PYTHON, RULED, Stage, main

PYTHON_CLIENT = """
import errno, select, socket, sys
s, request = socket.socket(), b"GET / HTTP/1.0\\r\\n\\r\\n"
s.setblocking(len(sys.argv) < 3)
address = ("127.0.0.1", int(sys.argv[1]))
try:
    sent = s.sendmsg([request[:5], request[5:]], [], socket.MSG_FASTOPEN, address)
except BlockingIOError as e:
    assert e.errno == errno.EINPROGRESS
    select.select([], [s], [])
    if error := s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR): sys.exit(errno.errorcode[error])
    sent = s.sendto(request, 0, address)
except OSError as e: sys.exit(errno.errorcode[e.errno])
assert sent == len(request), sent
try:
    select.select([s], [], [])
    s.setblocking(True)
    print(s.makefile().read())
except OSError as e: sys.exit(errno.errorcode[e.errno])
"""

PERL_CLIENT = """
use Socket;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die;
defined send($s, "GET / HTTP/1.0\\r\\n\\r\\n", 0x20000000, sockaddr_in($ARGV[0], inet_aton("127.0.0.1"))) or die "send: $!\\n";
my $answer = "";
while (1) { my $got = sysread($s, $answer, 1000, length $answer); defined $got or die "read: $!\\n"; last unless $got }
print "$answer\\n";
"""

RUBY_CLIENT = """
require "socket"
s = Socket.new(:INET, :STREAM)
request = "GET / HTTP/1.0\\r\\n\\r\\n"
begin
  s.send(request, 0x20000000, Socket.sockaddr_in(ARGV[0].to_i, "127.0.0.1"))
rescue Errno::EINPROGRESS # its sockets do not block
  IO.select(nil, [s])
  s.write(request)
end
puts s.read
"""

PROGRAMS = {
    "python": [PYTHON, "-c", PYTHON_CLIENT],
    "perl": ["perl", "-e", PERL_CLIENT],
    "ruby": ["ruby", "-e", RUBY_CLIENT],
}


class FastOpen(Stage):
    def survives_a_restart(self, command):
        def story(how):
            server = self.server("refuse")
            rules = self.rules(f"match: {{address: 127.0.0.1, port: {server.port}}}\ntimeout: {{connect: 2s, total: 20s}}\n"
                               "retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: {floor: 10000/s}}\n")
            ended = self.ask_early([*command(server.port)], rules, how, lambda: server.mode("answer --body here-I-am"))
            if how == RULED:
                self.assertEqual((server.count("accepted"), server.count("answered")), (1, 1), ended)
            else:
                self.assertIn("refused", ended.err.replace("ECONNREFUSED", "refused").lower(), ended)
            return ended.is_good and "here-I-am" in ended.out

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def test_python_survives_a_restart(self):
        self.survives_a_restart(lambda port: [*PROGRAMS["python"], str(port)])

    def test_python_that_does_not_block_survives_a_restart(self):
        self.survives_a_restart(lambda port: [*PROGRAMS["python"], str(port), "non-blocking"])

    def test_perl_survives_a_restart(self):
        self.survives_a_restart(lambda port: [*PROGRAMS["perl"], str(port)])

    def test_ruby_survives_a_restart(self):
        self.survives_a_restart(lambda port: [*PROGRAMS["ruby"], str(port)])

    def test_an_open_circuit_rejects_it(self):
        for name, command in PROGRAMS.items():
            rules = self.rules("match: {address: 127.0.0.1}\nbreaker: {failure_threshold: 1, recovery_timeout: 60s, error: EHOSTUNREACH}\n")

            def story(how):
                server = self.server("refuse")
                self.assertFalse(self.run_program([*command, str(server.port)], rules, how).is_good)
                server.mode("answer")
                ended = self.run_program([*command, str(server.port)], rules, how)
                self.assertEqual(server.count("accepted"), int(ended.is_good), ended)
                return not ended.is_good

            with self.subTest(name):
                before = len(self.events("rejected"))
                self.only_with_rules(story)
                self.assertEqual(len(self.events("rejected")), before + 1)

    def test_a_black_hole_and_silence_are_told_in_time(self):
        for mode, event in ("blackhole", "connect_timeout"), ("hang", "response_timeout"):
            server = self.server(mode)
            rules = self.rules(f"match: {{address: 127.0.0.1, port: {server.port}}}\ntimeout: {{connect: 300ms, response: 300ms}}\n")
            for how_it_blocks in [], ["non-blocking"]:
                def story(how):
                    ended = self.run_program([*PROGRAMS["python"], str(server.port), *how_it_blocks], rules, how,
                                             HANG_S / 4 if how != RULED else 30)
                    self.assertEqual(ended.has_hung, how != RULED, ended)
                    return "ETIMEDOUT" in ended.err

                with self.subTest(mode, how=how_it_blocks):
                    before = len(self.events(event))
                    self.only_with_rules(story)
                    self.assertEqual(len(self.events(event)), before + 1)

    def test_faults_happen_to_it(self):
        rules = self.rules("version: 1\nfaults:\n  - {name: away, match: {address: 127.0.0.1}, on: [connect], error: EHOSTUNREACH}\n"
                           "rules: []\n")
        server = self.server("answer")

        def story(how):
            ended = self.run_program([*PROGRAMS["perl"], str(server.port)], rules, how, RESIL_FAULTS="1")
            return ended.err == "send: No route to host\n"

        self.only_with_rules(story)

    def calls(self, rules, how, *options):
        """What the kernel is asked for."""
        server = self.server("answer")
        trace = f"{self.folder}/trace"
        preload = [f"--env={name}={value}" for name, value in self.environment(rules, how).items()
                   if name in ("LD_PRELOAD", "RESIL_RULES")]
        ended = self.run_program(["strace", "-o", trace, "-e", "trace=connect,sendto,sendmsg", *preload,
                                  *PROGRAMS["perl"], str(server.port)], how=BARE)
        self.assertIn("200 OK", ended.out, ended)
        with open(trace) as file:
            return [call.split("(")[0] for call in file if f"htons({server.port})" in call or "GET" in call]

    def test_what_no_rule_is_for_is_sent_as_it_was(self):
        others = self.rules("match: {host: other.test}\nretry: {max_retries: 1}\ntimeout: {connect: 1s}\n")
        for how in BARE, EMPTIED, RULED:
            self.assertEqual(self.calls(others, how), ["sendto"], how)
        ours = self.rules("match: {address: 127.0.0.1}\nretry: {max_retries: 1}\ntimeout: {connect: 1s}\n")
        self.assertEqual(self.calls(ours, RULED), ["connect", "sendto"])

    def test_what_the_kernel_says_otherwise_it_still_says(self):
        """A second one on a connection; datagrams; no address, and bad ones; one call that may not wait on a descriptor that
        blocks."""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 20s, recv: 20s}\nretry: {max_retries: 1}\n")
        code = ("import ctypes, errno, socket, sys\n"
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                "address, flag = ('127.0.0.1', int(sys.argv[1])), socket.MSG_FASTOPEN\n"
                "def said(result): print(result if result >= 0 else errno.errorcode[ctypes.get_errno()])\n"
                "def call(s, *arguments):\n"
                "    try: print(s.sendto(b'x', *arguments))\n"
                "    except OSError as e: print(errno.errorcode[e.errno])\n"
                "s = socket.socket()\n"
                "call(s, flag, address), call(s, flag, address), call(s, 0, address), call(s, 0, address)\n"
                "d = socket.socket(type=socket.SOCK_DGRAM)\n"
                "call(d, flag, address)\n"
                "try: print(d.getpeername())\n"
                "except OSError as e: print(errno.errorcode[e.errno])\n"
                "n = socket.socket()\n"
                "for bad in (None, 0), (8, 16), (8, 2): said(libc.sendto(n.fileno(), b'x', 1, flag, *map(ctypes.c_void_p, bad)))\n"
                "said(libc.sendmsg(n.fileno(), ctypes.c_void_p(8), flag)), said(libc.sendto(-1, b'x', 1, flag, bytes(16), 16))\n"
                "call(socket.socket(), flag | socket.MSG_DONTWAIT, address)\n")
        server = self.server("hang")
        said = [self.run_program([PYTHON, "-c", code, str(server.port)], rules, how) for how in (BARE, EMPTIED, RULED)]
        self.assertEqual({ended.out for ended in said}, {said[0].out}, said[2])
        self.assertTrue(said[0].is_good, said[0])
        self.assertEqual(server.count("accepted"), 6)


if __name__ == "__main__":
    main()
