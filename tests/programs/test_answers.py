"""`failure_prefix`: answers that say that they failed; `scope: exchange`: requests that fail at once while the circuit is
open."""

import errno
import subprocess

from stage import PYTHON, RULED, Stage, main

JUDGING = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, response: 20s}
breaker:
  failure_threshold: 3
  failure_rate: off
  recovery_timeout: %s
  max_recovery_timeout: %s
  failure_prefix: ["HTTP/1.0 503", "HTTP/1.1 503", "-LOADING"]
"""

# Sends a request on one connection after the other and receives the answer in the way that it is told.
RECEIVE = """
import os, socket, sys
port, way = int(sys.argv[1]), sys.argv[2]
def receive(s):
    if way == 'recv': return s.recv(4096)
    if way == 'read': return os.read(s.fileno(), 4096)
    if way == 'readv':
        parts = [bytearray(3), bytearray(1), bytearray(4000)]
        return b''.join(parts)[:os.readv(s.fileno(), parts)]
    if way == 'recvmsg': return s.recvmsg_into([bytearray(5), bytearray(4000)])[0]
    if way == 'recvfrom': return s.recvfrom(4096)[0]
    if way == 'bytes': return s.recv(1)
    if way == 'peek':
        for _ in range(3): s.recv(4096, socket.MSG_PEEK)
        return s.recv(7)
    if way == 'waitall': return s.recv(20, socket.MSG_WAITALL)
    if way == 'dropped': return s.recv(4096, socket.MSG_TRUNC)
for _ in range(4):
    try:
        s = socket.create_connection(('127.0.0.1', port))
        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        while receive(s): pass
        print('answered')
    except OSError as e: print(e.errno)
"""


class Prefixes(Stage):
    def opens_by_answers(self, command_for, status, more=""):
        rules = self.rules(JUDGING % ("60s", "60s") + more)

        def story(how):
            server = self.server(f"answer --status {status}")
            for _ in range(4):
                self.run_program(command_for(server.url()), rules, how)
            return server.count("accepted") == 3

        return story

    def test_three_503s_open_it_for_wget(self):
        self.only_with_rules(self.opens_by_answers(self.wget, 503))
        self.assertEqual(len(self.events("failure_answer")), 3)
        self.assertEqual(len(self.events("circuit_open")), 1)

    def test_three_503s_open_it_for_urllib(self):
        self.only_with_rules(self.opens_by_answers(self.urllib, 503))

    def test_other_answers_do_not(self):
        story = self.opens_by_answers(self.wget, 500)
        self.assertFalse(story(RULED))
        self.assertEqual(self.events("failure_answer"), [])

    def test_each_is_counted_once_however_it_is_received(self):
        rules = self.rules(JUDGING % ("60s", "60s"))
        for way in "recv", "read", "readv", "recvmsg", "recvfrom", "bytes", "peek", "waitall":
            with self.subTest(way):
                before = len(self.events("failure_answer"))

                def story(how):
                    server = self.server("answer --status 503")
                    ended = self.run_program([PYTHON, "-c", RECEIVE, str(server.port), way], rules, how)
                    self.assertTrue(ended.is_good, ended)
                    return ended.out.split() == ["answered"] * 3 + [str(errno.ECONNREFUSED)]

                self.only_with_rules(story)
                self.assertEqual(len(self.events("failure_answer")), before + 3)
        self.assert_nothing_passed_through()

    def test_bytes_that_nobody_sees_are_not_judged(self):
        rules = self.rules(JUDGING % ("60s", "60s"))
        server = self.server("answer --status 503")
        ended = self.run_program([PYTHON, "-c", RECEIVE, str(server.port), "dropped"], rules)
        self.assertEqual(ended.out.split(), ["answered"] * 4, ended)

    def test_a_connection_that_is_kept_is_judged_with_each_answer(self):
        rules = self.rules(JUDGING % ("60s", "60s"))
        server = self.server("answer --status 503 --keep-alive")
        code = ("import http.client, sys\n"
                "c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n"
                "for _ in range(3):\n"
                "    c.request('GET', '/')\n"
                "    print(c.getresponse().read() and 'answered')\n")
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules)
        self.assertEqual(ended.out.split(), ["answered"] * 3, ended)
        self.assertEqual(len(self.events("failure_answer")), 3)
        self.assertEqual(len(self.events("circuit_open")), 1)

    def test_a_probe_is_judged_too(self):
        rules = self.rules(JUDGING % ("300ms", "10s"))
        server = self.server("answer --status 503")
        for _ in range(3):
            self.run_program(self.wget(server.url()), rules)
        for mode, event in ("answer --status 503", "circuit_reopened"), ("answer", "circuit_closed"):
            server.mode(mode)
            self.wait_for(lambda: "probe due" in self.resil("status"))
            self.run_program(self.wget(server.url()), rules)
            self.assertEqual(len(self.events(event)), 1, event)

    def test_not_enforced_it_is_recorded_only(self):
        self.assertFalse(self.opens_by_answers(self.wget, 503, "enforce: 0%\n")(RULED))
        for event in "failure_answer", "circuit_open", "rejected":
            events = self.events(event)
            self.assertTrue(events and all(event["shadow"] for event in events), event)


# A connection that is kept: for each line a request, and what became of it.
KEPT = """
import errno, http.client, sys
c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))
for _ in iter(sys.stdin.readline, ''):
    try:
        c.request('GET', '/')
        print(c.getresponse().read().decode().strip(), flush=True)
    except OSError as e:
        c.close()
        print(errno.errorcode[e.errno], flush=True)
