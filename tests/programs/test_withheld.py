"""Where the kernel keeps no failed attempt from being seen, the waits of the program do: on UNIX sockets, which programs
that do not block connect too, and where packets of loopback come with as many hops left as there are."""

import os
import re
import shutil

import nginx
from stage import BARE, LIBRARY, PYTHON, RULED, Stage, main
from test_unix import PATIENT, Local

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhere-I-am"

ASYNCIO = """
import asyncio, sys
async def main():
    reader, writer = await asyncio.open_unix_connection(sys.argv[1])
    writer.write(b"ping")
    print((await reader.read()).decode())
asyncio.run(main())
"""

NODE = """
const socket = require('net').connect(process.argv[1])
socket.on('connect', () => socket.write('ping'))
socket.on('data', data => process.stdout.write(data))
socket.on('error', error => { console.error(error.code); process.exit(1) })
"""

# poll, select or an epoll of that mode (a list of them), several times while nothing is there, and then until it is.
LOOP = """
import select, socket, sys
how, path = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.setblocking(False)
if s.connect_ex(path) != 115:
    sys.exit("no connection")
wanted = select.POLLIN | select.POLLOUT
if how == "poll":
    loop = select.poll()
    loop.register(s, wanted)
    look = lambda ms: loop.poll(ms)
elif how == "select":
    look = lambda ms: [(s.fileno(), 4) for _ in select.select([s], [s], [s], ms / 1000)[1]]
else:
    loop = select.epoll()
    modes = sum(getattr(select, mode) for mode in how.split(",")[1:])
    loop.register(s, wanted | modes)
    look = lambda ms: loop.poll(ms / 1000)
for _ in range(3):
    if look(1):
        sys.exit("seen")
    if s.connect_ex(path) not in (114, 106, 0):
        sys.exit("not connecting any more")
if how == "epoll":
    loop.modify(s, select.EPOLLIN)
    loop.unregister(s)
    loop.register(s, wanted)
elif how == "epoll,EPOLLONESHOT":
    loop.modify(s, wanted | select.EPOLLONESHOT)
(fd, events), = look(20000)
if events != 4 or s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
    sys.exit("events %x" % events)
s.send(b"ping")
s.setblocking(True)
print(s.recv(100).decode())
"""

NGINX = nginx.configuration("""
    server {
        listen 127.0.0.1:%(port)d;
        location / { proxy_pass http://unix:%(path)s:/; }
    }
""")


class Late(Stage):
    """A server on a UNIX socket that is made after two retries."""

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.folder, "server")

    def come_up(self, servers, answer=ANSWER):
        server = Local(self.path).answering(answer)
        self.addCleanup(server.close)
        servers.append(server)

    def waits_for_it(self, command):
        """The program is connected once, as soon as the server is there, and sees nothing of what was before."""
        rules = self.rules(PATIENT % self.path)

        def story(how):
            servers = []
            ended = self.ask_early(command, rules, how, lambda: self.come_up(servers))
            servers[0].close()
            self.assertEqual(servers[0].accepted, 1 if how == RULED else 0, ended)
            return ended.is_good and "here-I-am" in ended.out

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assertEqual(self.events("connect_failed"), [])
        self.assert_nothing_passed_through("not_parked")


class Unix(Late):
    def test_curl(self):
        self.waits_for_it(["curl", "-sS", "--unix-socket", self.path, "http://localhost/"])

    def test_python_asyncio(self):
        self.waits_for_it([PYTHON, "-c", ASYNCIO, self.path])

    def test_node(self):
        if not shutil.which("node"):
            self.skipTest("node is not installed")
        self.waits_for_it(["node", "-e", NODE, self.path])

    def test_nginx(self):
        """It waits for an upstream on behalf of its client."""
        if not shutil.which("nginx"):
            self.skipTest("nginx is not installed")
        rules = self.rules(PATIENT % self.path)

        def story(how):
            port, servers = self.free_port(), []
            config = self.write("nginx.conf", NGINX % {"folder": self.folder, "port": port, "path": self.path})
            proxy = self.start(["nginx", "-c", config], rules, how)
            self.wait_for(lambda: self.is_listening(port) or proxy.poll() is not None)
            before = len(self.events("retry")) if how == RULED else 0
            client = self.start(["curl", "-sS", f"http://127.0.0.1:{port}/"], how=BARE)
            if how == RULED:
                self.wait_for(lambda: len(self.events("retry")) >= before + 2 or client.poll() is not None)
                self.come_up(servers)
            ended = self.finish(client)
            proxy.terminate()
            proxy.communicate()
            return "here-I-am" in ended.out

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through("not_parked")


