"""`limit`: how many connections a process has to a target at once, and how often it makes one."""

import errno

from stage import BARE, PYTHON, RESIL, RULED, Stage, main

AT_ONCE = """
match: {address: 127.0.0.1}
limit: {connections: 2%s}
"""

# What the stories below share: connect() gives the error or 0 and keeps the socket.
CLIENT = """
import ctypes, errno, os, socket, sys, threading, time
port = int(sys.argv[1])
kept = []
def connect(**options):
    s = socket.socket()
    if 'timeout' in options: s.settimeout(options['timeout'])
    error = s.connect_ex(('127.0.0.1', port))
    if error and error != errno.EINPROGRESS: s.close()
    else: kept.append(s)
    return errno.errorcode.get(error, 'ok')
"""


class Limits(Stage):
    def setUp(self):
        super().setUp()
        self.target = self.server("hang")

    def says(self, code, rules, how=RULED):
        ended = self.run_program([PYTHON, "-c", CLIENT + code, str(self.target.port)], rules, how)
        self.assertTrue(ended.is_good, ended)
        return ended.out.split()

    def host(self):
        """The only one that there is, in whichever rule file."""
        (host,) = [host for report in self.reports() for host in report["hosts"]]
        return host

    def only_with_rules_says(self, code, expected, rules):
        self.only_with_rules(lambda how: self.says(code, rules, how) == expected.split())


