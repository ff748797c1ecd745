"""Down the ladder, connects: a fallback host, a canned answer, the error, and up again. Who serves is told by the servers'
own counts, and bytes are compared whole."""

import json
import os
import shutil

from stage import BARE, EMPTIED, LIBRARY, MISBEHAVE, PYTHON, RESIL, RULED, Stage, main
from test_loops_proxies import NGINX

HTTP = "const http = require('http'); http.get(process.argv[1], a => a.pipe(process.stdout)).on('error', e => { console.error(e.code); process.exitCode = 1; })"
ASYNCIO = """
import asyncio, sys, urllib.parse
async def main():
    url = urllib.parse.urlsplit(sys.argv[1])
    reader, writer = await asyncio.wait_for(asyncio.open_connection(url.hostname, url.port), 20)
    writer.write(b'GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n')
    await writer.drain()
    answer = b''
    while b'\\r\\n\\r\\n' not in answer or len(answer.split(b'\\r\\n\\r\\n', 1)[1]) < int(sys.argv[2]):
        more = await asyncio.wait_for(reader.read(65536), 20)
        if not more:
            break
        answer += more
    sys.stdout.buffer.write(answer.split(b'\\r\\n\\r\\n', 1)[1])
asyncio.run(main())
"""

LADDER = """
match: {address: ["127.0.0.1", "::1"], port: %d}
timeout: {connect: 1s, total: 4s}
breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: %s, jitter: 0%%}
degrade:
"""
CANNED = "HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\ncanned"


def programs():
    """Each asks once, and prints the body of the answer whatever its length; the second word is how long that is."""
    return {
        "wget": lambda url, size: ["wget", "-qO-", "--tries=1", "--timeout=20", url],
        "wget that blocks": lambda url, size: ["wget", "-qO-", "--tries=1", "--timeout=0", url],
        "curl": lambda url, size: ["curl", "-sS", url],
        "urllib": lambda url, size: [PYTHON, "-c", "import sys, urllib.request as u\n"
                                     "sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())", url],
        "asyncio": lambda url, size: [PYTHON, "-c", ASYNCIO, url, str(size)],
        "node": lambda url, size: ["node", "-e", HTTP, url],
    }


# Connects to whoever begins to listen, and writes down what it is told.
STRANGER = r"""
import os, re, signal, socket, sys, time
often, path, known, held, is_over = int(sys.argv[1]), sys.argv[2], set(), [], []
signal.signal(signal.SIGTERM, lambda *_: is_over.append(True))
until, is_last = time.monotonic() + 10, False
while not is_last and time.monotonic() < until:
    is_last = bool(is_over) # then once more: to whatever was there it has been told all
    with open("/proc/net/tcp") as file:
        ports = {int(port, 16) for port in re.findall(r"0100007F:(\w+) 00000000:0000 0A", file.read())}
    for port in ports - known:
        known.add(port)
        for _ in range(often):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", port))
            held.append(s)
    time.sleep(0.01)
    told = b""
    for s in held:
        try:
            told += s.recv(100)
        except OSError:
            pass
    if told:
        open(path, "ab").write(told)
with open(path + ".count", "w") as file:
    file.write(str(len(held)))
"""


class Ladder(Stage):
    def each_program(self):
        for name, command in programs().items():
            if shutil.which(command("x", 0)[0]):
                with self.subTest(name):
                    yield command

    def ladder(self, port, rungs, recovery="60s"):
        return self.rules(LADDER % (port, recovery) + rungs)

    def ask(self, command, url, rules, how=RULED, size=6, **options):
        return self.run_program(command(url, size), rules, how, **options)

    def host(self, port):
        """What `resil status` says of it."""
        (found,) = [host for report in self.reports() for host in report["hosts"] if host["target"].endswith(f":{port}")]
        return found


