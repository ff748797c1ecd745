"""Faults that take time, on programs that do not block: nothing sleeps, what they wait for is shown to them later."""

import os
import re
import shutil
import time

import nginx
from faults import FaultStage
from stage import BARE, LIBRARY, PYTHON, RULED, main
from test_faults import BODY, Server

ASYNCIO = """
import asyncio, sys
async def main():
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(len(await asyncio.wait_for(reader.read(), float(sys.argv[2]))))
try:
    asyncio.run(main())
except asyncio.TimeoutError:
    sys.exit("timed out")
except OSError as error:
    sys.exit(f"errno {error.errno}")
"""

NODE = """
fetch(`http://127.0.0.1:${process.argv[1]}/`, {signal: AbortSignal.timeout(1000 * process.argv[2])})
    .then(response => response.text()).then(text => console.log(text.length))
    .catch(error => { console.error(error.name, String(error.cause)); process.exit(1) })
"""

# Asks again and again and reads what there is, whenever the wait says so: how often was it woken for nothing?
LOOP = """
import select, socket, sys, time
how, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.create_connection(("127.0.0.1", port))
s.setblocking(False)
if how == "poll":
    loop = select.poll()
    loop.register(s, select.POLLIN)
    wait = lambda: loop.poll(20000)
elif how == "select":
    wait = lambda: select.select([s], [], [], 20)[0]
else:
    loop = select.epoll()
    modes = sum(getattr(select, mode) for mode in how.split(",")[1:])
    loop.register(s, select.POLLIN | modes)
    wait = lambda: loop.poll(20)
in_vain = 0
for i in range(count):
    s.send(b"%07d." % i)
    got = b""
    while len(got) < 8:
        if not wait():
            sys.exit("nothing comes")
        try:
            while True:
                part = s.recv(100)
                if not part:
                    sys.exit("ended")
                got += part
        except BlockingIOError:
            in_vain += 1
        if "ONESHOT" in how:
            loop.modify(s, select.POLLIN | modes)
    if got != b"%07d." % i:
        sys.exit(f"got {got}")
print("all", in_vain)
"""

# Four threads on one epoll, for many connections; each is served by whoever is woken.
THREADS = """
import select, socket, sys, threading
port, connections, rounds = map(int, sys.argv[1:])
loop, lock, left, got, failed = select.epoll(), threading.Lock(), connections, {}, []
sockets = {}
MODE = select.EPOLLIN | select.EPOLLONESHOT
def serve():
    global left
    while left and not failed:
        for fd, _ in loop.poll(0.2):
            s = sockets[fd]
            try: got[fd] += s.recv(100)
            except BlockingIOError: pass
            if len(got[fd]) % 8 == 0 and len(got[fd]) == 8 * sent[fd]:
                if sent[fd] == rounds:
                    with lock: left -= 1
                    continue
                sent[fd] += 1
                s.send(b"%07d." % sent[fd])
            loop.modify(fd, MODE)
sent = {}
for _ in range(connections):
    s = socket.create_connection(("127.0.0.1", port))
    s.setblocking(False)
    sockets[s.fileno()], got[s.fileno()], sent[s.fileno()] = s, b"", 1
    loop.register(s, MODE)
for s in sockets.values():
    s.send(b"%07d." % 1)
threads = [threading.Thread(target=serve) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
good = all(got[fd] == b"".join(b"%07d." % (i + 1) for i in range(rounds)) for fd in sockets)
print("all" if good and not left else f"{left} are left")
sys.stdout.flush()
import os
os._exit(0)
"""

NGINX = nginx.configuration("""
    server {
        listen 127.0.0.1:%(port)d;
        location / { proxy_pass http://127.0.0.1:%(upstream)d; proxy_read_timeout %(patience)s; }
    }
""")


class Shape(FaultStage):
    def timed(self, command, rules, how=RULED, **extra):
        began = time.monotonic()
        ended = self.faulty(command, rules, how, **extra)
        return ended, time.monotonic() - began

    def is_late(self, command, fault, least, expected=str(BODY)):
        """The program gets everything, `least` seconds later than it would, if the fault is armed. Some may be slow without."""
        rules = self.faults(fault)

        def story(how):
            before = len(self.fired()) if how == RULED else 0
            ended, seconds = self.timed(command, rules, how)
            self.assertIn(expected, ended.out, ended)
            has_fired = how == RULED and len(self.fired()) > before
            self.assertFalse(has_fired and seconds < least, "it says so, and was not late")
            return has_fired

        self.only_when_armed(story)
        self.assert_nothing_passed_through()


