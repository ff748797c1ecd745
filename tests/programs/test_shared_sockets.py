"""Sockets under a rule that are used where we do not see it, or under another number: stdio, another process, a copy from
before the connect. Our options never act where nobody carries on after them."""

from stage import PYTHON, RULED, Stage, main

BOUNDED = "match: {address: 127.0.0.1, port: %d}\ntimeout: {response: 300ms, recv: 300ms}\n"


class SharedSockets(Stage):
    def run_code(self, code, port, rules, how, seconds=30):
        return self.run_program([PYTHON, "-c", "import array, ctypes, errno, os, resource, socket, subprocess, sys, threading\n"
                                 "port = int(sys.argv[1])\n" + code, str(port)], rules, how, seconds)

    def is_bounded(self, code):
        """It asks a server that never answers, and prints the error's number."""
        server = self.server("hang")
        rules = self.rules(BOUNDED % server.port)

        def story(how):
            ended = self.run_code(code, server.port, rules, how, 30 if how == RULED else 2)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return ended.out == "110\n"

        self.only_with_rules(story)

    ASK = ("def ask(s):\n"
           "    s.sendall(b'x')\n"
           "    try: print(len(s.recv(1)))\n"
           "    except OSError as e: print(e.errno)\n")

    def test_a_number_that_was_copied_before_the_connect(self):
        self.is_bounded(self.ASK +
                        "socket.create_connection(('127.0.0.1', port)).close()\n"  # rules are in force
                        "s = socket.socket()\n"
                        "copy = s.dup()\n"
                        "s.connect(('127.0.0.1', port))\n"
                        "ask(copy)\n")

    def test_a_dup2_that_fails_leaves_what_it_would_have_closed_under_its_rule(self):
        self.is_bounded(self.ASK +
                        "s = socket.create_connection(('127.0.0.1', port))\n"
                        "try: os.dup2(999, s.fileno())\n"
                        "except OSError: pass\n"
                        "ask(s)\n")

    def test_a_close_range_that_fails_leaves_the_descriptors_under_their_rules(self):
        self.is_bounded(self.ASK +
                        "s = socket.create_connection(('127.0.0.1', port))\n"
                        "libc = ctypes.CDLL(None)\n"
                        "assert libc.close_range(3, 100, 0x100) == -1\n"
                        "ask(s)\n")

    def test_a_fork_child_whose_first_act_is_a_vfork_keeps_its_rules(self):
        """subprocess's child closes what it inherits, in memory that it shares with the fork child."""
        self.is_bounded(self.ASK +
                        "old = socket.create_connection(('127.0.0.1', port))\n"
                        "if os.fork():\n"
                        "    os.wait()\n"
                        "    sys.exit()\n"
                        "subprocess.run(['/bin/true'], close_fds=True)\n"
                        "s = socket.create_connection(('127.0.0.1', port))\n"
                        "copy = s.dup()\n"
                        "s.close()\n"
                        "ask(copy)\n"
                        "sys.stdout.flush()\n"
                        "os._exit(0)\n")

    def test_what_is_passed_to_another_process_is_without_our_options(self):
        """The receiver knows nothing of rules: it waits for an answer that comes after the rule's time."""
        server = self.server("answer --body fine --delay 1000")
        code = ("s = socket.create_connection(('127.0.0.1', port))\n"
                "here, there = socket.socketpair()\n"
                "if os.fork() == 0:\n"
                "    s.close()\n"
                "    _, fds, _, _ = socket.recv_fds(there, 1, 1)\n"
                "    script = 'import os, sys; os.write(3, b\"GET / HTTP/1.0\\\\r\\\\n\\\\r\\\\n\"); sys.stdout.write(os.read(3, 9).decode())'\n"
                "    os.dup2(fds[0], 3)\n"
                "    os.execve(sys.executable, [sys.executable, '-c', script], {})\n"
                "socket.send_fds(here, [b'x'], [s.fileno()])\n"
                "s.close()\n"
                "os.wait()\n")
        ended = self.run_code(code, server.port, self.rules(BOUNDED % server.port), RULED)
        self.assertEqual(ended.out, "HTTP/1.1 ", ended)

    def test_a_stream_that_was_made_before_the_connect(self):
        """stdio takes the end of our time for the end of its own: it waits for an answer that comes after the rule's time."""
        server = self.server("answer --body fine --delay 1000")
        rules = self.rules(BOUNDED % server.port)
        in_force = "socket.create_connection(('127.0.0.1', port)).close()\n"
        for before in "", in_force:
            for number in "s.fileno()", "os.dup(s.fileno())":
                for connect in "s.connect(there)\n", ("s.setblocking(False); s.connect_ex(there); select.select([], [s], [])\n"
                                                      "s.setblocking(True)\n"):
                    code = (before + "import select\n"
                            "libc = ctypes.CDLL(None)\n"
                            "libc.fdopen.restype = ctypes.c_void_p\n"
                            "there = ('127.0.0.1', port)\n"
                            "s = socket.socket()\n"
                            "stream = ctypes.c_void_p(libc.fdopen(" + number + ", b'r+'))\n" + connect +
                            "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                            "got = ctypes.create_string_buffer(9)\n"
                            "print(libc.fread(got, 1, 9, stream), got.raw.decode(), flush=True)\n"
                            "os._exit(0)\n")
                    with self.subTest(before=before, number=number, connect=connect):
                        ended = self.run_code(code, server.port, rules, RULED)
                        self.assertEqual(ended.out, "9 HTTP/1.1 \n", ended)

    def test_a_probe_whose_connection_goes_to_stdio_closes_the_circuit(self):
        """Whether it is answered nobody will see: that it was made is the best that is known."""
        server = self.server("refuse")
        rules = self.rules("match: {address: 127.0.0.1, port: %d}\ntimeout: {response: 5s}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 100ms, jitter: 0%%}\n" % server.port)
        self.open_circuit(server.port, rules)
        server.mode("answer --body fine")
        code = ("import time\n"
                "libc = ctypes.CDLL(None)\n"
                "libc.fdopen.restype = ctypes.c_void_p\n"
                "while True:\n"
                "    try: s = socket.create_connection(('127.0.0.1', port)); break\n"
                "    except ConnectionRefusedError: time.sleep(0.02)\n"
                "libc.fdopen(s.fileno(), b'r+')\n"
                "os._exit(0)\n")
        self.assertTrue(self.run_code(code, server.port, rules, RULED).is_good)
        self.assertEqual(len(self.events("circuit_closed")), 1)


if __name__ == "__main__":
    main()
