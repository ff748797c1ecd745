"""Faults on purpose: programs get the errors, delays, rates and resets that a rule file asks for, if they are armed."""

import os
import socket
import struct
import threading
import time

from faults import UNARMED, FaultStage
from stage import BARE, BUILD, PYTHON, RULED, main

BODY = 200_000


class Server:
    """Sends so many bytes to whoever connects and asks, and keeps how each connection ended."""

    def __init__(self, test, size=BODY, banner=b""):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.size, self.banner = size, banner
        self.ends = []
        test.addCleanup(self.listener.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size + b"x" * self.size)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
                self.ends.append("closed")
            except OSError:  # ENOTCONN too: there is nothing left to shut down after a reset
                self.ends.append("reset")


class Errors(FaultStage):
    def story(self, command, fault, has_met):
        rules = self.faults(fault)
        self.only_when_armed(lambda how: has_met(self.faulty(command, rules, how)))

    def test_wget_is_refused(self):
        url = self.server("answer").url()
        self.story(self.wget(url), "on: [connect], error: ECONNREFUSED", lambda ended: "Connection refused" in ended.err)

    def test_curl_cannot_reach_the_host(self):
        url = self.server("answer").url()
        self.story(["curl", "-sS", url], "on: [connect], error: EHOSTUNREACH", lambda ended: ended.status == 7)

    def test_python_fails_to_send(self):
        port = self.server("answer").port
        self.story(self.reader(port), "error: EPIPE", lambda ended: "BrokenPipeError 32 0" in ended.out)

    def test_python_fails_to_receive(self):
        port = self.server("answer").port
        self.story(self.reader(port), "on: [recv], error: ETIMEDOUT", lambda ended: "TimeoutError 110 0" in ended.out)

    def test_a_name_is_not_found(self):
        code = "import socket; print(socket.getaddrinfo('payments.test', 80)[0][4])"
        rules = self.faults("match: {host: payments.test}, error: EAI_NONAME")

        def story(how):
            ended = self.faulty(self.with_hosts([PYTHON, "-c", code]), rules, how)
            self.assertTrue(ended.is_good or "Name or service not known" in ended.err, ended)
            return not ended.is_good

        self.only_when_armed(story)

    def test_perl_finds_no_name_by_gethostbyname(self):
        code = 'use Socket; my @h = gethostbyname("payments.test"); print @h ? "found" : "not found"'
        rules = self.faults("match: {host: '*.test'}, error: EAI_AGAIN")
        self.only_when_armed(lambda how: self.faulty(self.with_hosts(["perl", "-e", code]), rules, how).out == "not found")

    def test_only_the_second_connect_of_three_fails(self):
        code = ("import socket, sys\n"
                "for i in range(4):\n"
                "    print(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))), end=' ')\n")
        rules = self.faults("on: [connect], error: ECONNREFUSED, nth: 2")
        command = [PYTHON, "-c", code, str(self.server("answer").port)]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "0 111 0 0 ")

    def test_it_fails_so_often_and_then_no_more(self):
        code = ("import socket, sys\n"
                "for i in range(6):\n"
                "    print(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))), end=' ')\n")
        rules = self.faults("on: [connect], error: ECONNREFUSED, after: 1, times: 2")
        command = [PYTHON, "-c", code, str(self.server("answer").port)]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "0 111 111 0 0 0 ")

    def test_who_makes_the_call_matters(self):
        port = self.server("answer").port
        python = self.reader(port)
        self.story(python, "on: [recv], error: ECONNRESET, caller: '*python*'",
                   lambda ended: "ConnectionResetError 104 0" in ended.out or "_socket" in ended.out)
        self.assertTrue(self.faulty(python, self.faults("error: ECONNRESET, on: [recv], caller: libpq.so.5")).is_good)

    def test_and_is_known_where_calls_have_many_arguments(self):
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "for call in 2 * [lambda: s.sendto(b'x', s.getpeername())] + [lambda: s.recvfrom(1)]:\n"
                "    try: call(), print('good', end=' ')\n"
                "    except OSError as e: print(e.errno, end=' ')\n")
        command = [PYTHON, "-c", code, str(self.server("echo").port)]
        caller = "caller: ['*python*', '_socket*']"
        self.story(command, f"on: [recv], error: ECONNRESET, {caller}", lambda ended: ended.out == "good good 104 ")
        self.story(command, f"on: [send], error: ECONNRESET, times: 1, {caller}",
                   lambda ended: ended.out == "104 good good ")

    def test_an_event_says_what_happened_to_whom_and_where(self):
        port = self.server("answer").port
        self.faulty(self.reader(port), self.faults("on: [recv], error: ECONNRESET"))
        event, = self.fired()
        self.assertEqual((event["operation"], event["error"], event["target"], event["connection"]),
                         ("recv", "ECONNRESET", f"127.0.0.1:{port}", 1))
        self.assertRegex(event["site"], r"^(python3|_socket|libpython).*\+0x[0-9a-f]+")


