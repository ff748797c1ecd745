"""UNIX sockets: servers that are not there yet, are busy, or never answer."""

import os
import shutil
import socket
import subprocess
import threading
import unittest

from stage import BARE, HANG_S, PYTHON, RULED, Stage, main

PATIENT = """
match: {unix: "%s"}
timeout: {connect: 5s, total: 30s}
retry: {max_retries: 100, base_delay: 50ms, factor: 1, jitter: none, budget: off}
"""

PYTHON_CLIENT = """
import socket, sys
kind = getattr(socket, sys.argv[2]) if len(sys.argv) > 2 else socket.SOCK_STREAM
path = "\\0" + sys.argv[1][1:] if sys.argv[1].startswith("@") else sys.argv[1]
try:
    s = socket.socket(socket.AF_UNIX, kind)
    s.connect(path)
    s.send(b"ping")
    print(s.recv(100, socket.MSG_WAITALL).decode())
except OSError as e:
    sys.exit(f"errno {e.errno}")
"""

PERL_CLIENT = """
use IO::Socket::UNIX;
my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!\\n";
syswrite($s, "ping");
my $n = sysread($s, my $answer, 100);
defined $n or die "read: $!\\n";
print $answer;
"""

# The path fills sun_path to its last byte, and no zero follows.
PERL_WITHOUT_END = """
use Socket;
socket(my $s, AF_UNIX, SOCK_STREAM, 0);
connect($s, pack("Sa*", AF_UNIX, $ARGV[0])) or die "connect: $!\\n";
syswrite($s, "ping");
sysread($s, my $answer, 100);
print $answer;
"""


class Local:
    """A server on a UNIX socket, in steps: bound, listening, accepting."""

    def __init__(self, path, kind=socket.SOCK_STREAM):
        self.path, self.fillers, self.accepted = path, [], 0
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)

    def busy(self):
        """Listens, and its queue is full."""
        self.socket.listen(0)
        while True:
            filler = socket.socket(socket.AF_UNIX)
            filler.setblocking(False)
            self.fillers.append(filler)
            if filler.connect_ex(self.path) != 0:
                return self

    def answering(self, answer=b"pong"):
        for filler in self.fillers:
            filler.close()
        self.socket.listen(16)
        threading.Thread(target=self.serve, args=(answer,), daemon=True).start()
        return self

    def serve(self, answer):
        try:
            while True:
                connection = self.socket.accept()[0]
                self.accepted += 1
                if connection.recv(100) and answer is not None:
                    connection.send(answer)
                self.fillers.append(connection) if answer is None else connection.close()
        except OSError:
            pass

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # a thread that accepts would keep it
        except OSError:
            pass
        self.socket.close()
        for filler in self.fillers:
            filler.close()
        if not self.path.startswith("@") and os.path.exists(self.path):
            os.unlink(self.path)


