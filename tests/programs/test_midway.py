"""Programs that connect without blocking, wait for as long as they want to, and then make the socket block again, whether
it is connected or not: perl and PHP with a timeout do, and many a connect-with-timeout written in C."""

import shutil
import unittest

from stage import HANG_S, PYTHON, RULED, Stage, main

# Enough time and attempts for a server that comes up late.
PATIENT = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, total: 30s}
retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: off}
"""

# One failure, and then nothing for longer than anybody waits.
BETWEEN_ATTEMPTS = """
match: {address: 127.0.0.1}
timeout: {connect: 300ms, total: 60s}
retry: {max_retries: 5, base_delay: 20s, max_delay: 20s, factor: 1, jitter: none, budget: off}
"""

PERL = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$ARGV[0]", Proto => "tcp", Timeout => $ARGV[1]) or die "connect: $@\\n";
print $s "GET / HTTP/1.0\\r\\n\\r\\n";
my $n = sysread($s, my $answer, 1000);
defined $n or die "read: $!\\n";
print $answer;
"""

PHP = """
$s = @stream_socket_client("tcp://127.0.0.1:" . $argv[1], $number, $message, (float)$argv[2]);
if (!$s) { fwrite(STDERR, "connect: $message\\n"); exit(1); }
fwrite($s, "GET / HTTP/1.0\\r\\n\\r\\n");
echo fread($s, 1000);
"""

# Argument 2 is how long it waits before it lets the socket block, 3 what it does then.
MIDWAY = """
import fcntl, os, select, socket, sys
port, wait_ms, call = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", port))
p = select.poll()
p.register(s, select.POLLOUT)
if p.poll(wait_ms):
    print("seen")
if call == "refused_flags":
    try: fcntl.fcntl(s, fcntl.F_SETFL, os.O_DIRECT)
    except OSError as error: print("flags", error.errno)
    s = socket.socket(fileno=s.detach())
    print("connected" if p.poll(20000) == [(s.fileno(), select.POLLOUT)] else "failed")
    sys.exit()
if call.startswith("fcntl_"):
    fcntl.fcntl(s, fcntl.F_SETFL, fcntl.fcntl(s, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    s = socket.socket(fileno=s.detach())
else:
    s.setblocking(True)
call = call.removeprefix("fcntl_")
try:
    if call == "so_error":
        print("errno", s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    elif call == "poll":
        print("poll", p.poll(20000)[0][1] & select.POLLERR, s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    elif call == "connect":
        s.connect(("127.0.0.1", port))
        print("connected")
    elif call == "recv":
        s.recv(1)
        print("received")
    elif call == "send":
        s.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(b"".join(iter(lambda: s.recv(1000), b"")).decode())
    elif call == "timed":
        import struct
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100000))
        s.recv(1)
except OSError as error:
    print("errno", error.errno)
"""

ETIMEDOUT, ECONNREFUSED, EAGAIN, EINVAL = 110, 111, 11, 22


class Language:
    """Of which the library has a timeout for connecting."""

    program = None

    def setUp(self):
        super().setUp()
        if not shutil.which(self.program):
            self.skipTest(f"{self.program} is not installed")

    def client(self, port, seconds):
        raise NotImplementedError

    def test_it_waits_for_a_server_that_comes_up_late(self):
        rules = self.rules(PATIENT)

        def story(how):
            server = self.server("refuse")
            ended = self.ask_early(self.client(server.port, 20), rules, how,
                                   lambda: server.mode("answer --body here-I-am"))
            self.assertEqual(server.count("accepted"), 1 if how == RULED else 0)
            return "200" in ended.out

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def gives_up(self, mode, retries_before):
        """In its own time, though there would be more attempts for a minute."""
        server = self.server(mode)
        ended = self.run_program(self.client(server.port, 1), self.rules(BETWEEN_ATTEMPTS))
        self.assertFalse(ended.has_hung or ended.is_good, ended)
        self.assertIn("connect: ", ended.err)
        self.assertEqual(len(self.events("retry")), retries_before)
        self.assertLess(ended.seconds, 15, ended)  # the next attempt would be after 20 s

    def test_it_gives_up_between_two_attempts_at_a_black_hole(self):
        self.gives_up("blackhole", 1)

    def test_it_gives_up_between_two_attempts_that_are_refused(self):
        self.gives_up("refuse", 1)


class Perl(Language, Stage):
    program = "perl"

    def client(self, port, seconds):
        return ["perl", "-e", PERL, str(port), str(seconds)]


    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_no_connect_is_made_once_it_blocks(self):
        """The kernel would keep it waiting, with all signals blocked."""
        server, log = self.server("blackhole"), self.folder + "/calls"
        self.run_program(["strace", "-f", "-o", log, "-e", "trace=connect,ioctl,fcntl", *self.client(server.port, 1)],
                         self.rules(BETWEEN_ATTEMPTS))
        with open(log) as file:
            calls = [line for line in file if f"htons({server.port})" in line or "F_SETFL" in line or "FIONBIO" in line]
        blocks = [number for number, line in enumerate(calls) if "F_SETFL, O_RDWR)" in line or "FIONBIO, [0]" in line]
        connects = [number for number, line in enumerate(calls) if "connect(" in line]
        self.assertGreaterEqual(len(connects), 2, calls)
        self.assertTrue(blocks and max(connects) < max(blocks), calls)


