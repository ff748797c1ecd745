"""Faults of every kind: on streams, datagrams, UNIX sockets, lookups, and in servers."""

import os
import socket
import threading
import time

import nginx
from faults import DatagramStage, FaultStage
from stage import PYTHON, RULED, main
from test_faults import BODY, Server

DIG = ["dig", "@127.0.0.1", "+tries=1", "+timeout=2", "+noedns", "+norecurse", "payments.test"]


class Streams(FaultStage):
    def test_bytes_come_in_slices(self):
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "sizes = []\n"
                "while part := s.recv(65536): sizes.append(len(part))\n"
                "print(sum(sizes), min(sizes[:-1] or sizes), max(sizes))\n")
        rules = self.faults("slice: {size: 100, variation: 20}, on: [recv]")
        command = [PYTHON, "-c", code, str(Server(self, size=20_000).port)]
        self.only_when_armed(lambda how: self.assert_sliced(self.faulty(command, rules, how).out, how))

    def assert_sliced(self, out, how):
        total, least, most = map(int, out.split())
        self.assertEqual(total, 20_042)
        return 80 <= least < 100 < most <= 120

    def test_curl_gets_all_of_it_in_slices(self):
        rules = self.faults("slice: 700")
        url = f"http://127.0.0.1:{Server(self).port}/"
        ended = self.faulty(["curl", "-sS", url], rules)
        self.assertEqual(ended.out, "x" * BODY)
        self.assertGreaterEqual(len(self.fired()), 1)
        self.assert_nothing_passed_through()

    def test_sent_slices_have_a_pause_between_them(self):
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "print(s.send(b'x' * 100))\n")
        rules = self.faults("slice: {size: 10, gap: 30ms}, on: [send]")
        server = self.server("drain")
        began = time.monotonic()
        ended = self.faulty([PYTHON, "-c", code, str(server.port)], rules)
        self.assertEqual(ended.out, "100\n")
        self.assertGreaterEqual(time.monotonic() - began, 9 * 0.03)
        self.assertTrue(server.wait("bytes", 100))

    def test_the_connection_ends_after_so_many_bytes(self):
        rules = self.faults("limit_data: {bytes: 5000}")
        server = Server(self)
        self.only_when_armed(lambda how: self.faulty(self.reader(server.port), rules, how).out == "end 5000\n")
        url = f"http://127.0.0.1:{server.port}/"
        self.only_when_armed(lambda how: self.faulty(["curl", "-sS", "-o", "/dev/null", url], rules, how).status == 18)

    def test_the_end_comes_late(self):
        rules = self.faults("slow_close: 400ms")
        server = Server(self, size=100)
        began = time.monotonic()
        ended = self.faulty(self.reader(server.port), rules)
        self.assertEqual(ended.out, "end 140\n")
        self.assertGreaterEqual(time.monotonic() - began, 0.4)
        self.assertEqual([event["delay_ms"] for event in self.fired()], [400])

    def test_a_share_of_the_bytes_is_changed(self):
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "data = b''\n"
                "while part := s.recv(int(sys.argv[2])): data += part\n"
                "print(len(data), [n for n, byte in enumerate(data) if byte != 120][-30:], data.count(b'x'))\n")
        rules = self.faults("corrupt: 1%")
        port = str(Server(self, size=100_000).port)
        outs = [self.faulty([PYTHON, "-c", code, port, size], rules, RESIL_SEED="5").out for size in ("65536", "1000")]
        self.assertEqual(outs[0], outs[1], "the same bytes, however they are read")
        changed = 100_000 - int(outs[0].split()[-1])
        self.assertTrue(874 <= changed <= 1126, outs[0])  # 1000 +- 4 sigma

    def test_bytes_that_are_thrown_away_are_not_changed(self):
        code = ("import ctypes, socket, sys\n"
                "libc = ctypes.CDLL(None)\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "print(libc.recv(s.fileno(), None, 5, socket.MSG_TRUNC | socket.MSG_WAITALL), len(s.recv(5)))\n")
        rules = self.faults("corrupt: 100%")
        ended = self.faulty([PYTHON, "-c", code, str(Server(self).port)], rules)
        self.assertEqual(ended.out, "5 5\n", ended)
        self.assertEqual(len(self.fired()), 1)

    def test_a_call_is_interrupted(self):
        perl = ("use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => \"127.0.0.1:$ARGV[0]\");\n"
                "syswrite $s, \"GET / HTTP/1.0\\r\\n\\r\\n\"; my $b; my $n = sysread($s, $b, 10); print defined $n ? $n : int $!\n")
        rules = self.faults("interrupt: {}, times: 1")
        command = ["perl", "-e", perl, str(self.server("answer").port)]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "4")

    def test_tls_works_unchanged_under_latency_and_slices(self):
        folder = self.folder
        key, certificate = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
        made = self.run_program(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                                 "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], how="bare")
        self.assertTrue(made.is_good, made)
        port = self.free_port()
        self.daemon(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-key", key, "-cert", certificate, "-www", "-quiet"], port)
        rules = self.faults("slice: {size: 50, variation: 40}", "on: [recv], latency: 50ms")
        code = ("import ssl, sys, urllib.request\n"
                "context = ssl.create_default_context(cafile=sys.argv[2])\n"
                "print('s_server' in urllib.request.urlopen(sys.argv[1], context=context).read().decode())\n")
        for command in ([PYTHON, "-c", code, f"https://127.0.0.1:{port}/", certificate],
                        ["wget", "-q", "-O-", f"--ca-certificate={certificate}", f"https://127.0.0.1:{port}/"]):
            ended = self.faulty(command, rules)
            self.assertTrue(ended.is_good and ("True" in ended.out or "s_server" in ended.out), ended)
        self.assertGreaterEqual(len(self.fired("fault-0")), 2)
        self.assertGreaterEqual(len(self.fired("fault-1")), 2)


class Datagrams(DatagramStage):
    SENDER = ("import socket, sys\n"
              "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
              "s.connect(('127.0.0.1', int(sys.argv[1])))\n"
              "s.settimeout(5) if len(sys.argv) > 2 else None\n")

    def test_sent_datagrams_are_lost(self):
        self.loses_what_it_sends(self.SENDER + "print(sum(s.send(b'%d' % i) for i in range(200)))")

    def test_received_datagrams_are_lost(self):
        code = self.SENDER + ("lost = 0\n"
                              "for i in range(20):\n"
                              "    s.send(b'%d' % i); s.send(b'end')\n"
                              "    lost += s.recv(100) == b'end'\n"
                              "    while not lost and s.recv(100) != b'end': pass\n"
                              "    if lost: break\n"
                              "print(lost)\n")
        rules = self.udp("loss: 100%, on: [recv], nth: 1")
        command = [PYTHON, "-c", code, self.peer()]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "1\n")

    def test_a_lost_datagram_is_not_seen_by_looking_either(self):
        code = ("import signal, socket, sys\n"
                "signal.alarm(5)\n"
                "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "s.bind(('127.0.0.1', 0))\n"
                "c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "c.connect(s.getsockname())\n"
                "s.connect(c.getsockname())\n"
                "for i in range(10): s.send(b'%d' % i)\n"
                "c.setblocking(sys.argv[1] == 'blocking')\n"
                "try: print(c.recv(10, socket.MSG_PEEK), c.recv(10))\n"
                "except BlockingIOError: print('nothing')\n")
        rules = self.udp("loss: 100%, on: [recv], nth: 1")
        command = [PYTHON, "-c", code, "blocking"]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "b'1' b'1'\n")
        rules = self.udp("loss: 100%, on: [recv], times: 10")
        command = [PYTHON, "-c", code, "at once"]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "nothing\n")

    def test_a_datagram_comes_twice(self):
        code = self.SENDER + "s.send(b'a'); print(s.recv(10), end=' '); s.send(b'b'); print(s.recv(10))"
        rules = self.udp("duplicate: 100%, on: [recv], times: 1")
        command = [PYTHON, "-c", code, self.peer()]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "b'a' b'a'\n")

    def test_datagrams_come_twice_and_not_more_often(self):
        code = self.SENDER + ("import select\n"
                              "s.setblocking(sys.argv[2] == 'waiting')\n"
                              "for i in range(3): s.send(b'%d' % i)\n"
                              "came = ''\n"
                              "while len(came) < 20 and select.select([s], [], [], 0.5)[0]: came += s.recv(10).decode()\n"
                              "print(came)\n")
        rules = self.udp("duplicate: 100%, on: [recv]")
        for how_read in "at once", "waiting":
            fired = len(self.fired())
            command = [PYTHON, "-c", code, self.peer(), how_read]
            self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "001122\n")
            self.assertEqual(len(self.fired()) - fired, 3)

    def test_a_datagram_is_sent_twice(self):
        code = self.SENDER + "s.send(b'a'); s.send(b'b')"
        port = self.peer()
        self.faulty([PYTHON, "-c", code, port], self.udp("duplicate: 100%, on: [send], nth: 2"))
        self.wait_for(lambda: len(self.came) == 3)
        self.assertEqual(self.came, [b"a", b"b", b"b"])

    def test_a_late_answer_to_a_datagram(self):
        code = self.SENDER + "s.send(b'a'); print(s.recv(10))"
        began = time.monotonic()
        ended = self.faulty([PYTHON, "-c", code, self.peer()], self.udp("latency: 300ms"))
        self.assertEqual(ended.out, "b'a'\n")
        self.assertGreaterEqual(time.monotonic() - began, 0.3)
        self.assertEqual(len(self.fired()), 1)

    def test_dig_is_refused(self):
        port = self.peer()
        rules = self.udp("error: ECONNREFUSED, on: [connect]")
        command = [*DIG, "-p", port]
        self.only_when_armed(lambda how: "connection refused" in self.faulty(command, rules, how).out.lower()
                             + self.faulty(command, rules, how).err.lower())

    def test_the_resolver_is_left_alone_unless_its_port_is_named(self):
        code = ("import socket\n"
                "def tried(port):\n"
                "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "    return s.connect_ex(('127.0.0.1', port))\n"
                "print(tried(53), tried(54))\n")
        everything = self.udp("error: EACCES, on: [connect]")
        self.only_when_armed(lambda how: self.faulty([PYTHON, "-c", code], everything, how).out == "0 13\n")
        named = self.faults("match: {port: 53, protocol: udp}, error: EACCES, on: [connect]")
        self.only_when_armed(lambda how: self.faulty([PYTHON, "-c", code], named, how).out == "13 0\n")