class Bulkhead(Limits):
    def test_no_more_connections_at_once_than_the_rule_says(self):
        rules = self.rules(AT_ONCE % "")
        self.only_with_rules_says("print(*[connect() for _ in range(4)])\n"
                                  "kept.pop().close()\n"
                                  "print(connect(), connect())\n",
                                  "ok ok ECONNREFUSED ECONNREFUSED ok ECONNREFUSED", rules)
        self.assertEqual(len(self.events("limit_connections")), 3)
        host = self.host()
        self.assertEqual((host["limited"], host["failed"], host["failures_in_a_row"]), (3, 0, 0))
        self.assert_nothing_passed_through()

    def test_the_error_is_the_rules(self):
        rules = self.rules(AT_ONCE % ", error: EHOSTUNREACH")
        self.only_with_rules_says("print(*[connect() for _ in range(3)])", "ok ok EHOSTUNREACH", rules)

    def test_ends_are_seen_however_they_come(self):
        """close, fclose, a copy that takes its number, shutting down everything, and a system call behind our back."""
        rules = self.rules(AT_ONCE % "")
        ends = ("os.close(fd)", "os.fdopen(fd, 'rb').close()", "os.dup2(0, fd)", "os.closerange(fd, fd + 1)",
                "libc.syscall(3, fd)", "os.spawnlp(os.P_WAIT, 'true', 'true'); os.close(fd)")
        code = "libc = ctypes.CDLL(None)\nprint(connect())\n"
        for end in ends:
            code += f"print(connect(), connect())\nfd = kept.pop().detach()\n{end}\n"
        self.only_with_rules_says(code + "print(connect(), connect())", "ok " + "ok ECONNREFUSED " * 7, rules)

    def test_a_connection_is_one_however_many_copies_there_are(self):
        rules = self.rules(AT_ONCE % "")
        code = ("connect()\n"
                "copies = [os.dup(kept[0].fileno()) for _ in range(3)]\n"
                "print(connect(), connect())\n"
                "kept[0].close()\n"
                "for copy in copies[1:]: os.close(copy)\n"
                "print(connect())\n"
                "os.close(copies[0])\n"
                "print(connect())\n")
        self.only_with_rules_says(code, "ok ECONNREFUSED ECONNREFUSED ok", rules)

    def test_a_copy_from_before_the_connect_keeps_the_place(self):
        rules = self.rules(AT_ONCE % "")
        code = ("s = socket.socket()\n"
                "copy = os.dup(s.fileno())\n"
                "s.connect(('127.0.0.1', port))\n"
                "s.close()\n"
                "print(connect(), connect())\n"
                "os.close(copy)\n"
                "print(connect())\n")
        self.only_with_rules_says(code, "ok ECONNREFUSED ok", rules)

    def test_a_fork_child_begins_with_none_and_gives_nothing_back(self):
        rules = self.rules(AT_ONCE % "")
        code = ("connect(), connect()\n"
                "if (child := os.fork()) == 0:\n"
                "    inherited, kept = kept, []\n"
                "    for s in inherited: s.close()\n"
                "    print(connect(), connect(), connect(), flush=True)\n"
                "    os._exit(0)\n"
                "os.waitpid(child, 0)\n"
                "print(connect())\n")
        self.only_with_rules_says(code, "ok ok ECONNREFUSED ECONNREFUSED", rules)

    def test_a_failed_connect_takes_no_place(self):
        rules = self.rules(AT_ONCE % "")
        self.target.mode("refuse")
        self.assertEqual(self.says("print(*[connect() for _ in range(5)])", rules), ["ECONNREFUSED"] * 5)
        self.assertEqual(self.events("limit_connections"), [])

    def test_another_process_has_places_of_its_own(self):
        rules = self.rules(AT_ONCE % "")
        code = ("import subprocess\n"
                "print(connect(), connect(), flush=True)\n"
                "if len(sys.argv) < 3: subprocess.run([sys.executable, '-c', open('/proc/self/cmdline').read().split('\\0')[2],"
                " sys.argv[1], 'again'])\n")
        self.assertEqual(self.says(code, rules), ["ok"] * 4)

    def test_whoever_waits_gets_the_place_that_becomes_free(self):
        rules = self.rules(AT_ONCE % ", wait: 20s")
        code = ("connect(), connect()\n"
                "order = []\n"
                "def end():\n"
                "    while not waiting: time.sleep(0.01)\n"
                "    time.sleep(0.1)\n"
                "    order.append('closed')\n"
                "    kept[0].close()\n"
                "waiting = False\n"
                "thread = threading.Thread(target=end); thread.start()\n"
                "waiting = True\n"
                "result = connect()\n"
                "order.append(result)\n"
                "thread.join()\n"
                "print(*order)\n")
        self.only_with_rules_says(code, "closed ok", rules)
        self.assertEqual(len(self.events("limit_wait")), 1)
        host = self.host()
        self.assertEqual((host["waited"], host["limited"]), (1, 0))

    def test_a_wait_ends_in_time_and_within_total(self):
        for limits in "limit: {connections: 2, wait: 300ms}", "limit: {connections: 2, wait: 60s}\ntimeout: {total: 300ms}":
            rules = self.rules("match: {address: 127.0.0.1}\n" + limits + "\n")
            before = len(self.events("limit_connections"))
            code = ("print(connect(), connect())\n"
                    "began = time.monotonic()\n"
                    "print(connect(), time.monotonic() - began >= 0.29)\n")
            self.only_with_rules_says(code, "ok ok ECONNREFUSED True", rules)
            event = self.events("limit_connections")[before]
            self.assertGreaterEqual(event["duration_ms"], 300)
            self.assertLess(event["duration_ms"], 20000)

    def test_a_signal_ends_a_wait(self):
        rules = self.rules(AT_ONCE % ", wait: 60s")
        code = ("import signal\n"
                "connect(), connect()\n"
                "signal.signal(signal.SIGALRM, lambda *_: print('alarm'))\n"
                "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
                "print(connect())\n")
        self.assertEqual(self.says(code, rules), ["alarm", "ECONNREFUSED"])

    def test_a_non_blocking_connect_does_not_wait_unless_the_rule_says_so(self):
        rules = self.rules(AT_ONCE % "")
        code = ("print(*[connect(timeout=0) for _ in range(3)])\n"
                "kept.pop().close()\n"
                "print(connect(timeout=0), connect(timeout=0))\n")
        self.only_with_rules_says(code, "EINPROGRESS EINPROGRESS ECONNREFUSED EINPROGRESS ECONNREFUSED", rules)
        self.assertEqual(self.events("limit_wait"), [])

    def test_asking_how_a_non_blocking_connect_went_is_not_another_one(self):
        rules = self.rules("match: {address: 127.0.0.1}\nlimit: {connections: 1, rate: 1/s}\n")
        code = ("import select\n"
                "print(connect(timeout=0))\n"
                "select.select([], kept, [])\n"
                "codes = [kept[0].connect_ex(('127.0.0.1', port)) for _ in range(3)]\n"
                "print(set(codes) <= {0, errno.EISCONN}, connect())\n")
        self.only_with_rules_says(code, "EINPROGRESS True ECONNREFUSED", rules)

    def test_a_descriptor_that_connects_anew_keeps_to_one_place(self):
        rules = self.rules(AT_ONCE % "")
        code = ("libc = ctypes.CDLL(None)\n"
                "connect()\n"
                "for _ in range(5):\n"
                "    libc.connect(kept[0].fileno(), bytes(16), 16)\n"
                "    kept[0].connect(('127.0.0.1', port))\n"
                "print(connect(), connect())\n")
        self.only_with_rules_says(code, "ok ECONNREFUSED", rules)

    def test_siblings_and_retries_are_one_connection(self):
        rules = self.rules("match: {host: many.test}\nlimit: {connections: 1}\n"
                           "retry: {max_retries: 1, base_delay: 10ms}\ntimeout: {connect: 5s, total: 20s}\n")
        dead = self.server("refuse", listen=f"127.0.0.2:{self.target.port}")
        code = ("first = socket.socket()\n"
                "first.connect((socket.gethostbyname('many.test'), port))\n"
                "print(first.getpeername()[0])\n"
                "print(errno.errorcode[socket.socket().connect_ex((socket.gethostbyname('many.test'), port))])\n")
        command = self.with_hosts([PYTHON, "-c", CLIENT + code, str(dead.port)], "127.0.0.2 many.test\n127.0.0.1 many.test\n")
        ended = self.run_program(command, rules)
        self.assertEqual(ended.out, "127.0.0.1\nECONNREFUSED\n", ended)


