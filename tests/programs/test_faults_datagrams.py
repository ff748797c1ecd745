"""Faults on datagrams of sockets that are never connected, and datagrams that come out of order."""

import signal
import socket
import subprocess
import time

from faults import DatagramStage
from stage import PYTHON, RULED, main

# As resolvers and NTP clients do it: a socket that is not connected, each datagram with its address.
ASKER = ("import signal, socket, sys\n"
         "signal.alarm(20)\n"
         "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
         "s.settimeout(0.4)\n"
         "peers = [('127.0.0.1', int(port)) for port in sys.argv[1:]]\n"
         "def ask(n, peer=peers[0]):\n"
         "    s.sendto(b'%d' % n, peer)\n"
         "    try: return int(s.recvfrom(100)[0])\n"
         "    except OSError as e: return type(e).__name__\n")

# A queue of numbered datagrams that have come before the program looks.
QUEUE = ("import select, signal, socket, sys\n"
         "signal.alarm(30)\n"
         "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
         "s.bind(('127.0.0.1', 0))\n"
         "c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
         "if 'connected' in sys.argv:\n"
         "    c.bind(('127.0.0.1', 0)); s.connect(c.getsockname())\n"
         "def fill(first, last):\n"
         "    for i in range(first, last): c.sendto(b'%d' % i, s.getsockname())\n")