class Php(Language, Stage):
    program = "php"

    def client(self, port, seconds):
        return ["php", "-r", PHP, str(port), str(seconds)]


class MadeToBlock(Stage):
    def ask(self, server, wait_ms, call, rules, how=RULED, seconds=30):
        return self.run_program([PYTHON, "-c", MIDWAY, str(server.port), str(wait_ms), call], rules, how, seconds)

    def is_refused(self, call, says=f"errno {ECONNREFUSED}\n"):
        """The first failure is hidden; that of the last attempt, which is made before it blocks, is not lost."""
        server, rules = self.server("refuse"), self.rules(BETWEEN_ATTEMPTS)

        def story(how):
            ended = self.ask(server, 100, call, rules, how)
            self.assertEqual(ended.status, 0, ended)
            return ended.out == says

        self.only_with_rules(story)
        self.assertEqual(len(self.events("retry")), 1)
        self.assertEqual([event["attempt"] for event in self.events("connect_failed")], [2])
        self.assert_nothing_passed_through()

    def test_so_error_says_that_the_last_attempt_was_refused(self):
        self.is_refused("so_error")

    def test_so_error_says_it_where_fcntl_was_used(self):
        self.is_refused("fcntl_so_error")

    def test_send_says_that_the_last_attempt_was_refused(self):
        self.is_refused("send")

    def test_recv_says_that_the_last_attempt_was_refused(self):
        self.is_refused("recv")

    def test_connect_says_that_the_last_attempt_was_refused(self):
        self.is_refused("connect")

    def test_poll_shows_that_the_last_attempt_was_refused(self):
        self.is_refused("poll", f"poll 8 {ECONNREFUSED}\n")

    def is_timed(self, call, wait_ms):
        """Its next call waits, within the timeouts of the rule."""
        server, rules = self.server("blackhole"), self.rules(BETWEEN_ATTEMPTS)

        def story(how):
            ended = self.ask(server, wait_ms, call, rules, how, 30 if how == RULED else HANG_S)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return ended.out == f"errno {ETIMEDOUT}\n"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connect_failed")), 1)
        self.assert_nothing_passed_through()

    def test_recv_is_told_of_a_black_hole_while_the_first_attempt_is_in_flight(self):
        self.is_timed("recv", 0)

    def test_recv_is_told_of_a_black_hole_after_a_hidden_failure(self):
        self.is_timed("recv", 1000)

    def test_send_is_told_of_a_black_hole_after_a_hidden_failure(self):
        self.is_timed("fcntl_send", 1000)

    def test_connect_is_told_of_a_black_hole_after_a_hidden_failure(self):
        self.is_timed("connect", 1000)

    def test_poll_is_told_of_a_black_hole_after_a_hidden_failure(self):
        server, rules = self.server("blackhole"), self.rules(BETWEEN_ATTEMPTS)

        def story(how):
            ended = self.ask(server, 1000, "poll", rules, how, 30 if how == RULED else HANG_S)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return ended.out == f"poll 8 {ETIMEDOUT}\n"

        self.only_with_rules(story)

    def test_its_own_timeout_ends_the_wait_where_it_is_shorter(self):
        server = self.server("blackhole")
        ended = self.ask(server, 0, "timed", self.rules(BETWEEN_ATTEMPTS.replace("300ms", "20s")))
        self.assertEqual(ended.out, f"errno {EAGAIN}\n", ended)
        self.assertEqual(self.events("connect_failed"), [])
        self.assertLess(ended.seconds, 15, ended)

    def test_the_last_attempt_finds_the_server_that_has_come_up(self):
        rules = self.rules(BETWEEN_ATTEMPTS)

        def story(how):
            server = self.server("refuse")
            process = self.start([PYTHON, "-c", MIDWAY, str(server.port), "3000", "send"], rules, how)
            if how == RULED:
                self.wait_for(lambda: self.events("retry") or process.poll() is not None)
                server.mode("answer --body here-I-am")
            return "here-I-am" in self.finish(process).out

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assertEqual(self.events("connect_failed"), [])
        self.assert_nothing_passed_through()

    def test_an_answer_is_timed_once_it_is_connected(self):
        """Our options are on it then, as on any socket that blocks."""
        rules = self.rules(BETWEEN_ATTEMPTS.replace("total", "response: 300ms, total"))

        def story(how):
            server = self.server("refuse")
            process = self.start([PYTHON, "-c", MIDWAY, str(server.port), "2000", "send"], rules, how)
            if how == RULED:
                self.wait_for(lambda: self.events("retry") or process.poll() is not None)
                server.mode("hang")
            return self.finish(process).out == f"errno {ETIMEDOUT}\n"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("response_timeout")), 1)

    def test_where_the_kernel_refuses_there_are_more_attempts(self):
        """Flags that a socket cannot have leave it as it was."""
        rules = self.rules(PATIENT)

        def story(how):
            server = self.server("refuse")
            process = self.start([PYTHON, "-c", MIDWAY, str(server.port), "150", "refused_flags"], rules, how)
            if how == RULED:
                self.wait_for(lambda: len(self.events("retry")) >= 5 or process.poll() is not None)
                server.mode("answer --body here-I-am")
            return self.finish(process).out == f"flags {EINVAL}\nconnected\n"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)


if __name__ == "__main__":
    main()