class Time(FaultStage):
    def timed(self, command, rules, how=RULED, **extra):
        began = time.monotonic()
        ended = self.faulty(command, rules, how, **extra)
        return ended, time.monotonic() - began

    def test_an_answer_comes_later(self):
        rules = self.faults("on: [recv], latency: 400ms")
        url = self.server("answer").url()
        for client in self.wget(url), self.urllib(url), self.reader(url.split(":")[2].strip("/")):
            def story(how):
                before = len(self.fired()) if how == RULED else 0
                ended, seconds = self.timed(client, rules, how)
                self.assertTrue(ended.is_good, ended)
                has_fired = how == RULED and len(self.fired()) == before + 1
                self.assertFalse(has_fired and seconds < 0.4, "it says so, and was not late")
                return has_fired

            self.only_when_armed(story)

    def test_a_connect_takes_longer(self):
        rules = self.faults("on: [connect], latency: {delay: 300ms, jitter: 50ms}")
        command = self.reader(self.server("answer").port)
        ended, seconds = self.timed(command, rules)
        event, = self.fired()
        self.assertTrue(ended.is_good, ended)
        self.assertGreaterEqual(seconds, 0.25)
        self.assertTrue(250 <= event["delay_ms"] <= 350, event)

    def test_a_lookup_takes_longer_than_its_rule_allows(self):
        code = "import socket; print(socket.getaddrinfo('payments.test', 80)[0][4])"
        rules = self.faults("match: {host: payments.test}, on: [resolve], latency: 30s",
                            rules="[{name: a, match: {host: payments.test}, timeout: {resolve: 1s}}]")
        self.only_when_armed(lambda how: "Temporary failure" in self.faulty(
            self.with_hosts([PYTHON, "-c", code]), rules, how).err)

    def test_latencies_of_two_faults_add_up(self):
        rules = self.faults("on: [recv], latency: 200ms", "on: [recv], latency: 300ms")
        _, seconds = self.timed(self.reader(self.server("answer").port), rules)
        self.assertEqual([len(self.fired(f"fault-{number}")) for number in (0, 1)], [1, 1])
        self.assertGreaterEqual(seconds, 0.5)

    def test_the_program_s_own_timeout_ends_a_late_answer(self):
        rules = self.faults("on: [recv], latency: 30s")
        code = ("import socket, struct, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 0, 200000))\n"
                "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "try: print(len(s.recv(10)))\n"
                "except BlockingIOError as e: print('errno', e.errno)\n")
        command = [PYTHON, "-c", code, str(self.server("answer").port)]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "errno 11\n")

    def test_the_rule_s_response_timeout_ends_a_late_answer(self):
        rules = self.faults("on: [recv], latency: 30s",
                            rules="[{name: a, match: {address: 127.0.0.1}, timeout: {response: 300ms}}]")
        url = self.server("answer").url()
        self.only_when_armed(lambda how: self.faulty(self.urllib(url), rules, how).err.strip().endswith("TimeoutError 110"))
        self.assertEqual(len(self.events("response_timeout")), 1)

    def test_a_black_hole_under_the_rule_s_connect_timeout(self):
        rules = self.faults("on: [connect], timeout: {}",
                            rules="[{name: a, match: {address: 127.0.0.1}, timeout: {connect: 300ms}}]")
        url = self.server("answer").url()
        self.only_when_armed(lambda how: self.faulty(self.urllib(url), rules, how).err.strip().endswith("TimeoutError 110"))
        self.assertEqual(len(self.events("connect_timeout")), 1)

    def test_a_black_hole_is_retried_and_the_second_attempt_gets_through(self):
        rules = self.faults("on: [connect], timeout: {}, per: call, times: 1", rules="""
  - {name: a, match: {address: 127.0.0.1}, timeout: {connect: 300ms}, retry: {base_delay: 1ms}}""")
        url = self.server("answer").url()
        for client in self.urllib(url), ["curl", "-sS", url]:
            ended = self.faulty(client, rules)
            self.assertTrue(ended.is_good, ended)
        self.assertEqual(len(self.events("connected_late")), 2)
        self.assertEqual(len(self.fired()), 2)

    def test_curl_waits_for_a_host_that_does_not_answer(self):
        url = self.server("answer").url()
        rules = self.faults("on: [connect], timeout: {}")
        self.only_when_armed(lambda how: self.faulty(["curl", "-sS", "--connect-timeout", "1", url], rules, how).status == 28)
        self.assert_nothing_passed_through()

    def test_an_answer_never_comes(self):
        rules = self.faults("on: [recv], timeout: {}",
                            rules="[{name: a, match: {address: 127.0.0.1}, timeout: {recv: 300ms}}]")
        self.only_when_armed(lambda how: "TimeoutError 110 0" in self.faulty(
            self.reader(self.server("answer").port), rules, how).out)

    def test_a_black_hole_stays_one_when_a_copy_of_the_socket_is_closed(self):
        rules = self.faults("on: [connect, recv], timeout: {}")
        code = ("import os, select, socket, sys\n"
                "s = socket.socket()\n"
                "s.setblocking(False)\n"
                "s.connect_ex(('127.0.0.1', int(sys.argv[2])))\n"
                "if sys.argv[1] == 'fork':\n"
                "    child = os.fork()\n"
                "    if not child: os.close(s.fileno()); os._exit(0)\n"
                "    os.waitpid(child, 0)\n"
                "else: os.close(os.dup(s.fileno()))\n"
                "print(any(select.select([s], [s], [s], 2)))\n")
        port = self.server("answer").port
        for copy in "fork", "dup":
            self.only_when_armed(lambda how: self.faulty([PYTHON, "-c", code, copy, str(port)], rules, how).out == "False\n")

    def test_a_receive_is_late_again_after_a_handler_has_jumped_out_of_one(self):
        rules = self.faults("on: [recv], latency: 700ms, per: call")
        command = [os.path.join(BUILD, "tests/races"), "jumps-out-of-receive", str(self.server("answer").port)]
        self.only_when_armed(lambda how: int(self.faulty(command, rules, how).out) >= 700)

    def test_an_alarm_interrupts_a_late_call(self):
        rules = self.faults("latency: 30s")
        code = ("import signal, socket, sys\n"
                "signal.signal(signal.SIGALRM, lambda *a: sys.exit('alarm'))\n"
                "signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "signal.setitimer(signal.ITIMER_REAL, 0)\n")
        command = [PYTHON, "-c", code, str(self.server("answer").port)]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).err == "alarm\n")