class Clients:
    """Told for each of them."""

    def test_an_answer_comes_later(self):
        self.is_late(self.command(Server(self).port), "on: [recv], nth: 1, per: connection, latency: 400ms", 0.4)

    def test_a_request_leaves_later(self):
        self.is_late(self.command(Server(self).port), "on: [send], nth: 1, latency: 400ms", 0.4)

    def test_a_connect_takes_longer(self):
        self.is_late(self.command(Server(self).port), "on: [connect], latency: 400ms", 0.4)

    def test_a_connect_that_is_refused_takes_longer_too(self):
        rules = self.faults("on: [connect], latency: 400ms")
        command = self.command(self.free_port())

        def story(how):
            ended, seconds = self.timed(command, rules, how)
            self.assertFalse(ended.is_good, ended)
            self.assertIn(self.refused, ended.err)
            return how == RULED and len(self.fired()) == 1 and seconds >= 0.4

        self.only_when_armed(story)

    def test_a_download_is_no_faster_than_its_rate(self):
        self.is_late(self.command(Server(self).port), "bandwidth: {rate: 400kB/s, burst: 20kB, direction: recv}",
                     (BODY - 20_000 - 4000) / 400_000)

    def test_a_download_comes_in_slices(self):
        self.is_late(self.command(Server(self).port), "on: [recv], slice: {size: 10000, gap: 20ms}",
                     (BODY - 20_000) // 10_000 * 0.02)

    def test_an_answer_never_comes_and_the_program_s_own_timeout_says_so(self):
        rules = self.faults("on: [recv], timeout: {}")
        port = Server(self).port

        def story(how):
            ended = self.faulty(self.command(port, 2 if how == RULED else 20), rules, how)
            return not ended.is_good and self.timed_out in ended.err

        self.only_when_armed(story)
        self.assert_nothing_passed_through()

    def test_the_rule_s_response_timeout_ends_what_its_own_fault_holds_up(self):
        rules = self.faults("on: [recv], latency: 60s",
                            rules="[{name: a, match: {address: 127.0.0.1}, timeout: {response: 400ms}}]")
        port = Server(self).port

        def story(how):
            ended = self.faulty(self.command(port, 20), rules, how)
            return not ended.is_good and self.cut_off in ended.err

        self.only_when_armed(story)
        self.assertEqual(len(self.events("response_timeout")), 1)
        self.assert_nothing_passed_through()

    def test_the_rule_s_retry_gets_through_where_a_connect_is_too_late(self):
        rules = self.faults("on: [connect], nth: 1, latency: 60s",
                            rules="[{name: a, match: {address: 127.0.0.1}, timeout: {connect: 300ms, total: 20s},"
                                  " retry: {max_retries: 1, base_delay: 10ms}}]")
        ended = self.faulty(self.command(Server(self).port), rules)
        self.assertIn(str(BODY), ended.out, ended)
        self.assertEqual([event["attempt"] for event in self.events("connected_late")], [2])
        self.assertEqual(len(self.events("connect_timeout")), 1)


class Curl(Clients, Shape):
    refused, timed_out, cut_off = "Failed to connect", "timed out", "timed out"

    def command(self, port, patience_s=20):
        return ["curl", "-sS", "-m", str(patience_s), "-o", "/dev/null", "-w", "%{size_download}",
                f"http://127.0.0.1:{port}/"]


class Asyncio(Clients, Shape):
    refused, timed_out, cut_off = "errno 111", "timed out", "timed out"

    def command(self, port, patience_s=20):
        return [PYTHON, "-c", ASYNCIO, str(port), str(patience_s)]

    def is_late(self, command, fault, least, expected=None):
        # It counts the header too.
        super().is_late(command, fault, least, str(BODY + len("HTTP/1.0 200 OK\r\nContent-Length: 200000\r\n\r\n")))

    def test_the_end_comes_late(self):
        self.is_late(self.command(Server(self).port), "slow_close: 400ms", 0.4)

    def test_a_connection_is_reset_after_so_many_bytes(self):
        rules = self.faults("reset: {after_bytes: 5000}")
        port = Server(self).port
        self.only_when_armed(lambda how: "errno 104" in self.faulty(self.command(port), rules, how).err)

    def test_the_rule_s_retry_gets_through_where_a_connect_is_too_late(self):
        self.skipTest("told by the others")


class Node(Clients, Shape):
    refused, timed_out, cut_off = "ECONNREFUSED", "TimeoutError", "ETIMEDOUT"

    def setUp(self):
        super().setUp()
        if not shutil.which("node"):
            self.skipTest("node is not installed")

    def command(self, port, patience_s=20):
        return ["node", "-e", NODE, str(port), str(patience_s)]


class Nginx(Shape):
    """As a proxy: it is edge-triggered, and the faults are on the side of its upstream."""

    def setUp(self):
        super().setUp()
        if not shutil.which("nginx"):
            self.skipTest("nginx is not installed")

    def ask(self, fault, how, patience="20s"):
        """What its client gets, in how many seconds."""
        port, upstream = self.free_port(), Server(self).port
        config = self.write("nginx.conf", NGINX % {"folder": self.folder, "port": port, "patience": patience,
                                                   "upstream": upstream})
        fault = f"match: {{address: 127.0.0.1, port: {upstream}}}, " + fault
        proxy = self.start_faulty(["nginx", "-c", config], self.faults(fault), how)
        self.wait_for(lambda: self.is_listening(port) or proxy.poll() is not None)
        began = time.monotonic()
        ended = self.run_program(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                                  f"http://127.0.0.1:{port}/"], how=BARE)
        seconds = time.monotonic() - began
        proxy.terminate()
        proxy.communicate()
        return ended, seconds

    def comes_late(self, fault, least):
        def story(how):
            ended, seconds = self.ask(fault, how)
            self.assertEqual(ended.out, f"200 {BODY}", ended)
            has_fired = how == RULED and len(self.fired()) > 0
            self.assertFalse(has_fired and seconds < least, "it says so, and was not late")
            return has_fired

        self.only_when_armed(story)
        self.assert_nothing_passed_through()

    def test_an_answer_comes_later(self):
        self.comes_late("on: [recv], nth: 1, latency: 400ms", 0.4)

    def test_a_request_leaves_later(self):
        self.comes_late("on: [send], latency: 400ms", 0.4)

    def test_a_connect_takes_longer(self):
        self.comes_late("on: [connect], latency: 400ms", 0.4)

    def test_a_download_is_no_faster_than_its_rate(self):
        self.comes_late("bandwidth: {rate: 400kB/s, burst: 20kB, direction: recv}", (BODY - 24_000) / 400_000)

    def test_an_answer_never_comes_and_its_own_timeout_says_so(self):
        def story(how):
            ended, _ = self.ask("on: [recv], timeout: {}", how, "1s")
            return ended.out.startswith("504")

        self.only_when_armed(story)


