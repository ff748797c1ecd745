"""Circuits that are opened and given back by hand, and faults that are switched, while programs run: each follows at its
very next call."""

import shutil
import subprocess
import unittest

from stage import BARE, PYTHON, RULED, Stage, main
from test_workers import NGINX

RULE = """
match: {address: 127.0.0.1, port: %d}
timeout: {connect: 1s, response: 5s}
breaker: {}
"""

FAULT = """version: 1
rules: [{name: tested, match: {address: 127.0.0.1, port: %d}, timeout: {connect: 1s}}]
faults: [{name: not-reached, match: {address: 127.0.0.1, port: %d}, on: [connect], error: ECONNREFUSED}]
"""

# Each asks once for each line that it reads, and says what came of it.
NODE = """
const http = require('http');
require('readline').createInterface({input: process.stdin}).on('line', () => {
    http.get({host: '127.0.0.1', port: +process.argv[1], agent: false}, answer => {
        let text = '';
        answer.on('data', data => text += data).on('end', () => console.log(text));
    }).on('error', error => console.log(error.code));
});
"""
ASYNCIO = """
import asyncio, sys
async def ask(port):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'GET / HTTP/1.0\\r\\n\\r\\n')
    text = (await reader.read()).decode()
    writer.close()
    return text.split('\\r\\n\\r\\n')[1]
async def main():
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        try: print(await ask(int(sys.argv[1])), flush=True)
        except OSError as error: print('ECONNREFUSED' if error.errno == 111 else error, flush=True)
asyncio.run(main())
"""
BLOCKING = """
import socket, sys
for line in sys.stdin:
    try:
        s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        text = b''
        while got := s.recv(1000): text += got
        print(text.decode().split('\\r\\n\\r\\n')[1], flush=True)
    except OSError as error: print('ECONNREFUSED' if error.errno == 111 else error, flush=True)
"""


class Steering(Stage):
    def follows(self, start, rejected):
        """`start(port, rules, how)` gives a function that makes the program ask once; `rejected` is what it says then."""
        server = self.server("answer --body through")
        self.steered(server, self.rules(RULE % server.port), start, rejected, ["breaker", f"127.0.0.1:{server.port}"],
                     {"open": False, "auto": True, "open again": False, "close": True})
        self.assertEqual(len(self.events("circuit_steered")), 4)
        shutil.rmtree(self.state)
        self.steered(server, self.rules(FAULT % (server.port, server.port)), start, rejected, ["fault", "not-reached"],
                     {"on": False, "off": True, "on again": False, "auto": True})
        self.assertEqual((len(self.events("fault_steered")), len(self.events("fault"))), (4, 2))

    def steered(self, server, rules, start, rejected, what, steps):
        """`steps` are what is said of `what`, and whether the program's next call gets through."""
        command, name = what

        def story(how):
            ask = start(server.port, rules, how)
            self.assertEqual(ask(), "through")
            server.say("reset-count")
            seen = []
            for step in steps:
                if how == RULED:
                    self.resil(command, step.split()[0], name)
                seen.append(ask())
            if how != RULED:
                self.assertEqual(seen, ["through"] * 4)
                return False
            self.assertEqual(server.count("accepted"), 2)
            return seen == ["through" if is_through else rejected for is_through in steps.values()]

        self.only_with_rules(story)

    def lines(self, command):
        """A program that asks for each line."""
        def start(port, rules, how):
            program = subprocess.Popen([*command, str(port)], env=self.environment(rules, how), text=True, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
            self.addCleanup(program.communicate)
            self.addCleanup(program.kill)

            def ask():
                program.stdin.write("\n")
                program.stdin.flush()
                return program.stdout.readline().strip()

            return ask

        return start

    def test_python_that_blocks(self):
        self.follows(self.lines([PYTHON, "-c", BLOCKING]), "ECONNREFUSED")

    def test_python_asyncio(self):
        self.follows(self.lines([PYTHON, "-c", ASYNCIO]), "ECONNREFUSED")

    @unittest.skipUnless(shutil.which("node"), "node is not installed")
    def test_node(self):
        self.follows(self.lines(["node", "-e", NODE]), "ECONNREFUSED")

    @unittest.skipUnless(shutil.which("nginx"), "nginx is not installed")
    def test_nginx_in_each_of_its_workers(self):
        def start(upstream, rules, how):
            port = self.free_port()
            config = self.write("nginx.conf", NGINX % {"folder": self.folder, "port": port, "upstream": upstream})
            nginx = self.start(["nginx", "-c", config], rules, how)
            self.addCleanup(nginx.communicate)
            self.addCleanup(nginx.terminate)
            self.wait_for(lambda: self.is_listening(port) or nginx.poll() is not None)

            def ask():
                ended = self.run_program(["curl", "-sS", f"http://127.0.0.1:{port}/"], how=BARE)
                return "502" if "502 Bad Gateway" in ended.out else ended.out

            return ask

        self.follows(start, "502")


if __name__ == "__main__":
    main()