class Unix(Stage):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.folder, "server")

    def local(self, path=None, **options):
        server = Local(path or self.path, **options)
        self.addCleanup(server.close)
        return server

    def waits_for_it(self, command, rules, path=None):
        """Its server's socket is made after two retries; the next program finds none again."""
        def story(how):
            servers = []
            ended = self.ask_early(command, rules, how, lambda: servers.append(self.local(path).answering()))
            servers[0].close()
            self.assertEqual(servers[0].accepted, 1 if how == RULED else 0)
            return ended.out.strip() == "pong"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def test_python_waits_for_a_socket_that_is_made_late(self):
        self.waits_for_it([PYTHON, "-c", PYTHON_CLIENT, self.path], self.rules(PATIENT % self.path))
        self.assertEqual(self.events("retry")[0]["target"], self.path)

    def test_perl_waits_for_a_server_that_listens_late(self):
        rules = self.rules(PATIENT % (self.folder + "/*"))

        def story(how):
            server = self.local()
            ended = self.ask_early(["perl", "-e", PERL_CLIENT, self.path], rules, how, server.answering)
            server.close()
            return ended.out == "pong"

        self.only_with_rules(story)

    def test_an_abstract_name_is_known_by_its_at_sign(self):
        name = f"@resil-test-{os.getpid()}"
        self.waits_for_it([PYTHON, "-c", PYTHON_CLIENT, name], self.rules(PATIENT % "@resil-test-*"), name)

    def test_a_relative_path_is_the_absolute_one(self):
        command = ["sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", self.folder, PYTHON, "-c", PYTHON_CLIENT, "./server"]
        self.waits_for_it(command, self.rules(PATIENT % self.path))
        self.assertEqual(self.events("retry")[0]["target"], self.path)

    def test_a_path_may_lack_its_end(self):
        path = self.folder + "/" + "n" * (108 - len(self.folder) - 1)
        rules = self.rules(PATIENT % path)
        process = self.start(["perl", "-e", PERL_WITHOUT_END, path], rules)
        self.wait_for(lambda: len(self.events("retry")) >= 2 or process.poll() is not None)
        folder = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        # python wants room for a zero: it makes the socket by another name.
        server = self.local()
        server.answering()
        os.rename("server", os.path.basename(path), src_dir_fd=folder, dst_dir_fd=folder)
        self.assertEqual(self.finish(process).out, "pong")

    def test_a_server_that_is_busy_is_waited_for_no_longer_than_the_rule_says(self):
        rules = self.rules(f"match: {{unix: {self.path}}}\ntimeout: {{connect: 300ms}}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s}\n")
        self.local().busy()

        def story(how):
            ended = self.run_program(["perl", "-e", PERL_CLIENT, self.path], rules, how, 30 if how == RULED else HANG_S / 2)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return "connect: Connection timed out" in ended.err

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connect_timeout")), 1)
        self.assertEqual(len(self.events("circuit_open")), 1)

    def test_a_busy_server_is_tried_again(self):
        rules = self.rules(f"match: {{unix: {self.path}}}\ntimeout: {{connect: 100ms, total: 30s}}\n"
                           "retry: {max_retries: 100, base_delay: 50ms, factor: 1, jitter: none, budget: off}\n")
        server = self.local().busy()
        ended = self.ask_early([PYTHON, "-c", PYTHON_CLIENT, self.path], rules, RULED, server.answering)
        self.assertEqual(ended.out.strip(), "pong", ended)
        self.assertGreaterEqual(len(self.events("connect_timeout")), 2)
        self.assertEqual(len(self.events("connected_late")), 1)

    def test_a_busy_server_is_waited_for_as_bare_where_no_timeout_comes(self):
        rules = self.rules(f"match: {{unix: {self.path}}}\ntimeout: {{connect: 20s}}\n")
        for how in BARE, RULED:
            server = self.local().busy()
            process = self.start([PYTHON, "-c", PYTHON_CLIENT, self.path], rules, how)
            with self.assertRaises(subprocess.TimeoutExpired):
                process.wait(0.5)
            server.answering()
            self.assertEqual(self.finish(process).out.strip(), "pong", how)
            server.close()

    def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_the_rule_says(self):
        rules = self.rules(f"match: {{unix: {self.path}}}\ntimeout: {{response: 300ms}}\n")
        self.local().answering(None)

        def story(how):
            ended = self.run_program(["perl", "-e", PERL_CLIENT, self.path], rules, how, 30 if how == RULED else HANG_S / 2)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return "read: Connection timed out" in ended.err

        self.only_with_rules(story)
        self.assertEqual(len(self.events("response_timeout")), 1)

    def test_to_send_nothing_is_not_to_ask(self):
        code = ("import socket, sys\n"
                "s = socket.socket(socket.AF_UNIX)\n"
                "s.connect(sys.argv[1])\n"
                "s.send(b'')\n"
                "print('sent', flush=True)\n"
                "print(s.recv(100))\n")
        rules = self.rules(f"match: {{unix: {self.path}}}\ntimeout: {{response: 200ms, recv: 20s}}\n")
        for how in BARE, RULED:
            server = self.local()
            server.socket.listen(1)
            process = self.start([PYTHON, "-c", code, self.path], rules, how)
            self.assertEqual(process.stdout.readline(), "sent\n")
            with self.assertRaises(subprocess.TimeoutExpired):
                process.wait(0.7)
            with server.socket.accept()[0] as connection:
                connection.send(b"pong")
            self.assertEqual(self.finish(process).out, "b'pong'\n", how)
            server.close()

    def test_an_open_circuit_is_the_path_s(self):
        rules = self.rules(f"match: {{unix: {self.folder}/*}}\nbreaker: {{failure_threshold: 2, recovery_timeout: 60s}}\n")

        def story(how):
            for _ in range(2):
                ended = self.run_program([PYTHON, "-c", PYTHON_CLIENT, self.path], rules, how)
                self.assertIn("errno 2", ended.err)
            server = self.local().answering()
            rejected = self.run_program([PYTHON, "-c", PYTHON_CLIENT, self.path], rules, how)
            accepted = server.accepted
            server.close()
            other = self.local(self.folder + "/other").answering()
            self.assertEqual(self.run_program([PYTHON, "-c", PYTHON_CLIENT, other.path], rules, how).out.strip(), "pong")
            other.close()
            return "errno 111" in rejected.err and accepted == 0

        self.only_with_rules(story)
        self.assertEqual([event["target"] for event in self.events("rejected")], [self.path])

    def test_a_message_is_never_waited_on_for_more(self):
        """MSG_WAITALL means nothing where a call moves one message."""
        rules = self.rules(f"match: {{unix: {self.path}}}\ntimeout: {{recv: 20s, response: 20s}}\n")
        server = self.local(kind=socket.SOCK_SEQPACKET)
        server.answering()
        for how in BARE, RULED:
            ended = self.run_program([PYTHON, "-c", PYTHON_CLIENT, self.path, "SOCK_SEQPACKET"], rules, how, 10)
            self.assertEqual(ended.out.strip(), "pong", ended)

    @unittest.skipUnless(shutil.which("logger"), "logger is not installed")
    def test_logger_waits_for_its_daemon(self):
        rules = self.rules(PATIENT % self.path)

        def story(how):
            servers = []
            ended = self.ask_early(["logger", "--socket-errors=on", "-u", self.path, "still here"], rules, how,
                                   lambda: servers.append(self.local(kind=socket.SOCK_DGRAM)))
            servers[0].socket.settimeout(5 if how == RULED else 0.2)
            try:
                said = servers[0].socket.recv(1000)
            except OSError:
                said = b""
            servers[0].close()
            return ended.is_good and b"still here" in said

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)

    @unittest.skipUnless(shutil.which("psql"), "psql is not installed")
    def test_an_open_circuit_keeps_psql_away(self):
        """libpq connects without blocking and waits in poll."""
        self.path = self.folder + "/.s.PGSQL.5432"
        rules = self.rules(f"match: {{unix: {self.folder}/.s.PGSQL.*}}\nbreaker: {{failure_threshold: 1, recovery_timeout: 60s}}\n")

        def story(how):
            self.run_program([PYTHON, "-c", PYTHON_CLIENT, self.path], rules, how)
            server = self.local().answering(b"N")
            ended = self.run_program(["psql", "-X", "-w", "-h", self.folder, "-U", "nobody", "-c", "select 1"], rules, how,
                                     HOME=self.folder)
            accepted = server.accepted
            server.close()
            self.assertFalse(ended.is_good, ended)
            return "Connection refused" in ended.err and accepted == 0

        self.only_with_rules(story)
        self.assertEqual(len(self.events("rejected")), 1)


if __name__ == "__main__":
    main()
