"""Faults in programs that do not block: what needs no waiting happens at once, and looks like the real thing."""

import nginx
from faults import FaultStage
from stage import PYTHON, main
from test_faults import Server

NODE = ("const net = require('net');\n"
        "let got = 0;\n"
        "const s = net.connect(+process.argv[1], '127.0.0.1', () => s.write('GET / HTTP/1.0\\r\\n\\r\\n'));\n"
        "s.on('data', d => got += d.length);\n"
        "s.on('error', e => { console.log(e.code, got); });\n"
        "s.on('end', () => { console.log('end', got); });\n")

ASYNCIO = ("import asyncio, sys\n"
           "async def ask():\n"
           "    got = 0\n"
           "    try:\n"
           "        reader, writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))\n"
           "        writer.write(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
           "        while part := await reader.read(65536): got += len(part)\n"
           "        print('end', got)\n"
           "    except OSError as e: print(type(e).__name__, got)\n"
           "asyncio.run(ask())\n")


class Loops(FaultStage):
    def clients(self, port):
        return {"node": ["node", "-e", NODE, str(port)], "asyncio": [PYTHON, "-c", ASYNCIO, str(port)]}

    def story(self, fault, expected):
        rules = self.faults(fault)
        for name, command in self.clients(Server(self).port).items():
            self.only_when_armed(lambda how: self.faulty(command, rules, how, seconds=20).out.strip() in expected)
        self.assert_nothing_passed_through()

    def test_connects_are_refused(self):
        self.story("on: [connect], error: ECONNREFUSED", ("ECONNREFUSED 0", "ConnectionRefusedError 0"))
        for event in self.fired():
            self.assertRegex(event["target"], r"^127\.0\.0\.1:[0-9]+$")

    def test_one_attempt_gets_no_answer_and_the_next_one_on_the_same_socket_does(self):
        code = ("import ctypes, errno, select, socket, sys, time\n"
                "libc = ctypes.CDLL(None)\n"
                "s = socket.socket()\n"
                "s.setblocking(False)\n"
                "hops = s.getsockopt(socket.IPPROTO_IP, 21)\n"  # IP_MINTTL
                "def attempt(): return errno.errorcode[s.connect_ex(('127.0.0.1', int(sys.argv[1])))]\n"
                "def is_over(): return bool(select.select([], [s], [], 1.5)[1])\n"
                "print(attempt(), is_over(), attempt(), is_over())\n"
                "libc.connect(s.fileno(), b'\\0' * 16, 16)\n"  # AF_UNSPEC
                "print(s.getsockopt(socket.IPPROTO_IP, 21) == hops, attempt(), is_over())\n")
        rules = self.faults("timeout: {}, on: [connect], nth: 1")
        ended = self.faulty([PYTHON, "-c", code, str(Server(self).port)], rules)
        self.assertEqual(ended.out, "EINPROGRESS False EALREADY False\nTrue EINPROGRESS True\n", ended)

    def test_receives_fail(self):
        self.story("on: [recv], error: ETIMEDOUT", ("ETIMEDOUT 0", "TimeoutError 0"))

    def test_connections_are_reset(self):
        self.story("reset: {after_bytes: 5000}", ("ECONNRESET 5000", "ConnectionResetError 5000"))

    def test_connections_end_early(self):
        self.story("limit_data: 5000", ("end 5000",))

    def test_all_of_it_comes_in_slices(self):
        rules = self.faults("slice: 900")
        for name, command in self.clients(Server(self).port).items():
            ended = self.faulty(command, rules, seconds=20)
            self.assertEqual(ended.out, "end 200043\n", name)
        self.assertGreaterEqual(len(self.fired()), 2)

    def test_a_refused_connect_is_retried_and_the_program_does_not_see_it(self):
        rules = self.faults("on: [connect], error: ECONNREFUSED, times: 2",
                            rules="[{name: a, match: {address: 127.0.0.1}, retry: {max_retries: 3, base_delay: 1ms}}]")
        for name, command in self.clients(Server(self).port).items():
            ended = self.faulty(command, rules, seconds=20)
            self.assertEqual(ended.out, "end 200043\n", name)
        self.assertEqual(self.retries(), 4)

    def test_redis_cli_is_told_of_a_reset(self):
        port = self.server("hang").port
        rules = self.faults("on: [recv], error: ECONNRESET")
        redis = ["redis-cli", "-p", str(port), "ping"]
        self.only_when_armed(lambda how: "reset" in "".join(vars(self.faulty(redis, rules, how, seconds=2))[part] or ""
                                                           for part in ("out", "err")).lower())

    def test_nginx_as_a_proxy_answers_bad_gateway(self):
        port, behind = self.free_port(), self.server("answer").port
        rules = self.faults(f"match: {{port: {behind}}}, on: [recv], error: ECONNRESET")
        conf = self.write("nginx.conf", nginx.configuration(f"""
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}
""") % {"folder": self.folder})

        def story(how):
            environment = {} if how == "with faults that are not armed" else {"RESIL_FAULTS": "1"}
            process = self.start(["nginx", "-c", conf], rules, "with the rules" if not environment else how, **environment)
            self.wait_for(lambda: self.is_listening(port))
            ended = self.run_program(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}/"], how="bare")
            process.terminate()
            process.communicate()
            return ended.out == "502"

        self.only_when_armed(story)


if __name__ == "__main__":
    main()