class Local(FaultStage):
    def test_unix_sockets_are_left_alone_unless_they_are_named(self):
        path = os.path.join(self.folder, "socket")
        code = ("import socket, sys\n"
                "l = socket.socket(socket.AF_UNIX); l.bind(sys.argv[1]); l.listen()\n"
                "s = socket.socket(socket.AF_UNIX); print(s.connect_ex(sys.argv[1]))\n")

        def tried(rules, how):
            ended = self.faulty([PYTHON, "-c", code, path], rules, how)
            os.unlink(path)
            return ended.out

        everything = self.faults("match: {}, error: ECONNREFUSED, on: [connect]")
        self.assertEqual(tried(everything, RULED), "0\n")
        named = self.faults(f"match: {{unix: {path}}}, error: ECONNREFUSED, on: [connect]")
        self.only_when_armed(lambda how: tried(named, how) == "111\n")

    def test_a_unix_connection_is_reset(self):
        path = os.path.join(self.folder, "socket")
        code = ("import socket, sys, threading\n"
                "l = socket.socket(socket.AF_UNIX); l.bind(sys.argv[1]); l.listen()\n"
                "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
                "p, _ = l.accept(); p.sendall(b'x' * 100)\n"
                "got = 0\n"
                "try:\n"
                "    while got < 100: got += len(s.recv(60))\n"
                "except OSError as e: print(got, e.errno, s.recv(10))\n")

        def tried(how):
            ended = self.faulty([PYTHON, "-c", code, path], rules, how)
            os.unlink(path)
            return ended.out == "70 104 b''\n"

        rules = self.faults(f"match: {{unix: {path}, program: '*'}}, reset: {{after_bytes: 70}}")
        self.only_when_armed(tried)