class FallbackHost(Ladder):
    def test_each_program_is_served_by_it_and_goes_back(self):
        """The primary is asked once more when the circuit half-opens, and serves from then on."""
        for command in self.each_program():
            primary, backup = self.server("refuse"), self.server("answer --body backup")
            rules = self.ladder(primary.port, f"  - host: 127.0.0.1:{backup.port}\n", "1s")
            for how in BARE, EMPTIED:
                self.assertFalse(self.ask(command, primary.url(), rules, how).is_good)
            for _ in range(3):
                ended = self.ask(command, primary.url(), rules)
                self.assertEqual((ended.out, ended.status), ("backup", 0), ended)
            self.assertEqual((primary.count("accepted"), backup.count("answered")), (0, 3))
            self.assertEqual(self.host(primary.port)["served_by"], "host")
            primary.mode("answer --body primary")
            self.wait_for(lambda: self.ask(command, primary.url(), rules).out == "primary")
            before = backup.count("answered")
            for _ in range(3):
                self.assertEqual(self.ask(command, primary.url(), rules).out, "primary")
            self.assertEqual((primary.count("answered"), backup.count("answered")), (4, before))
            self.assertEqual(self.host(primary.port)["served_by"], "full")
        self.assert_nothing_passed_through()

    def test_it_serves_where_the_primary_does_not_answer_connects(self):
        for command in self.each_program():
            primary, backup = self.server("blackhole"), self.server("answer --body backup")
            rules = self.ladder(primary.port, f"  - host: 127.0.0.1:{backup.port}\n")
            for _ in range(2):
                ended = self.ask(command, primary.url(), rules)
                self.assertEqual((ended.out, ended.status), ("backup", 0), ended)
            self.assertEqual(backup.count("answered"), 2)

    def test_of_several_the_first_that_works_serves(self):
        """Each has a circuit of its own: one that is down is not asked again and again."""
        for command in self.each_program():
            primary, first, second = self.server("refuse"), self.server("refuse"), self.server("answer --body second")
            rules = self.ladder(primary.port, f'  - host: ["127.0.0.1:{first.port}", "127.0.0.1:{second.port}"]\n')
            for _ in range(3):
                ended = self.ask(command, primary.url(), rules)
                self.assertEqual((ended.out, ended.status), ("second", 0), ended)
            self.assertEqual((first.count("accepted"), second.count("answered")), (0, 3))
            self.assertEqual((self.host(first.port)["state"], self.host(first.port)["calls"]), ("open", 1))

    def test_retries_come_first(self):
        for command in self.each_program():
            primary, backup = self.server("refuse"), self.server("answer --body backup")
            rules = self.rules(f"match: {{port: {primary.port}}}\ntimeout: {{connect: 1s, total: 5s}}\n"
                               "retry: {max_retries: 2, base_delay: 10ms}\n"
                               f"degrade:\n  - host: 127.0.0.1:{backup.port}\n")
            ended = self.ask(command, primary.url(), rules)
            self.assertEqual((ended.out, ended.status), ("backup", 0), ended)
            self.assertEqual(self.host(primary.port)["retries"], 2)

    def test_the_program_is_told_what_it_asked_for_or_what_is_there(self):
        code = ("import socket, sys\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.settimeout(5)\nprint(s.getpeername()[1])")
        primary, backup = self.server("refuse"), self.server("answer")
        for present, port in ("asked", primary.port), ("real", backup.port):
            rules = self.ladder(primary.port, f"  - {{host: '127.0.0.1:{backup.port}', present: {present}}}\n")
            ended = self.run_program([PYTHON, "-c", code, str(primary.port)], rules)
            self.assertEqual(ended.out, f"{port}\n", ended)

    def test_connections_stick_to_it_as_long_as_the_rule_says(self):
        primary, backup = self.server("refuse"), self.server("answer --body backup")
        rules = self.ladder(primary.port, f"  - {{host: '127.0.0.1:{backup.port}', stick: 3s}}\n", "100ms")
        command = programs()["curl"]
        self.assertEqual(self.ask(command, primary.url(), rules).out, "backup")
        primary.mode("answer --body primary")
        self.wait_for(lambda: self.ask(command, primary.url(), rules).out == "primary")  # the probe
        said = [self.ask(command, primary.url(), rules).out for _ in range(3)]
        self.assertIn("backup", said)
        self.wait_for(lambda: self.ask(command, primary.url(), rules).out == "primary")
        self.wait_for(lambda: {self.ask(command, primary.url(), rules).out for _ in range(3)} == {"primary"})

    def test_ipv6_and_ipv4_mapped_sockets_fall_back_too(self):
        code = ("import socket, sys\n"
                "for asked in sys.argv[1].split():\n"
                "    s = socket.socket(socket.AF_INET6)\n"
                "    s.settimeout(float(sys.argv[4]) or None)\n"
                "    s.connect((asked, int(sys.argv[2])))\n"
                "    s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "    print(s.makefile().read().split('\\n')[-1], s.getpeername()[0])\n")
        primary = self.server("refuse")
        v4, v6 = self.server("answer --body four"), self.server("answer --body six", listen="[::1]:0")
        for timeout in "0", "5":
            rules = self.ladder(primary.port, f'  - host: ["[::1]:{v6.port}"]\n')
            ended = self.run_program([PYTHON, "-c", code, "::1", str(primary.port), "x", timeout], rules)
            self.assertEqual(ended.out, "six ::1\n", ended)
            rules = self.ladder(primary.port, f'  - host: ["127.0.0.1:{v4.port}"]\n')
            ended = self.run_program([PYTHON, "-c", code, "::1 ::ffff:127.0.0.1", str(primary.port), "x", timeout], rules)
            self.assertEqual(ended.out, "four ::1\nfour ::ffff:127.0.0.1\n", ended)


class BeyondALimit(Ladder):
    """The host is well: what is too much for it is served from its ladder, and what is not by the host itself."""

    HOLDS_TWO = """
import socket, sys
def ask():
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), float(sys.argv[2]) or None)
    s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    answer = b""
    while not answer.endswith((b"full", b"over")):
        answer += s.recv(1000)
    print(answer[-4:].decode(), end=" ")
    return s
held = [ask(), ask()]
ask().close()
held.pop().close()
ask().close()
"""

    def test_connections(self):
        for rung in "  - {host: '127.0.0.1:%d', stick: 60s}\n", "  - respond: {text: \"HTTP/1.1 200 OK\\r\\n\\r\\nover\"}\n":
            for timeout in "0", "5":
                host, other = self.server("answer --body full --keep-alive"), self.server("answer --body over")
                wait = ", wait: 300ms" if "host:" in rung else ""
                rules = self.rules(f"match: {{port: {host.port}}}\nlimit: {{connections: 2{wait}}}\ndegrade:\n" +
                                   rung.replace("%d", str(other.port)))

                def story(how):
                    ended = self.run_program([PYTHON, "-c", self.HOLDS_TWO, str(host.port), timeout], rules, how)
                    self.assertTrue(ended.is_good, ended)
                    return ended.out == "full full over full "

                self.only_with_rules(story)
                self.assertEqual(self.host(host.port)["limited"], 1)
                (limited,) = [event for event in self.events("limit_connections") if event["target"].endswith(f":{host.port}")]
                self.assertIsNone(limited["error"])
                self.assertRegex(limited["text"], r"too many connections at once \(connections: 2, rule tested\)"
                                 + (r", still after \S+$" if wait else "$"))

    def test_it_is_told(self):
        rules = self.rules('match: {port: 9}\nlimit: {connections: 2}\ndegrade:\n  - respond: {text: "x"}\n')
        self.assertIn("\nA call beyond the limit is served from the ladder",
                      self.run_program([RESIL, "explain", "--rules", rules, "127.0.0.1:9"], how=BARE).out)
        self.assertIn("(beyond the limit too)", " ".join(self.run_program([RESIL, "check", rules], how=BARE).out.split()))

    def test_rate(self):
        host, other = self.server("answer --body full"), self.server("answer --body over")
        rules = self.rules(f"match: {{port: {host.port}}}\nlimit: {{rate: 2/s}}\n"
                           f"degrade:\n  - host: 127.0.0.1:{other.port}\n")
        command = ["curl", "-sS", "--parallel", "--parallel-immediate", "-H", "Connection: close", *[host.url()] * 6]

        def story(how):
            ended = self.run_program(command, rules, how)
            self.assertTrue(ended.is_good, ended)
            bodies = [ended.out[i:i + 4] for i in range(0, 24, 4)]
            self.assertEqual(sorted(set(bodies)), ["full", "over"] if how == RULED else ["full"])
            return bodies.count("over") == other.count("answered") > 0

        self.only_with_rules(story)


class CannedAnswer(Ladder):
    def respond(self, more="", text=CANNED):
        return f'  - respond: {{text: "{text}"{more}}}\n'

    def test_many_of_them_leave_ports_for_others(self):
        """Each connection leaves a port behind for a minute. Here there are 100, and no more were to be had after 100 answers."""
        code = ("import socket, sys, urllib.request as u\n"
                "server = socket.create_server(('127.0.0.1', 0))\n"
                "for _ in range(400):\n"
                "    try: got = u.urlopen('http://127.0.0.1:9/').read()\n"
                "    except OSError as e: got = e\n"
                "socket.create_connection(server.getsockname()).close()\n"
                "print(got)\n")
        command = self.in_namespace({}, [PYTHON, "-c", code], "--net",
                                    prepare="ip link set lo up && echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range")
        rules = self.ladder(9, self.respond())

        def story(how):
            ended = self.run_program(command, rules, how)
            self.assertTrue(ended.is_good, ended)
            return ended.out == "b'canned'\n"

        self.only_with_rules(story)

    def test_each_program_gets_it_whole(self):
        body = "0123456789abcdef" * 4096
        answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        self.write("canned.http", answer)
        for more in "when: connect", "when: request", "when: connect, delay: 50ms", "when: request, delay: 50ms":
            for command in self.each_program():
                primary = self.server("refuse")
                rules = self.ladder(primary.port, f"  - respond: {{file: canned.http, {more}}}\n")
                for how in BARE, EMPTIED:
                    self.assertFalse(self.ask(command, primary.url(), rules, how).is_good)
                for _ in range(3):
                    ended = self.ask(command, primary.url(), rules, size=len(body))
                    self.assertTrue(ended.is_good and ended.out == body, (more, len(ended.out), ended.err, ended.status))
                self.assertEqual(self.host(primary.port)["served_by"], "respond")
        self.assert_nothing_passed_through()

    def test_a_connection_that_is_kept_open_gets_an_answer_to_each_request(self):
        primary = self.server("refuse")
        rules = self.ladder(primary.port, self.respond(", when: request"))
        for command in (["curl", "-sS", "-w", "%{num_connects},", *[primary.url()] * 5],
                        [PYTHON, "-c", "import http.client, sys\nc = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n"
                         "for i in range(5):\n    c.request('POST', '/', b'x' * 100000)\n    a = c.getresponse()\n"
                         "    print(a.read().decode(), end='1,' if i == 0 else '0,')\n", str(primary.port)]):
            ended = self.run_program(command, rules)
            self.assertEqual(ended.out, "canned1," + "canned0," * 4, ended)

    def test_redis_cli_is_answered(self):
        if not shutil.which("redis-cli"):
            self.skipTest("redis-cli is not installed")
        primary = self.server("refuse")
        rules = self.ladder(primary.port, self.respond(", when: request", "+DEGRADED\\r\\n"))

        def story(how):
            ended = self.run_program(["redis-cli", "-p", str(primary.port), "GET", "key"], rules, how)
            return ended.out.strip() == "DEGRADED"

        self.only_with_rules(story)

    def test_what_the_program_sends_is_swallowed(self):
        """Whatever the call, and as much as there is: nobody reads it, and nothing breaks off."""
        code = r"""
import array, os, socket, sys
port, when = int(sys.argv[1]), sys.argv[2]
def connect():
    s = socket.create_connection(('127.0.0.1', port)); s.settimeout(None); return s
big = b'x' * 3000000
path = sys.argv[3]
with open(path, 'wb') as file: file.write(big)
def sendfile(s):
    with open(path, 'rb') as file:
        sent = 0
        while True:
            now = os.sendfile(s.fileno(), file.fileno(), sent, 1 << 20)
            if not now: return sent
            sent += now
for way in (lambda s: s.sendall(big) or len(big), lambda s: os.write(s.fileno(), big), lambda s: s.sendmsg([b'a', big]) - 1,
            lambda s: os.writev(s.fileno(), [big, b'']), sendfile, lambda s: s.sendto(big, None) if False else s.send(big)):
    s = connect()
    sent = way(s)
    assert sent == len(big), sent
    s.shutdown(socket.SHUT_WR)
    try:
        s.send(b'x'); print('sent after shutdown')
    except BrokenPipeError: pass
    got = b''
    while True:
        more = s.recv(1000)
        if not more: break
        got += more
    print(got.decode())
"""
        primary = self.server("refuse")
        for when in "connect", "request":
            rules = self.ladder(primary.port, self.respond(f", when: {when}", "canned"))
            ended = self.run_program([PYTHON, "-c", code, str(primary.port), when, os.path.join(self.folder, "big")], rules)
            self.assertEqual(ended.out, "canned\n" * 6, ended)

    def test_wild_pointers_and_counts_are_refused_as_the_kernel_refuses_them(self):
        code = r"""
import ctypes, mmap, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
wild, fd = ctypes.c_void_p(8), s.fileno()
class iovec(ctypes.Structure): _fields_ = [('base', ctypes.c_char_p), ('size', ctypes.c_ssize_t)]
class msghdr(ctypes.Structure):
    _fields_ = [('name', ctypes.c_void_p), ('name_size', ctypes.c_uint), ('parts', ctypes.c_void_p), ('count', ctypes.c_size_t),
                ('control', ctypes.c_void_p), ('control_size', ctypes.c_size_t), ('flags', ctypes.c_int)]
class mmsghdr(ctypes.Structure): _fields_ = [('message', msghdr), ('told', ctypes.c_uint)]
def tell(result): print(result, ctypes.get_errno() if result < 0 else 0)
def message(parts, count): return msghdr(None, 0, ctypes.cast(parts, ctypes.c_void_p), count, None, 0, 0)
good, bad = (iovec * 2000)(), (iovec * 1)(iovec(b'', -1))
for i in range(2000): good[i] = iovec(b'x', 1)
tell(libc.writev(fd, wild, 1))
tell(libc.writev(fd, wild, -1))
tell(libc.writev(fd, good, 1025))
tell(libc.writev(fd, good, 1024))
tell(libc.writev(fd, bad, 1))
tell(libc.sendmsg(fd, wild, 0))
tell(libc.sendmsg(fd, ctypes.byref(message(wild, 1)), 0))
tell(libc.sendmsg(fd, ctypes.byref(message(good, 1025)), 0))
tell(libc.sendmsg(fd, ctypes.byref(message(good, 7)), 0))
tell(libc.sendmmsg(fd, wild, 1, 0))
three = (mmsghdr * 3)(mmsghdr(message(good, 7), 0), mmsghdr(message(good, 8), 0), mmsghdr(message(wild, 1), 0))
tell(libc.sendmmsg(fd, three, 3, 0))
print(three[0].told, three[1].told)
readonly = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
tell(libc.sendmmsg(fd, ctypes.c_void_p(readonly), 1, 0))
"""
        real, primary = self.server("hang"), self.server("refuse")
        rules = self.ladder(primary.port, self.respond(", when: request", "canned"))
        bare = self.run_program([PYTHON, "-c", code, str(real.port)], how=BARE)
        self.assertEqual(len(bare.out.splitlines()), 13, bare)
        ended = self.run_program([PYTHON, "-c", code, str(primary.port)], rules)
        self.assertEqual(ended.out, bare.out, ended)

    def test_the_end_comes_though_a_fork_child_lives(self):
        code = r"""
import os, socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.settimeout(None)
started, begin = os.pipe()
until, parent = os.pipe()
if os.fork() == 0:
    if sys.argv[2] == 'closes':
        s.close()
    os.write(begin, b'x')
    sys.stdout.close(); os.close(1); os.close(2); os.close(parent)
    os.read(until, 1) # it lives for as long as its parent
    os._exit(0)
os.read(started, 1)
if sys.argv[2] == 'shuts':
    s.shutdown(socket.SHUT_WR)
else:
    s.sendall(b'GET /')
got = b''
while True:
    more = s.recv(1000)
    if not more: break
    got += more
print(got.decode())
"""
        primary = self.server("refuse")
        for when, child, good in (("request", "lives", "canned\n"), ("request", "closes", "canned\n"),
                                  ("request", "shuts", "\n"), ("connect", "lives", "canned\n")):
            rules = self.rules(f"match: {{address: 127.0.0.1, port: {primary.port}}}\ndegrade:\n"
                               + self.respond(f", when: {when}", "canned"))
            ended = self.run_program([PYTHON, "-c", code, str(primary.port), child], rules, seconds=10)
            self.assertEqual(ended.out, good, (when, child, ended))

    def test_it_looks_like_a_real_peer(self):
        code = r"""
import array, fcntl, select, socket, sys, termios
port = int(sys.argv[1])
s = socket.socket(); s.setblocking(sys.argv[2] == 'blocks')
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
e = select.epoll(); e.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
print(s.connect_ex(('127.0.0.1', port)) in (0, 115))
select.select([s], [], [], 10)
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), s.getpeername())
print([bool(events & select.EPOLLIN) for fd, events in e.poll(5)], e.poll(0))
waiting = array.array('i', [0]); fcntl.ioctl(s, termios.FIONREAD, waiting); print(waiting[0])
print(s.recv(3, socket.MSG_PEEK), s.recv(2), s.recv(100), s.recv(100))
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) > 0, s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
"""
        primary = self.server("refuse")
        rules = self.ladder(primary.port, self.respond("", "canned"))
        for how in "blocks", "does not":
            ended = self.run_program([PYTHON, "-c", code, str(primary.port), how], rules)
            self.assertEqual(ended.out, f"True\n0 ('127.0.0.1', {primary.port})\n[True] []\n6\nb'can' b'ca' b'nned' b''\n"
                             "True 1\n", ended)

    def test_a_socket_that_cannot_reach_loopback_gets_the_error(self):
        """Bound to a device, or where there is no loopback: the rung is skipped."""
        code = ("import socket, sys\ns = socket.socket()\n"
                "if sys.argv[1] == 'bound': s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'other')\n"
                "print(s.connect_ex(('127.0.0.1', 9)))\n")
        rules = self.ladder(9, self.respond())
        prepare = {"bound": "ip link set lo up && ip link add other type veth peer name peer && ip link set other up",
                   "no loopback": "true"}
        for how, script in prepare.items():
            ended = self.run_program(self.in_namespace({}, [PYTHON, "-c", code, how], "--net", prepare=script), rules)
            self.assertNotIn(ended.out, ("0\n", ""), ended)
        self.assertIn("no_loopback", [event["reason"] for event in self.events("rung_skipped")])

    def race(self, often, more=""):
        """curl, whose connects take 0.3 s each, and a stranger who is quicker; what curl, and what the stranger was told."""
        rules = self.ladder(9, self.respond(more))
        stranger, told = self.write("stranger.py", STRANGER), os.path.join(self.folder, "told")
        settings = [f"--env={name}={value}" for name, value in
                    {"LD_PRELOAD": LIBRARY, "RESIL_RULES": rules, "RESIL_STATE_DIR": self.state}.items()]
        script = ('"$1" "$2" "$3" "$4" & stranger=$!; shift 4; strace -f -qq -o /dev/null -e trace=connect '
                  '-e inject=connect:delay_enter=300000 "$@"; status=$?; kill $stranger; wait $stranger; exit $status')
        ended = self.run_program(
            self.in_namespace({}, ["sh", "-c", script, "sh", PYTHON, stranger, str(often), told, *settings, "curl", "-sS",
                                   "http://127.0.0.1:9/"], "--net", prepare="ip link set lo up"), how=BARE)
        with open(told + ".count") as file:
            self.assertGreaterEqual(int(file.read()), often, "the stranger was not there")
        return ended, os.path.exists(told)

    def test_a_stranger_who_comes_first_is_told_nothing(self):
        for more in "", ", when: request":
            ended, was_told = self.race(1, more)
            self.assertEqual((ended.out, was_told), ("canned", False), ended)

    def test_where_strangers_leave_no_room_the_rung_is_skipped(self):
        ended, was_told = self.race(200)
        self.assertEqual((ended.status, ended.out, was_told), (7, "", False), ended)
        self.assertEqual([event["reason"] for event in self.events("rung_skipped")], ["stranger"])

    def test_nothing_is_left_behind(self):
        code = ("import os, socket, sys\n"
                "def ask():\n    s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n    s.sendall(b'x')\n"
                "    assert s.recv(100)[:4] == b'HTTP'\n    return s\n"
                "before = len(os.listdir('/proc/self/fd'))\n"
                "held = [ask() for _ in range(20)]\nmeanwhile = len(os.listdir('/proc/self/fd'))\nfor s in held: s.close()\n"
                "print(meanwhile - before, len(os.listdir('/proc/self/fd')) - before)")
        primary = self.server("refuse")
        for when, expected in ("connect", "20 0\n"), ("request", "40 0\n"):
            rules = self.ladder(primary.port, self.respond(f", when: {when}"))
            ended = self.run_program([PYTHON, "-c", code, str(primary.port)], rules)
            self.assertEqual(ended.out, expected, ended)


class WholeLadder(Ladder):
    def test_programs_go_down_and_come_up_again(self):
        """Primary, backup, canned answer, error: switched off one by one, and on again from the bottom."""
        for command in self.each_program():
            primary, backup = self.server("answer --body fullll"), self.server("answer --body backup")
            rungs = f"  - host: 127.0.0.1:{backup.port}\n" + f'  - respond: {{text: "{CANNED}"}}\n'
            rules = self.ladder(primary.port, rungs, "500ms")

            def said():
                ended = self.ask(command, primary.url(), rules)
                self.assertTrue(ended.is_good, ended)
                return ended.out

            self.assertEqual(said(), "fullll")
            primary.mode("refuse")
            self.assertEqual([said() for _ in range(2)], ["backup"] * 2)
            backup.mode("refuse")
            self.assertEqual([said() for _ in range(2)], ["canned"] * 2)
            backup.mode("answer --body backup")
            self.wait_for(lambda: said() == "backup")
            primary.mode("answer --body fullll")
            self.wait_for(lambda: said() == "fullll")
            accepted = backup.count("accepted")
            self.assertEqual([said() for _ in range(3)], ["fullll"] * 3)
            self.assertEqual(backup.count("accepted"), accepted)

    def test_the_error_is_the_last_rung(self):
        primary, backup = self.server("refuse"), self.server("refuse")
        rules = self.ladder(primary.port, f"  - host: 127.0.0.1:{backup.port}\n")
        for command in self.each_program():
            self.assertFalse(self.ask(command, primary.url(), rules).is_good)
        host = self.host(primary.port)
        self.assertEqual((host["served_by"], host["degraded"], host["unserved"]), ("error", 0, len(programs())))
        self.assertEqual({event["error"] for event in self.events("degraded")}, {"ECONNREFUSED"})

    def test_8_processes_and_8_threads_at_once_never_mix_answers(self):
        # The first connect reads the rules; others that come meanwhile pass through. A server that is switched off breaks off
        # what it has accepted.
        code = ("import sys, threading, urllib.request as u\n"
                "u.urlopen(sys.argv[1]).read()\n"
                "def ask():\n    for _ in range(20):\n        try: said.append(u.urlopen(sys.argv[1]).read().decode())\n"
                "        except ConnectionError: said.append('broken')\n"
                "        except OSError as e: said.append('broken' if isinstance(e.reason, ConnectionResetError) else str(e.reason))\n"
                "said = []\nthreads = [threading.Thread(target=ask) for _ in range(8)]\n"
                "for t in threads: t.start()\nfor t in threads: t.join()\n"
                "print(len(said), *sorted(set(said)))")
        primary, backup = self.server("answer --body fullll"), self.server("answer --body backup")
        rungs = f"  - host: 127.0.0.1:{backup.port}\n" + f'  - respond: {{text: "{CANNED}"}}\n'
        rules = self.ladder(primary.port, rungs, "50ms")
        processes = [self.start([PYTHON, "-c", code, primary.url()], rules) for _ in range(8)]
        while any(process.poll() is None for process in processes):
            for server, mode in (primary, "refuse"), (backup, "refuse"), (backup, "answer --body backup"), \
                    (primary, "answer --body fullll"):
                server.mode(mode)
        for process in processes:
            ended = self.finish(process)
            words = ended.out.split()
            self.assertEqual((words[0], set(words[1:]) - {"broken"} <= {"fullll", "backup", "canned"}), ("160", True), ended)
        self.assertGreater(sum(host["degraded"] for report in self.reports() for host in report["hosts"]), 0)

    def test_nginx_as_a_proxy_is_served(self):
        if not shutil.which("nginx"):
            self.skipTest("nginx is not installed")
        primary, backup = self.server("answer --body fullll"), self.server("answer --body backup")
        rungs = f"  - host: 127.0.0.1:{backup.port}\n" + f'  - respond: {{text: "{CANNED}", when: request}}\n'
        for how in BARE, RULED:
            primary.mode("answer --body fullll")
            rules = self.ladder(primary.port, rungs, "500ms")
            port = self.free_port()
            config = NGINX % {"folder": self.folder, "port": port, "upstream": primary.port, "process": "master_process off",
                              "idle": 1}
            process = self.start(["nginx", "-c", self.write("nginx.conf", config)], rules, how)
            self.addCleanup(process.communicate)
            self.addCleanup(process.terminate)
            self.wait_for(lambda: self.is_listening(port) or process.poll() is not None)

            def said():
                return self.run_program(["curl", "-s", f"http://127.0.0.1:{port}/"], how=BARE).out

            self.assertEqual(said(), "fullll")
            primary.mode("refuse")
            if how == BARE:
                self.assertIn("502", said())
                continue
            self.assertEqual([said() for _ in range(3)], ["backup"] * 3)
            backup.mode("refuse")
            self.wait_for(lambda: said() == "canned")
            self.assertEqual([said() for _ in range(3)], ["canned"] * 3)
            primary.mode("answer --body fullll")
            self.wait_for(lambda: said() == "fullll")
            self.assertEqual([said() for _ in range(3)], ["fullll"] * 3)


class Told(Ladder):
    def test_programs_can_ask_with_and_without_libresil(self):
        """The same program, which is linked with nothing of ours."""
        primary, backup = self.server("refuse"), self.server("answer")
        ask = os.path.join(os.path.dirname(MISBEHAVE), "tests/ask_resil")
        rules = self.ladder(primary.port, f"  - host: 127.0.0.1:{backup.port}\n" + f'  - respond: {{text: "{CANNED}"}}\n')
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program([ask, str(primary.port)], rules, how)
            expected = {BARE: "absent\n", EMPTIED: "degraded 0\nno decision\n",
                        RULED: "degraded 1\ntested: rung 1 number 1 error 111 lookup 0 age 0\n"}[how]
            self.assertEqual(ended.out, expected, ended)
        backup.mode("refuse")
        ended = self.run_program([ask, str(primary.port)], rules)
        self.assertEqual(ended.out, "degraded 3\ntested: rung 3 number 2 error 111 lookup 0 age 0\n", ended)

    def test_the_tools_tell(self):
        primary, backup = self.server("refuse"), self.server("answer")
        rules = self.ladder(primary.port, f"  - {{host: '127.0.0.1:{backup.port}', stick: 2s}}\n  - stale: {{}}\n"
                            f'  - respond: {{text: "{CANNED}"}}\n  - addresses: 10.0.0.9\n')
        self.ask(programs()["curl"], primary.url(), rules)
        self.assertRegex(self.resil("status"), r"served by a fallback host \S+ ago")
        (event,) = self.events("degraded")
        self.assertEqual((event["rung"], event["reason"], event["address"], event["error"], event["age_ms"]),
                         ("host", "host", f"127.0.0.1:{backup.port}", "ECONNREFUSED", None))
        self.assertIn(f"served by the fallback host 127.0.0.1:{backup.port}", self.resil("log"))
        said = self.resil("explain", "--rules", rules, f"127.0.0.1:{primary.port}")
        for line in (f"degrade 1 +host 127.0.0.1:{backup.port}; stick 2s", "degrade 2 +stale max_age 24h, after 1.8s",
                     "degrade 3 +respond 44 bytes when connect", "degrade 4 +addresses 10.0.0.9"):
            self.assertRegex(said, line)
        report = json.loads(self.resil("explain", "--json", "--rules", rules, f"127.0.0.1:{primary.port}"))
        self.assertEqual([rung["rung"] for rung in report["degrade"]], ["host", "stale", "respond", "addresses"])

    def test_check_says_where_a_rung_cannot_serve(self):
        rules = self.rules('match: {address: 10.0.0.7, port: 443}\ntimeout: {}\nbreaker: {}\ndegrade:\n'
                           '  - host: [backup.test, "10.0.0.7:443"]\n  - stale: {}\n  - respond: {text: hello}\n'
                           "  - respond: {text: again}\n")
        said = self.resil("check", rules).replace("\n", " ")
        for words in ("backup.test", "falls back to itself", "degrade.stale: never serves", "speak TLS",
                      "the one on line 10 answers always"):
            self.assertIn(words, said)


if __name__ == "__main__":
    main()