class Queue(Late):
    """Who listens and does not accept has a queue, and it is full."""

    def test_python_asyncio_waits_for_room(self):
        rules = self.rules('match: {unix: "%s"}\ntimeout: {connect: 20s}\n' % self.path)

        def story(how):
            server = Local(self.path).busy()
            process = self.start([PYTHON, "-c", ASYNCIO, self.path], rules, how)
            if how == RULED:
                self.wait_for(lambda: self.is_in_epoll(process.pid) or process.poll() is not None)
                server.answering(ANSWER)
            ended = self.finish(process)
            server.close()
            return ended.is_good and "here-I-am" in ended.out

        self.only_with_rules(story)
        self.assert_nothing_passed_through()

    def test_python_asyncio_is_told_that_there_is_none(self):
        rules = self.rules('match: {unix: "%s"}\ntimeout: {connect: 300ms}\n' % self.path)
        server = Local(self.path).busy()
        self.addCleanup(server.close)
        self.only_with_rules(lambda how: "TimeoutError" in self.run_program([PYTHON, "-c", ASYNCIO, self.path], rules, how).err)
        failed, = self.events("connect_failed")
        self.assertEqual(failed["error"], "ETIMEDOUT")
        self.assert_nothing_passed_through()

    def is_in_epoll(self, pid):
        """It has connected, and waits for that."""
        try:
            with open(f"/proc/{pid}/wchan") as file:
                return "ep" in file.read() and len(self.reports()) > 0
        except OSError:
            return False


class Waits(Late):
    """Every wait, and every way in which an epoll can be asked."""

    def loop(self, how):
        self.waits_for_it([PYTHON, "-c", LOOP, how, self.path])

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


class Quiet(Late):
    """A wait from which everything is withheld is a wait: it does not go round and round."""

    def count_waits(self, how):
        """How often the kernel was asked to wait, between a failed attempt and one that was made a second later."""
        rules = self.rules('match: {unix: "%s"}\ntimeout: {connect: 5s, total: 30s}\n'
                           "retry: {max_retries: 3, base_delay: 1s, factor: 1, jitter: none, budget: off}\n" % self.path)
        trace = os.path.join(self.folder, "trace")
        settings = [f"--env={name}={value}" for name, value in
                    {"LD_PRELOAD": LIBRARY, "RESIL_RULES": rules, "RESIL_STATE_DIR": self.state}.items()]
        ended = self.run_program(["strace", "-qq", "-o", trace, *settings,
                                  "--trace=poll,ppoll,select,pselect6,epoll_wait,epoll_pwait,epoll_pwait2",
                                  PYTHON, "-c", LOOP, how, self.path], how=BARE)
        self.assertFalse(ended.is_good, ended)  # nobody is there at last
        self.assertEqual(len(self.events("retry")), 3)
        with open(trace) as file:
            return len(re.findall(r"^(?:poll|ppoll|p?select6?|epoll_\w+)\(", file.read(), re.M))

    def test_poll(self):
        self.assertLess(self.count_waits("poll"), 60)

    def test_select(self):
        self.assertLess(self.count_waits("select"), 60)

    def test_epoll(self):
        self.assertLess(self.count_waits("epoll"), 60)

    def test_epoll_edge(self):
        self.assertLess(self.count_waits("epoll,EPOLLET"), 60)


if __name__ == "__main__":
    main()