class NeverConnected(DatagramStage):
    def test_what_is_sent_is_lost(self):
        self.loses_what_it_sends(ASKER + "print(sum(s.sendto(b'%d' % i, peers[0]) for i in range(200)))\n")

    def test_what_is_received_is_lost(self):
        command = [PYTHON, "-c", ASKER + "print(ask(1), ask(2))\n", self.peer()]
        rules = self.udp("loss: 100%, on: [recv], nth: 1")
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "TimeoutError 2\n")

    def test_a_send_is_refused(self):
        rules = self.udp("error: EPERM, on: [send], nth: 2")
        code = ASKER + ("for n in 1, 2, 3:\n"
                        "    try: print(ask(n))\n"
                        "    except PermissionError: print('no')\n")
        command = [PYTHON, "-c", code, self.peer()]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "1\nno\n3\n")

    def test_only_the_target_that_is_named_meets_it(self):
        first, second = self.peer(), self.peer()
        rules = self.faults(f"match: {{address: 127.0.0.1, port: {second}, protocol: udp}}, timeout: {{}}, on: [recv]")
        code = ASKER + "print(ask(1, peers[0]), ask(2, peers[1]), ask(3, peers[0]))\n"
        command = [PYTHON, "-c", code, first, second]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "1 TimeoutError 3\n")
        self.assertEqual(self.fired()[0]["target"], f"127.0.0.1:{second}")

    def test_the_target_is_known_by_the_name_that_was_looked_up(self):
        code = ASKER.replace("peers = [('127.0.0.1', int(port))",
                             "peers = [(socket.getaddrinfo('payments.test', int(port), socket.AF_INET)[0][4][0], int(port))")
        command = self.with_hosts([PYTHON, "-c", code + "print(ask(1))\n", self.peer()])
        for host in "payments.test", "other.test":
            rules = self.faults(f"match: {{host: {host}, protocol: udp}}, loss: 100%")
            story = lambda how, rules=rules: self.faulty(command, rules, how).out == "TimeoutError\n"
            if host == "payments.test":
                self.only_when_armed(story)
            else:
                self.assertFalse(story(RULED))

    def test_an_answer_is_late(self):
        """To a program that waits in the call, and to one that polls."""
        for wait in "None", "5":
            code = ASKER + (f"import time; s.settimeout({wait})\n"
                            "began = time.monotonic(); got = ask(7)\n"
                            "print(got, time.monotonic() - began > 0.3)\n")
            rules = self.udp("latency: 300ms, on: [recv]")
            command = [PYTHON, "-c", code, self.peer()]
            self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "7 True\n")

    def test_its_own_timeout_holds_after_it_has_connected(self):
        """It was set before. The kernel's was in force only until a fault waited instead, which then had no end."""
        code = ("import signal, socket, struct, sys, time\n"
                "signal.alarm(20)\n"
                "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 0, 200000))\n"
                "s.connect(('127.0.0.1', int(sys.argv[1]))); s.send(b'7')\n"
                "began = time.monotonic(); print(s.recv(10), time.monotonic() - began > 0.1)\n"
                "try: s.recv(10)\n"
                "except OSError as e: print(type(e).__name__)\n")
        rules = self.udp("latency: 100ms, on: [recv], per: call")
        command = [PYTHON, "-c", code, self.peer()]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "b'7' True\nBlockingIOError\n")

    def test_an_answer_comes_twice(self):
        code = ASKER + "print(ask(1), ask(2))\n"
        rules = self.udp("duplicate: 100%, on: [recv], times: 1")
        command = [PYTHON, "-c", code, self.peer()]
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "1 1\n")

    def test_what_is_sent_has_bits_flipped_and_the_program_keeps_its_own(self):
        code = ASKER + ("data = bytearray(b'x' * 500)\n"
                        "for n in range(20): s.sendmsg([data[:200], data[200:]], [], 0, peers[0])\n"
                        "print(data == b'x' * 500)\n")
        rules = self.udp("corrupt: 5%, on: [send]")

        def story(how):
            command = [PYTHON, "-c", code, self.peer()]
            self.assertEqual(self.faulty(command, rules, how, RESIL_SEED="3").out, "True\n")
            self.wait_for(lambda: len(self.came) == 20)
            self.assertEqual({len(data) for data in self.came}, {500})
            changed = sum(500 - data.count(b"x") for data in self.came)
            self.assertTrue(changed == 0 or 412 <= changed <= 588, changed)  # 500 +- 4 sigma
            return changed > 0

        self.only_when_armed(story)

    def test_the_resolver_is_left_alone_unless_its_port_is_named(self):
        code = ("import socket\n"
                "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "def tried(port):\n"
                "    try: return s.sendto(b'x', ('127.0.0.1', port))\n"
                "    except OSError as e: return e.errno\n"
                "print(tried(53), tried(54))\n")
        command = [PYTHON, "-c", code]
        everything = self.udp("error: EACCES, on: [send]")
        self.only_when_armed(lambda how: self.faulty(command, everything, how).out == "1 13\n")
        named = self.faults("match: {port: 53, protocol: udp}, error: EACCES, on: [send]")
        self.only_when_armed(lambda how: self.faulty(command, named, how).out == "13 1\n")

    def test_several_messages_at_once_meet_their_own_faults(self):
        """recvmmsg and sendmmsg, which no program of the tests uses by itself in a way that could be told."""
        code = ("import ctypes, signal, socket, struct\n"
                "signal.alarm(20)\n"
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                "class iovec(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]\n"
                "class msghdr(ctypes.Structure):\n"
                "    _fields_ = [('name', ctypes.c_void_p), ('namelen', ctypes.c_uint32), ('iov', ctypes.POINTER(iovec)),\n"
                "                ('iovlen', ctypes.c_size_t), ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t), ('flags', ctypes.c_int)]\n"
                "class mmsghdr(ctypes.Structure): _fields_ = [('hdr', msghdr), ('len', ctypes.c_uint)]\n"
                "r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); r.bind(('127.0.0.1', 0))\n"
                "w = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "name = ctypes.create_string_buffer(struct.pack('=HH4s8x', socket.AF_INET, socket.htons(r.getsockname()[1]), b'\\x7f\\0\\0\\1'), 16)\n"
                "def messages(buffers, to=None):\n"
                "    them = (mmsghdr * len(buffers))()\n"
                "    for m, b in zip(them, buffers):\n"
                "        m.hdr.iov = ctypes.pointer(iovec(ctypes.addressof(b), 4)); m.hdr.iovlen = 1\n"
                "        if to: m.hdr.name, m.hdr.namelen = ctypes.addressof(to), 16\n"
                "    return them\n"
                "out = [ctypes.create_string_buffer(b'%04d' % n, 4) for n in range(8)]\n"
                "sent = libc.sendmmsg(w.fileno(), messages(out, name), 8, 0)\n"
                "into = [ctypes.create_string_buffer(4) for n in range(8)]\n"
                "got = libc.recvmmsg(r.fileno(), messages(into), 8, socket.MSG_DONTWAIT, None)\n"
                "print(sent, got, *(int(b.raw) for b in into[:max(got, 0)]))\n")
        command = [PYTHON, "-c", code]
        rules = self.udp("loss: 100%, on: [send], nth: 3")
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "8 7 0 1 3 4 5 6 7\n")
        rules = self.udp("loss: 100%, on: [recv], nth: 2")
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "8 7 0 2 3 4 5 6 7\n")
        rules = self.udp("duplicate: 100%, on: [recv], nth: 7")
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "8 8 0 1 2 3 4 5 6 6\n")
        rules = self.udp("reorder: 100%, on: [recv], nth: 4")
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out.startswith("8 3 0 1 2"))
        rules = self.udp("corrupt: 100%, on: [recv]")
        self.only_when_armed(lambda how: "ValueError" in self.faulty(command, rules, how).err)


