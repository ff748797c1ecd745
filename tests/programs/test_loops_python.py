"""Python waits in poll (sockets with a timeout), in select, or in epoll (asyncio, selectors)."""

import socket
import time

import loops
from stage import HANG_S, PATIENCE_S, PYTHON, RULED, Stage, main

SAY = """
import errno, sys
def say(e):
    e = getattr(e, 'reason', e)
    while isinstance(e, ExceptionGroup): e = e.exceptions[0]
    sys.exit(f'{type(e).__name__} {errno.errorcode.get(getattr(e, "errno", None))}')
"""

URLLIB = SAY + """
import urllib.request
try: print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())
except OSError as e: say(e)
"""

ASYNCIO = SAY + """
import asyncio, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
async def ask():
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')
    got = await reader.read()
    writer.close()
    if not got: raise ConnectionResetError(errno.ECONNRESET, 'closed')
    return got.decode()
async def main():
    for got in await asyncio.gather(*[ask() for _ in range(int(sys.argv[2]))]): print(got)
try: asyncio.run(main())
except OSError as e: say(e)
"""

# One connection with a selector of that kind: what a program sees of it, wait by wait.
SELECTORS = SAY + """
import os, selectors, socket, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
selector = getattr(selectors, sys.argv[2])()
s = socket.socket()
s.setblocking(False)
seen = [errno.errorcode[s.connect_ex((url.hostname, url.port))]]
selector.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE)
try:
    (_, events), = selector.select()
    seen.append('RW'[events - 1:events] if events < 3 else 'RW')
    error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error: raise OSError(error, os.strerror(error))
    again = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    s.sendall(b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')
    selector.modify(s, selectors.EVENT_READ)
    got = b''
    while True:
        (_, events), = selector.select()
        part = s.recv(65536)
        if not part: break
        got += part
    if not got: raise ConnectionResetError(errno.ECONNRESET, 'closed')
    print(*seen, again, got.decode())
except OSError as e: say(e)
"""


class Urllib(loops.Program):
    program = PYTHON
    timed_out = "TimeoutError ETIMEDOUT"
    refused = "econnrefused"
    waits = ("ppoll",)

    def command(self, url):
        return [PYTHON, "-c", URLLIB, url]


class UrllibRestart(loops.Restart, Urllib):
    pass


class UrllibBlackHole(loops.BlackHole, Urllib):
    pass


class UrllibSilence(loops.Silence, Urllib):
    pass


class UrllibCircuit(loops.Circuit, Urllib):
    pass


class UrllibShadow(loops.Shadow, Urllib):
    pass


class Asyncio(Urllib):
    waits = ("epoll_wait", "epoll_pwait", "epoll_pwait2")

    def command(self, url, count=1):
        return [PYTHON, "-c", ASYNCIO, url, str(count)]


class AsyncioRestart(loops.Restart, Asyncio):
    def test_200_at_once_survive_it(self):
        self.many_survive_a_restart(lambda url: self.command(url, 200), 200)


class AsyncioBlackHole(loops.BlackHole, Asyncio):
    pass


class AsyncioSilence(loops.Silence, Asyncio):
    def test_idle_connections_are_kept(self):
        """Between two exchanges, and before the first one, for longer than every timeout of the rule."""
        code = ("import asyncio, sys\n"
                "async def main():\n"
                "    reader, writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))\n"
                "    for _ in range(3):\n"
                "        await asyncio.sleep(1)\n"
                "        writer.write(b'x' * 10)\n"
                "        print(await reader.readexactly(10))\n"
                "    await asyncio.sleep(1)\n"
                "asyncio.run(main())\n")
        server = self.server("echo")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 300ms, recv: 300ms, send: 300ms}\n")
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules)
        self.assertEqual((ended.status, ended.out.count("xxxxxxxxxx")), (0, 3), ended)
        self.assertEqual(self.events("response_timeout"), [])
        self.assert_answered(3)
        self.assert_nothing_passed_through()

    def test_a_slow_upload_is_never_cut(self):
        code = ("import asyncio, sys\n"
                "async def main():\n"
                "    reader, writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))\n"
                "    writer.write(b'PUT / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 8000000\\r\\n\\r\\n')\n"
                "    for _ in range(80):\n"
                "        writer.write(bytes(100000))\n"
                "        await writer.drain()\n"
                "    print((await reader.read()).decode())\n"
                "asyncio.run(main())\n")
        server = self.server("drain --rate 1000000 --body all-of-it")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 1s, send: 1s}\n")
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules)
        self.assertIn("all-of-it", ended.out, ended)
        self.assertEqual(self.events("response_timeout") + self.events("send_timeout"), [])
        self.assert_answered(1)
        self.assert_nothing_passed_through()

    def test_a_reader_that_reads_nothing_is_cut(self):
        """The peer takes the connection and not a byte more than its buffers hold."""
        code = SAY + ("import asyncio, socket\n"
                      "async def main():\n"
                      "    reader, writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))\n"
                      "    writer.write(bytes(50_000_000))\n"
                      "    await writer.drain()\n"
                      "try: asyncio.run(main())\n"
                      "except OSError as e: say(e)\n")
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {send: 500ms}\n")

        def story(how):
            ended = self.run_program([PYTHON, "-c", code, str(listener.getsockname()[1])], rules, how,
                                     HANG_S if how != RULED else PATIENCE_S)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return self.timed_out in ended.err

        self.only_with_rules(story)
        self.assertEqual(len(self.events("send_timeout")), 1)
        self.assert_nothing_passed_through()


class Blocking(Stage):
    def test_a_long_blocking_upload_leaves_the_answer_its_time(self):
        """The peer reads nothing for longer than an answer may take, then everything, and answers a little later."""
        code = ("import select, socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "select.select([], [s], [])\n"
                "s.sendall(bytes(20_000_000))\n"
                "select.select([s], [], [])\n"
                "print(s.recv(65536).decode())\n")
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 1s}\n")
        process = self.start([PYTHON, "-c", code, str(listener.getsockname()[1])], rules)
        peer, _ = listener.accept()
        with peer:
            time.sleep(1.5)
            left = 20_000_000
            while left:
                left -= len(peer.recv(min(left, 1 << 20)))
            time.sleep(0.3)
            peer.sendall(b"all-of-it")
            ended = self.finish(process)
        self.assertIn("all-of-it", ended.out, ended)
        self.assertEqual(self.events("response_timeout"), [])
        self.assert_nothing_passed_through()


class AsyncioCircuit(loops.Circuit, Asyncio):
    pass


class AsyncioShadow(loops.Shadow, Asyncio):
    pass


class Epoll(Urllib):
    selector = "EpollSelector"
    waits = ("epoll_wait", "epoll_pwait", "epoll_pwait2")

    def command(self, url):
        return [PYTHON, "-c", SELECTORS, url, self.selector]


class Poll(Epoll):
    selector = "PollSelector"
    waits = ("poll", "ppoll")


class Select(Epoll):
    selector = "SelectSelector"
    waits = ("select", "pselect6")


class EpollRestart(loops.Restart, Epoll):
    pass


class PollRestart(loops.Restart, Poll):
    pass


class SelectRestart(loops.Restart, Select):
    pass


class EpollBlackHole(loops.BlackHole, Epoll):
    pass


class PollBlackHole(loops.BlackHole, Poll):
    pass


class SelectBlackHole(loops.BlackHole, Select):
    pass


class EpollSilence(loops.Silence, Epoll):
    pass


class PollSilence(loops.Silence, Poll):
    pass


class SelectSilence(loops.Silence, Select):
    pass


if __name__ == "__main__":
    main()