ASYNCIO = """
import asyncio, sys
async def ask():
    reader, writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))
    writer.write(b'GET / HTTP/1.0\\r\\n\\r\\n')
    answer = await reader.read()
    writer.close()
    return answer.decode().split()[-1]
async def main(): print(*await asyncio.gather(*[ask() for _ in range(20)]))
asyncio.run(main())
"""

NODE = """
const http = require('http')
for (let i = 0; i < 20; i++)
  http.get({host: '127.0.0.1', port: process.argv[1], agent: false}, answer => answer.on('data', data => console.log(`${data}`)))
"""


class Turns(Limits):
    """Connects that do not block wait too, and the program's loop goes on meanwhile."""

    def twenty_come_in_turns(self, command):
        rules = self.rules("match: {address: 127.0.0.1}\nlimit: {connections: 5, wait: 25s}\n")
        for how in BARE, RULED:
            server = self.server("hold --body here-I-am")
            process = self.start([*command, str(server.port)], rules, how)
            for seen in [20] if how == BARE else [5, 10, 15, 20]:
                self.assertTrue(server.wait("requests", seen), how)
                self.assertEqual(server.count("accepted"), seen)
                self.assertEqual(server.say("release"), "ok")
            ended = self.finish(process)
            self.assertTrue(ended.is_good, ended)
            self.assertEqual(ended.out.count("here-I-am"), 20, ended)
        waits = self.events("limit_wait")
        self.assertTrue(waits)
        self.assertEqual({(event["limit"], event["rule"]) for event in waits}, {(5, "tested")})
        host = self.host()
        self.assertEqual((host["waited"], host["limited"], host["connected"], host["failed"]), (15, 0, 20, 0))
        self.assert_nothing_passed_through()

    def test_curl(self):
        self.twenty_come_in_turns(["sh", "-c", 'exec curl -sS --parallel --parallel-immediate "http://127.0.0.1:$0/[1-20]"'])

    def test_python_asyncio(self):
        self.twenty_come_in_turns([PYTHON, "-c", ASYNCIO])

    def test_node(self):
        self.twenty_come_in_turns(["node", "-e", NODE])

    def test_the_loop_goes_on_and_the_wait_ends_in_time(self):
        rules = self.rules(AT_ONCE % ", wait: 300ms, error: EHOSTUNREACH")
        code = ("import select\n"
                "print(*[connect(timeout=0) for _ in range(3)])\n"
                "began, naps = time.monotonic(), 0\n"
                "late = kept[2:]\n"
                "while not select.select([], late, [], 0.02)[1] and naps < 1000: naps += 1\n"
                "print(naps > 2, time.monotonic() - began >= 0.29)\n"
                "print(errno.errorcode[late[0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])\n")
        self.assertEqual(self.says(code, rules), "EINPROGRESS EINPROGRESS EINPROGRESS True True EHOSTUNREACH".split())
        (event,) = self.events("limit_connections")
        self.assertGreaterEqual(event["duration_ms"], 300)
        self.assertIn("too many connections at once (connections: 2, rule tested), still after ", event["text"])
        host = self.host()
        self.assertEqual((host["limited"], host["failed"]), (1, 0))

    def test_who_came_first_is_served_first(self):
        rules = self.rules(AT_ONCE % ", wait: 25s")
        code = ("import select\n"
                "for _ in range(5): connect(timeout=0)\n"
                "order, waiting = [], kept[2:]\n"
                "for s in kept[:2] + waiting:\n"
                "    s.close()\n"
                "    if s in waiting: waiting.remove(s)\n"
                "    for now in select.select([], waiting, [], 0.2)[1]:\n"
                "        if now not in order: order.append(now)\n"
                "print([kept.index(s) for s in order])\n")
        self.assertEqual(self.says(code, rules), ["[2,", "3,", "4]"])

    def test_one_that_gives_up_does_not_hold_up_the_others(self):
        rules = self.rules(AT_ONCE % ", wait: 25s")
        code = ("import select\n"
                "for _ in range(5): connect(timeout=0)\n"
                "kept[2].close(), kept[3].close(), kept[0].close()\n"
                "print(len(select.select([], kept[4:], [], 20)[1]))\n")
        self.assertEqual(self.says(code, rules), ["1"])

    def test_a_circuit_that_opens_meanwhile_rejects_it(self):
        rules = self.rules(AT_ONCE % ", wait: 25s" + "breaker: {failure_threshold: 1, recovery_timeout: 60s, error: EHOSTUNREACH}\n")
        code = ("import select, subprocess\n"
                "for _ in range(3): connect(timeout=0)\n"
                f"subprocess.run(['{RESIL}', 'breaker', 'open', f'127.0.0.1:{{port}}'], check=True, stdout=2)\n"
                "kept[0].close()\n"
                "print(len(select.select([], kept[2:], [], 20)[1]))\n"
                "print(errno.errorcode[kept[2].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])\n")
        self.assertEqual(self.says(code, rules), ["1", "EHOSTUNREACH"])
        self.assertEqual(len(self.events("rejected")), 1)

    def test_whose_turn_does_not_come_is_led_to_the_fallback_host(self):
        other = self.server("answer --body instead")
        rules = self.rules(f"match: {{address: 127.0.0.1, port: {self.target.port}}}\nlimit: {{connections: 2, wait: 300ms}}\n"
                           f"degrade: [{{host: \"127.0.0.1:{other.port}\"}}]\n")
        code = ("for _ in range(2): connect(timeout=0)\n"
                "print(connect(timeout=20))\n"
                "kept[2].sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "answer = b''\n"
                "while got := kept[2].recv(1000): answer += got\n"
                "print(answer.decode().split()[-1])\n")
        self.assertEqual(self.says(code, rules), ["ok", "instead"])
        self.assertEqual(len(self.events("limit_connections")), 1)
        self.assertEqual([event["rung"] for event in self.events("degraded")], ["host"])

    def test_a_thread_that_sleeps_in_an_epoll_learns_of_it(self):
        rules = self.rules(AT_ONCE % ", wait: 25s")
        code = ("import select\n"
                "epoll = select.epoll()\n"
                "thread = threading.Thread(target=lambda: print(len(epoll.poll(20))))\n"
                "thread.start()\n"
                "while open(f'/proc/self/task/{thread.native_id}/syscall').read().split()[0] not in ('232', '281', '441'): time.sleep(0.01)\n"
                "for _ in range(3): connect(timeout=0)\n"
                "epoll.register(kept[2], select.EPOLLOUT)\n"
                "kept[0].close()\n"
                "thread.join()\n"
                "print(kept[2].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))\n"
                "print(kept[2].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))\n")
        self.assertEqual(self.says(code, rules), ["1", "0", "0"])

    def test_a_unix_socket_too(self):
        path = f"{self.folder}/s"
        rules = self.rules(f"match: {{unix: {path}}}\nlimit: {{connections: 1, wait: 25s}}\n")
        code = ("import select\n"
                "server = socket.socket(socket.AF_UNIX)\n"
                f"server.bind('{path}'), server.listen()\n"
                "a, b = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)\n"
                "b.setblocking(False)\n"
                f"a.connect('{path}')\n"
                f"print(errno.errorcode.get(b.connect_ex('{path}')))\n"
                "print(len(select.select([], [b], [], 0.1)[1]))\n"
                "a.close()\n"
                "print(len(select.select([], [b], [], 20)[1]), b.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))\n"
                "print(b.send(b'x'))\n")
        self.assertEqual(self.says(code, rules), "EINPROGRESS 0 1 0 1".split())

    def test_with_a_rate_they_go_one_after_the_other(self):
        rules = self.rules("match: {address: 127.0.0.1}\nlimit: {rate: 10/s, wait: 25s}\n")
        self.target.mode("answer --body here-I-am")
        ended = self.run_program([PYTHON, "-c", ASYNCIO, str(self.target.port)], rules)
        self.assertEqual(ended.out.split(), ["here-I-am"] * 20, ended)
        self.assertEqual(self.host()["waited"], 10)
        self.assertIn(" for its turn (rate: 10/s, rule tested)", self.events("limit_wait")[-1]["text"])