class Lookups(FaultStage):
    CODE = "import socket; print(socket.getaddrinfo('payments.test', 80, socket.AF_INET)[0][4][0])"

    def test_a_lookup_gives_another_address(self):
        rules = self.faults("match: {host: payments.test}, address: 127.0.0.9")
        command = self.with_hosts([PYTHON, "-c", self.CODE])
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "127.0.0.9\n")

    def test_a_name_that_there_is_not_has_an_address_then(self):
        rules = self.faults("match: {host: nowhere.invalid}, address: 127.0.0.1")
        url = self.server("answer").url("nowhere.invalid")
        self.only_when_armed(lambda how: self.faulty(self.wget(url), rules, how).out == "misbehave\n")

    def test_no_name_server_answers(self):
        rules = self.faults("match: {host: payments.test}, timeout: {}, on: [resolve]",
                            rules="[{name: a, match: {host: payments.test}, timeout: {resolve: 1s}}]")
        command = self.with_hosts([PYTHON, "-c", self.CODE])
        self.only_when_armed(lambda how: "Temporary failure" in self.faulty(command, rules, how).err)


class Servers(FaultStage):
    SERVER = ("import socket, sys\n"
              "l = socket.create_server(('127.0.0.1', 0)); print(l.getsockname()[1], flush=True)\n"
              "for i in range(3):\n"
              "    try:\n"
              "        c, _ = l.accept()\n"
              "        with c: c.recv(100); c.sendall(b'hello'); print('served', flush=True)\n"
              "    except OSError as e: print('errno', e.errno, flush=True)\n")

    def serve(self, rules, how):
        process = self.start([PYTHON, "-c", self.SERVER], rules, how if how != "with faults that are not armed" else RULED,
                             **({} if how == "with faults that are not armed" else {"RESIL_FAULTS": "1"}))
        self.addCleanup(process.kill)
        port = int(process.stdout.readline())
        for _ in range(3):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                    client.sendall(b"x")
                    client.recv(100)
            except OSError:
                pass
        return self.finish(process).out.split("\n")[:3]

    def test_accept_fails(self):
        rules = self.faults("match: {}, error: ECONNABORTED, nth: 2")
        self.only_when_armed(lambda how: self.serve(rules, how) == ["served", "errno 103", "served"])

    def test_a_server_has_no_descriptor_left(self):
        rules = self.faults("match: {}, exhaust: {}, on: [accept], after: 1")
        self.only_when_armed(lambda how: self.serve(rules, how) == ["served", "errno 24", "errno 24"])

    def test_what_a_server_receives_is_reset(self):
        rules = self.faults("error: ECONNRESET, on: [recv], nth: 3")
        self.only_when_armed(lambda how: self.serve(rules, how) == ["served", "served", "errno 104"])

    def test_a_socket_cannot_be_made(self):
        code = "import socket\nfor i in range(3):\n    try: socket.socket(); print('made')\n    except OSError as e: print(e.errno)\n"
        rules = self.faults("match: {}, exhaust: {}, on: [socket], nth: 2")
        self.only_when_armed(lambda how: self.faulty([PYTHON, "-c", code], rules, how).out == "made\n24\nmade\n")

    def test_nginx_serves_in_slices(self):
        port = self.free_port()
        conf = self.write("nginx.conf", nginx.configuration(f"""
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{'y' * 900}"; }} }}
""") % {"folder": self.folder})
        rules = self.faults(f"match: {{port: {port}}}, slice: 40")
        process = self.start(["nginx", "-c", conf], rules, RESIL_FAULTS="1")
        self.addCleanup(lambda: (process.terminate(), process.communicate()))
        self.wait_for(lambda: self.is_listening(port))
        ended = self.run_program(["curl", "-sS", f"http://127.0.0.1:{port}/"], how="bare")
        self.assertEqual(ended.out, "y" * 900)
        self.assertGreaterEqual(len(self.fired()), 1)


if __name__ == "__main__":
    main()
