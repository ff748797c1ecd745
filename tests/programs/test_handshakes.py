"""The end of a TLS handshake is the client's, and nobody has to answer it (policy/tls_flight.h): a connection may be idle then
for longer than an answer may take. A request that is not answered is cut all the same."""

import os
import shutil
import socket
import ssl
import subprocess
import threading

from stage import BARE, EMPTIED, HANG_S, PYTHON, RULED, Stage, main

RULE = "match: {address: 127.0.0.1}\ntimeout: {connect: 2s, response: 300ms}\n"

# Makes a connection, lets it rest for longer than an answer may take, and sends two requests; blocking, or in asyncio.
CLIENT = """
import asyncio, socket, ssl, sys, time
way, port, version = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl._create_unverified_context()
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
def blocking():
    session = None
    for _ in range(int(sys.argv[4])):
        with socket.create_connection(('127.0.0.1', port)) as s, context.wrap_socket(s, session=session) as s:
            time.sleep(1)
            for _ in range(2):
                s.sendall(b'request')
                print(s.recv(100).decode() or 'nothing', s.session_reused)
            session = s.session
async def loop():
    reader, writer = await asyncio.open_connection('127.0.0.1', port, ssl=context)
    await asyncio.sleep(1)
    for _ in range(2):
        writer.write(b'request')
        print((await reader.read(100)).decode() or 'nothing', writer.get_extra_info('ssl_object').session_reused)
try: blocking() if way == 'blocking' else asyncio.run(loop())
except OSError as e: sys.exit(f'{type(e).__name__} {e.errno}')
"""


class Handshakes(Stage):
    def setUp(self):
        super().setUp()
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        self.key, self.certificate = (os.path.join(self.folder, name) for name in ("key.pem", "certificate.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", self.key,
                        "-out", self.certificate], check=True, capture_output=True)

    def tls_server(self, answers=True, tickets=0):
        """Says nothing more once it has finished its own part, until it is asked."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.num_tickets = tickets
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def serve(connection):
            try:
                with context.wrap_socket(connection, server_side=True) as connection:
                    while connection.recv(100):
                        if answers:
                            connection.sendall(b"answer")
            except OSError:
                pass

        def accept():
            try:
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        return server.getsockname()[1]

    def host(self):
        (host,) = (host for report in self.reports() for host in report["hosts"])
        return host

    def may_rest(self, way, version, count=1, said="answer False\n" * 2, answered=3):
        rules = self.rules(RULE)
        port = self.tls_server()
        command = [PYTHON, "-c", CLIENT, way, str(port), version, str(count)]
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program(command, rules, how)
            self.assertEqual((ended.status, ended.out), (0, said), (how, ended))
        host = self.host()
        self.assertEqual((host["timeouts"], host["unanswered"], host["answered"]), (0, 0, answered))
        self.assertLess(host["first_byte"]["sum_ms"], 1000) # what nobody answers is not waited for
        self.assert_nothing_passed_through()

    def test_a_connection_of_tls_1_3_may_rest(self):
        """What is answered is the hello and two requests."""
        self.may_rest("loop", "TLSv1_3")

    def test_one_that_blocks_is_not_waited_for_either(self):
        self.may_rest("blocking", "TLSv1_3")

    def test_one_of_tls_1_2_may_rest(self):
        self.may_rest("loop", "TLSv1_2", answered=4)

    def test_one_of_tls_1_2_that_goes_on_with_a_session_may_rest(self):
        """The first handshake is answered twice, the second once."""
        self.may_rest("blocking", "TLSv1_2", count=2, said="answer False\n" * 2 + "answer True\n" * 2, answered=7)

    def test_a_request_that_is_not_answered_is_cut(self):
        """Where it blocks Python takes every error of the connection for its end."""
        rules = self.rules(RULE)
        for way, says in ("loop", "TimeoutError 110"), ("blocking", "nothing"):
            with self.subTest(way):
                def story(how):
                    command = [PYTHON, "-c", CLIENT, way, str(self.tls_server(answers=False)), "TLSv1_3", "1"]
                    ended = self.run_program(command, rules, how, HANG_S)
                    self.assertNotIn("answer", ended.out)
                    return not ended.has_hung and says in ended.out + ended.err

                self.only_with_rules(story)
        self.assertGreaterEqual(len(self.events("response_timeout")), 2)

    def test_openssl_may_rest(self):
        """It is given its request after a second."""
        rules = self.rules(RULE)
        port = self.tls_server()
        script = ('(sleep 1; echo request; sleep 1) | LD_PRELOAD="$library" openssl s_client -quiet -no_ign_eof -tls1_3 '
                  '-connect 127.0.0.1:"$0" 2>/dev/null')
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program(["sh", "-c", script, str(port)], how=BARE, **self.within(rules, how))
            self.assertEqual((ended.status, ended.out), (0, "answer"), (how, ended))
        host = self.host()
        self.assertEqual((host["timeouts"], host["answered"]), (0, 2))


if __name__ == "__main__":
    main()