class Rate(Limits):
    def test_no_more_connects_in_a_second_than_the_rule_says(self):
        rules = self.rules("match: {address: 127.0.0.1}\nlimit: {rate: 3/s}\n")
        code = ("began = time.monotonic()\n"
                "results = [connect() for _ in range(200)]\n"
                "most = 3 + 3 * (time.monotonic() - began)\n"
                "print('ECONNREFUSED' in results, 3 <= results.count('ok') <= most)\n")
        self.only_with_rules_says(code, "True True", rules)
        host = self.host()
        self.assertEqual(host["limited"] + host["connected"], 200)
        events = self.events("limit_rate")
        self.assertLessEqual(sum(event["count"] for event in events), host["limited"])

    def test_with_wait_they_go_in_their_turn(self):
        rules = self.rules("match: {address: 127.0.0.1}\nlimit: {rate: 10/s, wait: 20s}\n")
        code = ("began = time.monotonic()\n"
                "results = [connect() for _ in range(20)]\n"
                "print(results.count('ok'), time.monotonic() - began >= 0.99)\n")
        self.assertEqual(self.says(code, rules), ["20", "True"])
        self.assertTrue(self.events("limit_wait"))
        self.assertEqual(self.events("limit_rate"), [])

    def test_an_attempt_has_its_full_time_after_a_wait(self):
        rules = self.rules("match: {address: 127.0.0.1}\nlimit: {rate: 1/s, wait: 20s}\n"
                           "timeout: {connect: 100ms, total: 20s}\n")
        self.assertEqual(self.says("print(connect(), connect())", rules), ["ok", "ok"])
        self.assertEqual(self.events("connect_timeout"), [])


class Shadow(Limits):
    def test_enforce_0_records_what_a_limit_would_have_done(self):
        rules = self.rules("match: {address: 127.0.0.1}\nlimit: {connections: 2, rate: 3/s}\nenforce: 0%\n")
        code = ("print(*[connect() for _ in range(4)])\n"
                "for s in kept: s.close()\n"
                "print(*[connect(timeout=0) for _ in range(4)])\n")
        self.assertEqual(self.says(code, rules), self.says(code, rules, BARE))
        events = self.events("limit_connections") + self.events("limit_rate")
        self.assertTrue(self.events("limit_connections"))
        self.assertTrue(all(event["shadow"] for event in events), events)
        host = self.host()
        self.assertEqual((host["limited"], host["connected"]), (0, 4))


if __name__ == "__main__":
    main()