class Programs(DatagramStage):
    def test_dig_asks_dnsmasq_that_loses_its_queries(self):
        """A server under test is met by the port that it is bound to; dig has sockets of its own, and no rules."""
        def story(how):
            port = self.free_port()
            server = self.start_faulty(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                                        "--bind-interfaces", "--listen-address=127.0.0.1", f"--port={port}", "--pid-file=",
                                        "--user=", "--address=/payments.test/192.0.2.7"], self.lossy_server(port), how)
            self.addCleanup(self.ended, server)
            self.await_port(port)
            dig = ["dig", "@127.0.0.1", "-p", str(port), "+tries=2", "+timeout=1", "+noedns", "+short", "payments.test"]
            first = subprocess.run(dig, capture_output=True, text=True, timeout=20)
            second = subprocess.run(dig, capture_output=True, text=True, timeout=20)
            self.ended(server)
            self.assertEqual(second.stdout, "192.0.2.7\n", second)
            return "192.0.2.7" not in first.stdout

        self.only_when_armed(story)

    def lossy_server(self, port):
        return self.faults(f"match: {{port: {port}, protocol: udp}}, loss: 100%, on: [recv], times: 2")

    def test_socat_sends_to_a_target_that_hears_nothing(self):
        rules = self.udp("loss: 100%, on: [send]")
        port = self.peer()

        def story(how):
            del self.came[:]
            ended = self.faulty(["sh", "-c", f"printf hello | socat -t1 - UDP4-SENDTO:127.0.0.1:{port}"], rules, how)
            self.assertTrue(ended.is_good, ended)
            return not self.came

        self.only_when_armed(story)

    def ended(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(10)

    @staticmethod
    def await_port(port):
        """Until it answers on TCP, which it does on the same port, and no fault is for."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("dnsmasq has not come up")


class Order(DatagramStage):
    def received(self, code, rules, how=RULED, *words, **extra):
        ended = self.faulty([PYTHON, "-c", QUEUE + code, *words], rules, how, **extra)
        self.assertTrue(ended.is_good, ended)
        return ended.out.strip()

    def test_a_datagram_comes_after_the_one_behind_it(self):
        rules = self.udp("reorder: 100%, nth: 2")
        code = "fill(0, 5); print(*(s.recv(10).decode() for i in range(5)))\n"
        for words in (), ("connected",):
            self.only_when_armed(lambda how: self.received(code, rules, how, *words) == "0 2 1 3 4")

    def test_several_overtake_it(self):
        rules = self.udp("reorder: {ratio: 100%, depth: 3, hold: 1ms}, nth: 1")
        code = "fill(0, 6); print(*(s.recvfrom(10)[0].decode() for i in range(6)))\n"
        self.only_when_armed(lambda how: self.received(code, rules, how) == "1 2 3 0 4 5")

    def test_a_loop_gets_all_of_it_and_is_never_left_waiting(self):
        """One that is told of levels, and one of edges: what has been overtaken is announced, and nothing stays behind."""
        rules = self.udp("reorder: {ratio: 100%, hold: 20ms}, every: 3")
        for kind in "EPOLLIN", "EPOLLIN | select.EPOLLET":
            code = ("fill(0, 10); s.setblocking(False)\n"
                    f"e = select.epoll(); e.register(s, select.{kind})\n"
                    "got, is_filled = [], False\n"
                    "while len(got) < 11:\n"
                    "    if not e.poll(2): break\n"
                    "    while True:\n"
                    "        try: got.append(s.recvfrom(10)[0].decode())\n"
                    "        except BlockingIOError: break\n"
                    "    if len(got) == 10 and not is_filled: is_filled = True; fill(10, 11)\n"
                    "print(*got)\n")
            bare = " ".join(map(str, range(11)))
            self.only_when_armed(lambda how: self.is_swapped(self.received(code, rules, how), bare))

    def is_swapped(self, got, bare):
        self.assertEqual(sorted(map(int, got.split())), list(range(11)), got)
        return got != bare

    def test_the_last_one_is_held_only_so_long(self):
        rules = self.udp("reorder: {ratio: 100%, hold: 300ms}")
        for way in "print(s.recv(10), late())", "s.setblocking(False); select.select([s], [], [], 5); r = take(); print(r, late())":
            code = ("import time\n"
                    "def late(): return time.monotonic() - began >= 0.3\n"
                    "def take():\n"
                    "    while True:\n"
                    "        try: return s.recv(10)\n"
                    "        except BlockingIOError: select.select([s], [], [], 5)\n"
                    "fill(7, 8); began = time.monotonic()\n" + way + "\n")
            self.only_when_armed(lambda how: self.received(code, rules, how) == "b'7' True")

    def test_the_share_is_what_was_asked_for(self):
        """Those that overtake are not asked about: of 2000, so many are as are held."""
        rules = self.udp("reorder: {ratio: 20%, hold: 1ms}")
        code = ("got = []\n"
                "for i in range(20): fill(i * 100, i * 100 + 100); got += [int(s.recv(10)) for j in range(100)]\n"
                "print(sorted(got) == list(range(2000)), sum(b < a for a, b in zip(got, got[1:])))\n")
        out = self.received(code, rules, RESIL_SEED="11").split()
        self.assertEqual(out[0], "True")
        swapped, fired = int(out[1]), len(self.fired())
        asked = 2000 - swapped
        self.assertTrue(abs(fired - asked * 0.2) <= 4 * (asked * 0.2 * 0.8) ** 0.5, (fired, asked))
        self.assertTrue(0 <= fired - swapped <= 20, (fired, swapped))  # the last one of a queue has nobody behind it

    def test_it_keeps_what_comes_beside_the_data(self):
        """Where a datagram went to, which servers with several addresses answer from."""
        rules = self.udp("reorder: 100%, nth: 1")
        code = ("s.setsockopt(socket.IPPROTO_IP, 8, 1)\n"
                "fill(0, 2)\n"
                "for i in range(2):\n"
                "    data, beside, flags, sender = s.recvmsg(10, 100)\n"
                "    print(data.decode(), [kind for level, kind, value in beside], flags, sender == ('127.0.0.1', c.getsockname()[1]), end=' ')\n")
        self.only_when_armed(lambda how: self.received(code, rules, how) == "1 [8] 0 True 0 [8] 0 True")


if __name__ == "__main__":
    main()