class Bytes(FaultStage):
    def test_a_number_used_again_while_it_waits_for_its_rate_is_left_alone(self):
        code = ("import os, socket, sys, threading, time\n"
                "slow = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "slow.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "def receive():\n"
                "    try:\n"
                "        while part := slow.recv(1000): print(len(part))\n"
                "    except OSError as e: print('errno', e.errno)\n"
                "thread = threading.Thread(target=receive)\n"
                "thread.start()\n"
                "time.sleep(0.5)\n"
                "number = slow.fileno()\n"
                "os.close(number)\n"
                "other = socket.create_connection(('127.0.0.1', int(sys.argv[2])))\n"
                "other.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "thread.join()\n"
                "got = 0\n"
                "while part := other.recv(100): got += len(part)\n"
                "print(got, other.fileno() == number)\n"
                "slow.detach()\n")
        slow, other = Server(self), Server(self, size=958)
        rules = self.faults(f"match: {{port: {slow.port}}}, bandwidth: {{rate: 1B/s, burst: 2B, direction: recv}}",
                            f"match: {{port: {other.port}}}, latency: 1ms, on: [recv]")
        ended = self.faulty([PYTHON, "-c", code, str(slow.port), str(other.port)], rules)
        self.assertEqual(ended.out, "2\nerrno 9\n998 True\n", ended)

    def test_a_reset_comes_after_so_many_bytes_and_the_peer_sees_it(self):
        server = Server(self)
        rules = self.faults("reset: {after_bytes: 5000}")
        self.only_when_armed(lambda how: self.faulty(self.reader(server.port), rules, how).out.strip()
                             == "ConnectionResetError 104 5000")
        self.wait_for(lambda: len(server.ends) == 4)
        self.assertEqual(sorted(server.ends), ["closed", "closed", "closed", "reset"])

    def test_curl_and_wget_see_the_reset(self):
        server = Server(self)
        rules = self.faults("reset: {after_bytes: 5000}")
        url = f"http://127.0.0.1:{server.port}/"
        self.only_when_armed(lambda how: self.faulty(["curl", "-sS", "-o", "/dev/null", url], rules, how).status == 56)
        self.only_when_armed(lambda how: "Connection reset by peer" in self.faulty(self.wget(url), rules, how).err)

    def test_a_reset_comes_after_some_time(self):
        rules = self.faults("reset: {after: 300ms}")
        port = self.server("answer --delay 60000").port
        ended = self.faulty(self.reader(port), rules)
        self.assertEqual(ended.out.strip(), "ConnectionResetError 104 0")

    def test_a_download_is_no_faster_than_its_rate(self):
        rules = self.faults("bandwidth: {rate: 400kB/s, burst: 20kB, direction: recv}")
        server = Server(self)
        began = time.monotonic()
        ended = self.faulty(self.reader(server.port), rules)
        seconds = time.monotonic() - began
        self.assertTrue(ended.out.startswith("end 2000"), ended)
        self.assertGreaterEqual(seconds, (BODY - 20_000 - 4000) / 400_000)
        self.assertEqual(len(self.fired()), 1)

    def test_an_upload_is_no_faster_than_its_rate(self):
        rules = self.faults("bandwidth: {rate: 400kB/s, burst: 20kB, direction: send}")
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "print(s.send(b'x' * 200000), s.sendmsg([b'y' * 1000, b'z' * 2000]))\n")
        server = self.server("drain --rate 100000000")
        began = time.monotonic()
        ended = self.faulty([PYTHON, "-c", code, str(server.port)], rules)
        seconds = time.monotonic() - began
        self.assertEqual(ended.out, "200000 3000\n")
        self.assertGreaterEqual(seconds, (BODY - 20_000 - 4000) / 400_000)
        self.assertTrue(server.wait("bytes", 203_000))

    def test_both_directions_have_a_rate_of_their_own(self):
        rules = self.faults("bandwidth: 10MB/s")
        ended = self.faulty(self.reader(Server(self).port), rules)
        self.assertTrue(ended.out.startswith("end 2000"), ended)
        self.assertEqual(len(self.fired()), 1)


