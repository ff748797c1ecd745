"""The end of a TLS handshake is the client's, and nobody has to answer it (policy/tls_flight.h): a connection may be idle then
for longer than an answer may take. A request that is not answered is cut all the same, also where session tickets come while
it is under way (policy/opening.h), and then the host has failed."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
import unittest

from stage import BARE, EMPTIED, HANG_S, PATIENCE_S, PYTHON, RULED, Stage, main

RULE = "match: {address: 127.0.0.1}\ntimeout: {connect: 2s, response: 1s}\n"

# Makes a connection and sends two requests, before each of which it lets it rest for longer than an answer may take; blocking, or
# in asyncio.
CLIENT = """
import asyncio, socket, ssl, sys, time
way, port, version = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl._create_unverified_context()
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
def blocking():
    session = None
    for _ in range(int(sys.argv[4])):
        with socket.create_connection(('127.0.0.1', port)) as s, context.wrap_socket(s, session=session) as s:
            for _ in range(2):
                time.sleep(1.5)
                s.sendall(b'request')
                print(s.recv(1000).decode() or 'nothing', s.session_reused)
            session = s.session
async def loop():
    reader, writer = await asyncio.open_connection('127.0.0.1', port, ssl=context)
    for _ in range(2):
        await asyncio.sleep(1.5)
        writer.write(b'request')
        print((await reader.read(1000)).decode() or 'nothing', writer.get_extra_info('ssl_object').session_reused)