class Waits(Shape):
    """Every wait, and every way in which an epoll can be asked: nothing is lost, and it is not woken for nothing over and
    over."""

    def loop(self, how):
        server = self.server("echo")
        rules = self.faults("on: [recv], latency: {delay: 3ms, jitter: 2ms}")
        command = [PYTHON, "-c", LOOP, how, str(server.port), "200"]

        def story(how):
            ended = self.faulty(command, rules, how)
            self.assertTrue(ended.out.startswith("all"), ended)
            # Once when it has come, and once more when all has been read.
            self.assertLessEqual(int(ended.out.split()[1]), 200 * 3, ended)
            return how == RULED and len(self.fired()) >= 200

        self.only_when_armed(story)
        self.assert_nothing_passed_through()

    def test_poll(self):
        self.loop("poll")

    def test_select(self):
        self.loop("select")

    def test_epoll(self):
        self.loop("epoll")

    def test_epoll_edge(self):
        self.loop("epoll,EPOLLET")

    def test_epoll_once(self):
        self.loop("epoll,EPOLLONESHOT")

    def test_epoll_edge_once(self):
        self.loop("epoll,EPOLLET,EPOLLONESHOT")

    def test_epoll_exclusive(self):
        self.loop("epoll,EPOLLEXCLUSIVE")

    def test_epoll_exclusive_edge(self):
        self.loop("epoll,EPOLLEXCLUSIVE,EPOLLET")

    def test_four_threads_on_one_epoll(self):
        server = self.server("echo")
        rules = self.faults("on: [recv], latency: {delay: 5ms, jitter: 4ms}")
        command = [PYTHON, "-c", THREADS, str(server.port), "40", "20"]

        def story(how):
            ended = self.faulty(command, rules, how)
            self.assertEqual(ended.out, "all\n", ended)
            return how == RULED and len(self.fired()) >= 40 * 20

        self.only_when_armed(story)

    def test_nothing_goes_round_and_round_while_an_answer_is_held_up(self):
        """How often the kernel is asked to wait, for one answer that is a second late."""
        server = self.server("echo")
        rules = self.faults("on: [recv], nth: 1, latency: 1s")
        trace = os.path.join(self.folder, "trace")
        for how in "poll", "select", "epoll", "epoll,EPOLLET":
            settings = [f"--env={name}={value}" for name, value in
                        {"LD_PRELOAD": LIBRARY, "RESIL_RULES": rules, "RESIL_FAULTS": "1",
                         "RESIL_STATE_DIR": self.state}.items()]
            before = len(self.fired())
            ended = self.run_program(["strace", "-qq", "-o", trace, *settings,
                                      "--trace=poll,ppoll,select,pselect6,epoll_wait,epoll_pwait,epoll_pwait2,nanosleep,"
                                      "clock_nanosleep", PYTHON, "-c", LOOP, how, str(server.port), "1"], how=BARE)
            self.assertTrue(ended.out.startswith("all"), ended)
            self.assertEqual(len(self.fired()), before + 1)
            with open(trace) as file:
                calls = file.read()
            self.assertNotIn("sleep", calls)
            waits = re.findall(r"^(?:poll|ppoll|p?select6?|epoll_\w+)\(", calls, re.M)
            self.assertLess(len(waits), 40, calls)


if __name__ == "__main__":
    main()