class Chance(FaultStage):
    CODE = ("import socket, sys\n"
            "for i in range(200):\n"
            "    with socket.socket() as s: print(s.connect_ex(('127.0.0.1', int(sys.argv[1]))), end=' ')\n")

    def test_the_same_seed_gives_the_same_decisions(self):
        command = [PYTHON, "-c", self.CODE, str(self.server("echo").port)]
        rules = self.faults("on: [connect], error: ECONNREFUSED, probability: 20%")
        first, again, other = (self.faulty(command, rules, RESIL_SEED=seed).out for seed in ("7", "7", "8"))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertTrue(17 <= first.count("111") <= 63, first)  # 40 +- 4 sigma
        self.assertEqual(self.faulty(command, rules, UNARMED).out.count("111"), 0)

    def test_fork_children_draw_for_themselves_and_again_the_same(self):
        code = ("import os, socket, sys\n"
                "for child in range(3):\n"
                "    if os.fork() == 0:\n"
                "        print(child, *(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))) for i in range(50)), flush=True)\n"
                "        os._exit(0)\n"
                "    os.wait()\n")
        command = [PYTHON, "-c", code, str(self.server("echo").port)]
        rules = self.faults("on: [connect], error: ECONNREFUSED, probability: 30%")
        first, again = (self.faulty(command, rules, RESIL_SEED="7").out for _ in range(2))
        self.assertEqual(first, again)
        self.assertEqual(len({line.split(" ", 1)[1] for line in first.splitlines()}), 3, first)

    def test_the_seed_is_said_where_nobody_has_given_one(self):
        command = [PYTHON, "-c", self.CODE, str(self.server("echo").port)]
        rules = self.faults("on: [connect], error: ECONNREFUSED, probability: 20%")
        ended = self.faulty(command, rules, RESIL_LOG="stderr")
        seed = ended.err.split("RESIL_SEED=")[1].split()[0]
        self.assertEqual(self.faulty(command, rules, RESIL_SEED=seed).out, ended.out)

    def test_drawn_for_each_connection_it_happens_to_all_of_it_or_not_at_all(self):
        code = ("import socket, sys\n"
                "for i in range(100):\n"
                "    s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "    failed = 0\n"
                "    for j in range(3):\n"
                "        try: s.send(b'x')\n"
                "        except OSError: failed += 1\n"
                "    print(failed, end=' ')\n")
        command = [PYTHON, "-c", code, str(self.server("echo").port)]
        rules = self.faults("on: [send], error: ENOBUFS, probability: 40%, per: connection")
        failed = self.faulty(command, rules, RESIL_SEED="3").out.split()
        self.assertEqual(set(failed), {"0", "3"})
        self.assertTrue(20 <= failed.count("3") <= 60, failed)