try: blocking() if way == 'blocking' else asyncio.run(loop())
except OSError as e: sys.exit(f'{type(e).__name__} {e.errno}')
"""

# Two connections, one after the other; the second one goes on with the session of the first.
NODE = """
const tls = require('tls');
const connect = (session, then) => {
    const socket = tls.connect({port: Number(process.argv[1]), host: '127.0.0.1', rejectUnauthorized: false, session}, () => {
        console.log(socket.isSessionReused());
        socket.write('request');
    });
    socket.on('session', s => { session = s; });
    socket.on('data', data => { console.log(String(data)); socket.end(); });
    socket.on('error', e => { console.log(e.code); process.exitCode = 1; });
    socket.on('close', () => then && then(session));
};
connect(undefined, session => connect(session));
"""


class Handshakes(Stage):
    def setUp(self):
        super().setUp()
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        self.key, self.certificate = (os.path.join(self.folder, name) for name in ("key.pem", "certificate.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", self.key,
                        "-out", self.certificate], check=True, capture_output=True)

    def tls_server(self, answers=lambda number: True, tickets=0, answer=b"answer", curve=None, port=0):
        """Says nothing more once it has finished its own part, but tickets, until it is asked; and then, on the connections that
        `answers` says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        context.num_tickets = tickets
        if curve:
            context.set_ecdh_curve(curve)
        server = socket.create_server(("127.0.0.1", port))
        self.addCleanup(server.close)
        self.accepted = 0

        def serve(connection, number):
            try:
                with context.wrap_socket(connection, server_side=True) as connection:
                    while connection.recv(100):
                        if answers(number):
                            connection.sendall(answer)
            except OSError:
                pass

        def accept():
            try:
                while True:
                    connection = server.accept()[0]
                    self.accepted += 1
                    threading.Thread(target=serve, args=(connection, self.accepted), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        return server.getsockname()[1]

    def host(self):
        (host,) = (host for report in self.reports() for host in report["hosts"])
        return host

    def may_rest(self, way, version, count=1, said="answer False\n" * 2, answered=3, **server):
        rules = self.rules(RULE)
        port = self.tls_server(**server)
        command = [PYTHON, "-c", CLIENT, way, str(port), version, str(count)]
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program(command, rules, how)
            self.assertEqual((ended.status, ended.out), (0, said), (how, ended))
        host = self.host()
        self.assertEqual((host["timeouts"], host["unanswered"], host["answered"]), (0, 0, answered))
        self.assertLess(host["first_byte"]["sum_ms"], 2000)  # what nobody answers is not waited for
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

    def test_one_that_is_given_tickets_may_rest(self):
        self.may_rest("loop", "TLSv1_3", tickets=2)

    def test_one_that_blocks_and_is_given_tickets_may_rest(self):
        """Those of the first connection make the second one answer to less."""
        self.may_rest("blocking", "TLSv1_3", count=2, said="answer False\n" * 2 + "answer True\n" * 2, answered=6, tickets=2)

    def test_an_answer_as_long_as_a_ticket_is_one(self):
        """It cannot be told from a ticket, until another one might have come: nothing is held against its host."""
        self.may_rest("loop", "TLSv1_3", said=f"{'x' * 233} False\n" * 2, answer=b"x" * 233)

    def test_one_that_blocks_may_be_given_such_an_answer(self):
        self.may_rest("blocking", "TLSv1_3", said=f"{'x' * 233} False\n" * 2, answer=b"x" * 233)

    def test_one_that_is_asked_for_another_hello_may_rest(self):
        """The server takes another curve than the client has thought, and no change of cipher comes with the client's Finished."""
        self.may_rest("loop", "TLSv1_3", answered=4, tickets=2, curve="secp384r1")

    def test_one_that_asks_for_nothing_says_nothing_of_its_host(self):
        """As those who look at certificates do: it says that it ends, and the server just ends."""
        rules = self.rules(RULE + "breaker: {failure_threshold: 1}\n")
        port = self.tls_server(tickets=2)
        script = 'LD_PRELOAD="$library" openssl s_client -connect 127.0.0.1:"$0" </dev/null 2>/dev/null | grep -c "BEGIN CERT"'
        for how in BARE, EMPTIED, RULED, RULED:
            ended = self.run_program(["sh", "-c", script, str(port)], how=BARE, **self.within(rules, how))
            self.assertEqual((ended.status, ended.out), (0, "1\n"), (how, ended))
        host = self.host()
        self.assertEqual((host["timeouts"], host["unanswered"], host["state"]), (0, 0, "closed"))
        self.assertGreaterEqual(host["answered"], 2)

    def test_a_probe_is_not_kept_for_an_answer_that_may_be_a_ticket(self):
        """The circuit is closed when the answer comes, and not when the connection is used again or has rested for long enough."""
        port = self.free_port()
        rules = self.rules(RULE.replace("response: 1s", "response: 20s") +
                           "breaker: {failure_threshold: 1, recovery_timeout: 100ms, jitter: 0%}\n")
        command = [PYTHON, "-u", "-c", CLIENT, "loop", str(port), "TLSv1_3", "1"]
        self.open_circuit(port, rules)
        self.assertEqual(self.host()["state"], "open")
        self.tls_server(answer=b"x" * 233, port=port)
        for _ in range(1000):  # until the circuit lets it through
            process = self.start(command, rules)
            said = process.stdout.readline()
            if said:
                break
        self.assertEqual((said, self.host()["state"]), ("x" * 233 + " False\n", "closed"))
        self.assertEqual(self.finish(process).out, said)

    def is_not_answered(self, tickets):
        """Where it blocks Python takes every error of the connection for its end."""
        rules = self.rules(RULE)
        for way, says in ("loop", "TimeoutError 110"), ("blocking", "nothing"):
            with self.subTest(way):
                def story(how):
                    port = self.tls_server(answers=lambda number: False, tickets=tickets)
                    command = [PYTHON, "-c", CLIENT, way, str(port), "TLSv1_3", "1"]
                    ended = self.run_program(command, rules, how, PATIENCE_S if how == RULED else HANG_S)
                    self.assertNotIn("answer", ended.out)
                    return not ended.has_hung and says in ended.out + ended.err

                self.only_with_rules(story)
        self.assertGreaterEqual(len(self.events("response_timeout")), 2)

    def test_a_request_that_is_not_answered_is_cut(self):
        self.is_not_answered(tickets=0)

    def test_tickets_do_not_answer_it(self):
        self.is_not_answered(tickets=2)

    @unittest.skipUnless(shutil.which("node"), "node is not installed")
    def test_the_ticket_of_a_session_that_goes_on_does_not_either(self):
        rules = self.rules(RULE)

        def story(how):
            port = self.tls_server(answers=lambda number: number == 1, tickets=2)
            ended = self.run_program(["node", "-e", NODE, str(port)], rules, how, PATIENCE_S if how == RULED else HANG_S)
            self.assertTrue(ended.out.startswith("false\nanswer\ntrue\n"), ended)
            return not ended.has_hung and ended.out.endswith("ETIMEDOUT\n")

        self.only_with_rules(story)
        self.assertEqual(len(self.events("response_timeout")), 1)

    def test_a_host_that_shakes_hands_and_does_not_answer_has_failed(self):
        """Two such requests open its circuit, though each handshake was a good one."""
        rules = self.rules(RULE + "breaker: {failure_threshold: 2}\n")
        for tickets in 0, 2:
            with self.subTest(tickets=tickets):
                port = self.tls_server(answers=lambda number: False, tickets=tickets)
                command = [PYTHON, "-c", CLIENT, "loop", str(port), "TLSv1_3", "1"]
                for how in BARE, EMPTIED:
                    self.assertTrue(self.run_program(command, rules, how, HANG_S).has_hung)
                self.assertEqual(self.accepted, 2)
                says = [self.run_program(command, rules).err for _ in range(3)]
                self.assertIn("TimeoutError 110", says[0])
                self.assertIn("TimeoutError 110", says[1])
                self.assertIn("ConnectionRefusedError 111", says[2])
                self.assertEqual(self.accepted, 4)

    def test_openssl_may_rest(self):
        """It is given its request after two seconds."""
        rules = self.rules(RULE)
        port = self.tls_server()
        script = ('(sleep 2; echo request; sleep 1) | LD_PRELOAD="$library" openssl s_client -quiet -no_ign_eof -tls1_3 '
                  '-connect 127.0.0.1:"$0" 2>/dev/null')
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program(["sh", "-c", script, str(port)], how=BARE, **self.within(rules, how))
            self.assertEqual((ended.status, ended.out), (0, "answer"), (how, ended))
        host = self.host()
        self.assertEqual((host["timeouts"], host["answered"]), (0, 2))


if __name__ == "__main__":
    main()
