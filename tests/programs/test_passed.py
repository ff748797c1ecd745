"""Whatever passes through is counted, each reason in its own counter: a program that meets it, and what status says."""

import os
import re
import socket
import subprocess

from stage import BARE, BUILD, LIBRARY, PYTHON, Stage, main

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
LOOKUPS = os.path.join(BUILD, "tests/lookups")

GUARDED = """
match: {address: 127.0.0.0/8}
timeout: {connect: 1s, recv: 5s}
"""

CONNECT = "import ctypes, os, socket, subprocess, sys, threading\nport = int(sys.argv[1])\nlibc = ctypes.CDLL(None)\n"


class Passed(Stage):
    """Each test is named after the counter that it is about."""

    def setUp(self):
        super().setUp()
        self.rule_file = self.rules(GUARDED)
        self.upstream = self.server("hang")

    def passed(self):
        """The counters that are not 0."""
        counts = {}
        for report in self.reports():
            for reason, number in report["passed_through"].items():
                counts[reason] = counts.get(reason, 0) + number
        return {reason: number for reason, number in counts.items() if number}

    def python(self, code, rules=None, **environment):
        ended = self.run_program([PYTHON, "-c", CONNECT + code, str(self.upstream.port)], rules or self.rule_file,
                                 **environment)
        self.assertTrue(ended.is_good, ended)
        return ended

    def test_none_where_all_is_well(self):
        self.python("s = socket.create_connection(('127.0.0.1', port))\ns.sendall(b'x')\ns.close()\n")
        self.assertEqual(self.passed(), {})

    def test_loading(self):
        """One of four threads reads the rules. The others wait for it, but not for ever: the kernel takes so long to read."""
        code = ("import socket, sys, threading\n"
                "gate = threading.Barrier(4)\n"
                "def ask():\n    s = socket.socket()\n    gate.wait()\n    s.connect(('127.0.0.1', int(sys.argv[1])))\n"
                "threads = [threading.Thread(target=ask) for _ in range(4)]\n"
                "for t in threads: t.start()\n"
                "for t in threads: t.join()\n")
        settings = [f"--env=LD_PRELOAD={LIBRARY}", f"--env=RESIL_RULES={self.rule_file}", f"--env=RESIL_STATE_DIR={self.state}"]
        for delay_us, number in ("100000", 0), ("5000000", 3):
            ended = self.run_program(["strace", "-f", "-qq", "-o", os.devnull, "-P", self.rule_file, *settings,
                                      f"--inject=openat,read:delay_exit={delay_us}:when=1",
                                      PYTHON, "-c", code, str(self.upstream.port)], how=BARE)
            self.assertTrue(ended.is_good, ended)
            self.assertEqual(self.passed().get("loading", 0), number)

    def test_nested(self):
        rules = self.rules('version: 1\nrules:\n  - name: a\n    match: {host: "*.slow", address: 127.0.0.0/8}\n'
                           "    timeout: {connect: 1s}\n")
        command = self.in_namespace({"/etc/nsswitch.conf": "hosts: files slowtest\n"}, [LOOKUPS, "threads", "a.slow", "1"])
        self.run_program(command, rules, SLOWTEST_PORT=str(self.free_port()), LD_LIBRARY_PATH=os.path.join(BUILD, "tests"))
        self.assertGreater(self.passed().get("nested", 0), 0)

    def short_of_memory(self, more, **environment):
        """Connects with so much address space left."""
        self.python("import resource\n"
                    "s = socket.socket()\n"
                    "address = ctypes.create_string_buffer(bytes([2, 0]) + port.to_bytes(2, 'big') + bytes([127, 0, 0, 1]) + bytes(8))\n"
                    "connect = libc.connect\n"
                    "size = int(open('/proc/self/statm').read().split()[0]) * 4096 + %d\n"
                    "resource.setrlimit(resource.RLIMIT_AS, (size, size))\n"
                    "os._exit(connect(s.fileno(), address, 16) != 0)\n" % more, **environment)
        return self.passed()

    def test_no_memory(self):
        """The rules have been read, and there is no room for a connection's entry: it is not guarded."""
        self.assertEqual(self.short_of_memory(0, RESIL_EARLY="1"), {"no_memory": 1})

    def test_no_memory_for_the_table_of_descriptors(self):
        """Somewhere between what the shared state takes and what all takes: then nothing is under a rule, and that is counted."""
        seen = []
        for more in range(1 << 20, 24 << 20, 1 << 17):
            self.state = os.path.join(self.folder, f"state-{more}")
            seen.append(self.short_of_memory(more))
            if seen[-1] or [host for report in self.reports() for host in report["hosts"]]:
                break
        self.assertEqual(seen[-1], {"no_memory": 1}, len(seen))

    def datagram(self):
        """Nobody follows what becomes of local datagrams that do not block."""
        path = os.path.join(self.folder, "datagrams")
        rules = self.rules(f"match: {{unix: {path}}}\ntimeout: {{response: 5s}}\n")
        self.python("server, s = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))\n"
                    f"server.bind('{path}')\ns.setblocking(False)\ns.connect('{path}')\n", rules)

    def test_non_blocking(self):
        self.datagram()
        self.assertEqual(self.passed(), {"non_blocking": 1})

    def test_not_parked(self):
        """Where packets of loopback come with as many hops left as there are, none can be told to come from too near. Who asks
        in a way that we do not see finds that the first attempt has failed; the program's own waits do not show it."""
        code = ("import ctypes, errno, select, socket\n"
                "s = socket.socket()\ns.setblocking(False)\n"
                "server = socket.socket()\nserver.bind(('127.0.0.1', 0))\n"
                "assert s.connect_ex(server.getsockname()) == errno.EINPROGRESS\n"
                "p = select.poll()\np.register(s, select.POLLOUT)\n"
                "assert p.poll(100) == []\n"
                "one = (ctypes.c_short * 4)(s.fileno(), 0, select.POLLOUT, 0)\n"
                "assert ctypes.CDLL(None).syscall(7, one, 1, 0) == 1 and one[3] & select.POLLHUP\n"
                "server.listen()\n"
                "assert p.poll(5000) == [(s.fileno(), select.POLLOUT)]\n")
        rules = self.rules("match: {address: 127.0.0.0/8}\nretry: {max_retries: 3, base_delay: 1s, jitter: none}\n")
        command = ["sh", "-c", "ip link set lo up && echo 255 >/proc/sys/net/ipv4/ip_default_ttl && exec "
                   "env LD_PRELOAD=\"$PRELOADED\" \"$@\"", "sh", PYTHON, "-c", code]
        ended = self.run_program(["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", *command],
                                 rules, LD_PRELOAD="", PRELOADED=LIBRARY)
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(self.passed(), {"not_parked": 1})

    def test_asleep(self):
        """A thread is in poll, and does not know of the answer that another one comes to await."""
        rules = self.rules("match: {address: 127.0.0.0/8}\ntimeout: {response: 5s}\n")
        self.python("import select, time\n"
                    "r, w = os.pipe()\n"
                    "p = select.poll()\np.register(r, select.POLLIN)\np.poll(0)\n"
                    "thread = threading.Thread(target=p.poll)\nthread.start()\n"
                    "while open(f'/proc/self/task/{thread.native_id}/wchan').read() == '0': time.sleep(0.01)\n"
                    "s = socket.create_connection(('127.0.0.1', port))\ns.setblocking(False)\ns.send(b'x')\n"
                    "os.write(w, b'x')\nthread.join()\n", rules)
        self.assertEqual(self.passed(), {"asleep": 1})

    def test_ambiguous(self):
        """More descriptors under the same data than the kernel is asked about, and registered by a call that nobody sees."""
        rules = self.rules("match: {address: 127.0.0.0/8}\nretry: {max_retries: 3, base_delay: 20ms, jitter: none}\n")
        self.python("import select, struct\n"
                    "epoll = select.epoll()\n"
                    "def begin():\n"
                    "    s = socket.socket()\n    s.setblocking(False)\n    s.connect_ex(('127.0.0.1', 9))\n"
                    "    event = ctypes.create_string_buffer(struct.pack('=IQ', select.EPOLLOUT, 1 << 40))\n"
                    "    assert libc.syscall(233, epoll.fileno(), 1, s.fileno(), event) == 0\n"
                    "    return s\n"
                    "all = [begin() for _ in range(20)]\n"
                    "assert epoll.poll(5)\n", rules)
        self.assertGreater(self.passed().get("ambiguous", 0), 0)

    def test_not_tcp(self):
        """MPTCP passes and is counted; UDP, which the rule is not for, is no matter at all."""
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()
        except OSError as error:
            self.skipTest(f"no MPTCP here: {error}")
        self.python("socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(('127.0.0.1', port))\n"
                    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', port))\n")
        self.assertEqual(self.passed(), {"not_tcp": 1})

    def test_stale(self):
        """Closed and made anew behind our back: the program's option goes to the kernel as it is."""
        self.python("s = socket.create_connection(('127.0.0.1', port))\n"
                    "assert libc.syscall(3, s.fileno()) == 0\n"
                    "assert libc.syscall(41, 2, 1, 0) == s.fileno()\n"
                    "s.settimeout(None)\n"
                    "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(16))\n")
        self.assertEqual(self.passed(), {"stale": 1})

    def test_not_ours(self):
        """A vfork child closes the descriptors that its parent's memory tells of."""
        self.python("s = socket.create_connection(('127.0.0.1', port))\n"
                    "subprocess.run(['/bin/true'], close_fds=True, check=True)\n")
        self.assertEqual(set(self.passed()), {"not_ours"})

    def test_table_full(self):
        """So many hosts whose circuits are open that none may give way."""
        rules = self.rules("match: {address: 127.0.0.0/8}\nbreaker: {failure_threshold: 1, recovery_timeout: 1h}\n")
        code = ('for my $i (1 .. 3000) { socket(S, 2, 1, 0); '
                'connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 1, $i / 250, $i % 250 + 1)) and die }')
        ended = self.run_program(["perl", "-e", code, str(self.free_port())], rules)
        self.assertTrue(ended.is_good, ended)
        self.assertGreater(self.passed().get("table_full", 0), 0)

    def test_private(self):
        """Nobody else can read the counter then, so the log says it."""
        ended = self.python("socket.create_connection(('127.0.0.1', port))\n", RESIL_STATE_DIR="/proc/nowhere",
                            RESIL_LOG="stderr")
        self.assertIn("libresil: /proc/nowhere: state could not be shared", ended.err)

    def test_log_lost(self):
        rules = self.rules("match: {address: 127.0.0.1}\nretry: {max_retries: 1, base_delay: 1ms}\n")
        self.upstream.mode("refuse")
        self.python("socket.socket().connect_ex(('127.0.0.1', port))\n", rules, RESIL_LOG="/proc/nowhere/log")
        self.assertEqual(self.passed(), {"log_lost": 2})

    def test_log_thinned(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s}\n")
        self.upstream.mode("refuse")
        self.python("for i in range(300): socket.socket().connect_ex(('127.0.0.1', port))\n", rules,
                    RESIL_LOG=os.path.join(self.folder, "log"))
        self.assertEqual(set(self.passed()), {"log_thinned"})

    def test_cancel_failed(self):
        """A kernel that does not let an attempt be taken back, played by a library behind ours: the program gets the truth."""
        source = ("#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <errno.h>\n#include <sys/socket.h>\n"
                  "int connect(int fd, const struct sockaddr *a, socklen_t n) {\n"
                  "    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, \"connect\");\n"
                  "    if (a->sa_family == AF_UNSPEC) { errno = EBUSY; return -1; }\n"
                  "    return real(fd, a, n);\n}\n")
        busy = os.path.join(self.folder, "libbusy.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", busy, "-x", "c", "-"], input=source, text=True, check=True)
        self.upstream.mode("blackhole")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 300ms}\n")
        ended = self.python("print(socket.socket().connect_ex(('127.0.0.1', port)))\n", rules, LD_PRELOAD=f"{LIBRARY}:{busy}")
        self.assertEqual(ended.out, "115\n")
        self.assertEqual(self.passed(), {"cancel_failed": 1})

    def test_lookup_direct(self):
        """Eight lookups at a time have a thread to leave behind; the others wait for their module."""
        rules = self.rules('match: {host: "*.slow"}\ntimeout: {resolve: 300ms}\n')
        command = self.in_namespace({"/etc/nsswitch.conf": "hosts: files slowtest\n"}, [LOOKUPS, "threads", "a.slow", "20"])
        process = self.start(command, rules, SLOWTEST_PORT=str(self.upstream.port), RESIL_STRICT="1", # read before main
                             LD_LIBRARY_PATH=os.path.join(BUILD, "tests"))
        self.wait_for(lambda: self.passed().get("lookup_direct", 0) == 12)
        self.upstream.process.terminate()  # those that wait are let go
        self.assertFalse(self.finish(process).has_hung)

    def test_fallback_unknown(self):
        """A program that does not block and has looked up nothing: nobody knows where the fallback host is."""
        rules = self.rules("match: {address: 127.0.0.5}\nbreaker: {}\ndegrade:\n  - host: backup.invalid\n")
        self.python("s = socket.socket()\ns.setblocking(False)\ns.connect_ex(('127.0.0.5', port))\n"
                    "import select\nselect.select([], [s], [], 5)\n", rules)
        self.assertEqual(self.passed(), {"fallback_unknown": 1})

    def test_not_delayed(self):
        """A connect that does not block is over at once on a UNIX socket: there is nothing to be waited for."""
        faults = self.write("faults.yaml", "version: 1\nfaults:\n  - name: late\n    match: {unix: '*'}\n    on: [connect]\n"
                            "    latency: 10s\n")
        self.python("listener = socket.socket(socket.AF_UNIX)\nos.chdir(os.environ['TO'])\nlistener.bind('socket')\nlistener.listen()\n"
                    "s = socket.socket(socket.AF_UNIX)\ns.setblocking(False)\ns.connect('socket')\n"
                    "listener.accept()\n", faults, RESIL_FAULTS="1", TO=self.folder)
        self.assertEqual(self.passed(), {"not_delayed": 1})

    def test_unbound(self):
        """A function whose check is in no library is left alone."""
        rules = self.write("functions.yaml", "version: 1\nfunctions: [{name: a, symbol: flaky_ask, returns: int, args: [int, int], "
                           "fails_when: {check: {symbol: there_is_none, args: [], fails_when: 0}}, retry: {}}]\n")
        ended = self.run_program([os.path.join(BUILD, "tests/functions_now"), "ask", "1"], rules, RESIL_EARLY="1")
        self.assertEqual(ended.out, "-1 EIO\n1 calls\n", ended)
        self.assertEqual(self.passed(), {"unbound": 1})

    def test_every_reason_is_counted_and_tested_here(self):
        with open(os.path.join(SOURCE, "src/report/event.h")) as file:
            reasons = re.findall(r'^    X\((\w+), "(\w+)", "', file.read(), re.M)
        self.assertGreater(len(reasons), 10)
        code = ""
        for folder in "drive", "functions", "hooks", "state":
            for name in os.listdir(os.path.join(SOURCE, "src", folder)):
                with open(os.path.join(SOURCE, "src", folder, name)) as file:
                    code += file.read()
        for name, text in reasons:
            self.assertEqual(name.lower(), text)
            self.assertRegex(code, r"(segment_passed\(|passed\[)PASSED_%s\b" % name)
            self.assertTrue(hasattr(self, f"test_{text}"), f"no test for {text}")

    def test_status_explains_each_by_name(self):
        self.datagram()
        self.assertRegex(self.resil("status"), r"\n1  a non-blocking descriptor \(non_blocking\)")


if __name__ == "__main__":
    main()