class Breakers(FaultStage):
    def test_a_rule_s_breaker_opens_under_its_own_faults(self):
        code = ("import socket, sys\n"
                "for i in range(5): print(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))), end=' ')\n")
        rules = self.faults("on: [connect], error: ETIMEDOUT", rules="""
  - {name: a, match: {address: 127.0.0.1}, breaker: {failure_threshold: 3, recovery_timeout: 1h, max_recovery_timeout: 1h}}""")
        server = self.server("answer")
        command = [PYTHON, "-c", code, str(server.port)]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "110 110 110 111 111 ")
        self.assertEqual(len(self.fired()), 3)
        self.assertEqual(len(self.events("circuit_open")), 1)

    def test_a_host_that_faults_make_unreachable_is_a_failure_of_the_host(self):
        rules = self.faults("on: [connect], error: EHOSTUNREACH", rules="""
  - {name: a, match: {address: 127.0.0.1}, breaker: {failure_threshold: 1, recovery_timeout: 1h, max_recovery_timeout: 1h}}""")
        for client in self.reader(self.server("answer").port), ["curl", "-sS", self.server("answer").url()]:
            self.assertFalse(self.faulty(client, rules).is_good)
        self.assertEqual(len(self.events("circuit_open")), 2)

    def test_faults_are_retried_and_counted_as_real_failures(self):
        rules = self.faults("on: [connect], error: ECONNREFUSED, times: 2", rules="""
  - {name: a, match: {address: 127.0.0.1}, retry: {max_retries: 3, base_delay: 1ms}}""")
        url = self.server("answer").url()
        for client in self.wget(url), ["curl", "-sS", url]:
            ended = self.faulty(client, rules)
            self.assertTrue(ended.is_good, ended)
        self.assertEqual(self.retries(), 4)
        self.assertEqual(len(self.fired()), 4)


if __name__ == "__main__":
    main()