"""


class Exchanges(Stage):
    RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, response: 20s}
breaker:
  failure_threshold: 2
  failure_rate: off
  recovery_timeout: %s
  max_recovery_timeout: %s
  scope: %s
"""

    def kept(self, server, rules, how=RULED):
        """A function that sends a request on the kept connection and gives what came of it."""
        process = subprocess.Popen([PYTHON, "-c", KEPT, str(server.port)], env=self.environment(rules, how), text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def end():
            process.stdin.close()
            process.wait()
            process.stdout.close()

        self.addCleanup(end)

        def ask():
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        return ask

    def open_by_others(self, server, rules, how=RULED):
        server.mode("reset")
        for _ in range(2):
            self.run_program(self.wget(server.url()), rules, how)

    def what_a_kept_connection_gets(self, scope, how=RULED, more=""):
        rules = self.rules(self.RULE % ("60s", "60s", scope) + more)
        server = self.server("answer --body yes --keep-alive")
        ask = self.kept(server, rules, how)
        self.assertEqual(ask(), "yes")
        self.open_by_others(server, rules, how)
        return [ask(), ask()]

    def test_an_open_circuit_fails_requests_on_kept_connections(self):
        """Which programs take for a stale connection: they connect anew, and get the rule's error."""

        def story(how):
            return self.what_a_kept_connection_gets("exchange", how) == ["ECONNRESET", "ECONNREFUSED"]

        self.only_with_rules(story)
        self.assertTrue(self.events("rejected"))

    def test_it_fails_whatever_call_sends_the_request(self):
        rules = self.rules(self.RULE % ("60s", "60s", "exchange"))
        server = self.server("answer --body yes --keep-alive")
        code = ("import errno, os, socket, sys\n"
                "request = b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.sendall(request)\n"
                "assert s.recv(4096)\n"
                "print('ready', flush=True)\n"
                "sys.stdin.readline()\n"
                "fd, file = s.fileno(), open('/proc/self/exe', 'rb')\n"
                "for send in (lambda: s.send(request), lambda: s.sendall(request), lambda: s.sendmsg([request]),\n"
                "             lambda: os.write(fd, request), lambda: os.writev(fd, [request]), lambda: s.send(bytes(100000)),\n"
                "             lambda: os.sendfile(fd, file.fileno(), 0, 10)):\n"
                "    try: print('sent', send())\n"
                "    except OSError as e: print(errno.errorcode[e.errno])\n")
        process = subprocess.Popen([PYTHON, "-c", code, str(server.port)], env=self.environment(rules), text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.open_by_others(server, rules)
        out, _ = process.communicate("go\n", timeout=30)
        self.assertEqual(out.split(), ["ECONNRESET"] * 7)

    def test_scope_connect_leaves_them_alone(self):
        self.assertEqual(self.what_a_kept_connection_gets("connect"), ["yes"] * 2)

    def test_not_enforced_it_is_recorded_only(self):
        self.assertEqual(self.what_a_kept_connection_gets("exchange", more="enforce: 0%\n"), ["yes"] * 2)
        events = self.events("rejected")
        self.assertTrue(events and all(event["shadow"] and event["error"] == "ECONNRESET" for event in events), events)

    def test_a_request_may_be_the_probe(self):
        rules = self.rules(self.RULE % ("400ms", "400ms", "exchange"))
        server = self.server("answer --body yes --keep-alive")
        ask = self.kept(server, rules)
        self.assertEqual(ask(), "yes")
        self.open_by_others(server, rules)
        self.wait_for(lambda: "probe due" in self.resil("status"))
        self.assertEqual(ask(), "yes")
        self.assertEqual((len(self.events("probe")), len(self.events("circuit_closed"))), (1, 1))
        self.assertEqual(server.count("accepted"), 3)


if __name__ == "__main__":
    main()
