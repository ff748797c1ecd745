"""HTTP/2, over TLS from a real nginx and in plaintext: curl, and node's own client of it. What both sides say of themselves is
neither a request nor an answer (policy/http2.h, opening.h); what does not hold for HTTP/2 is told in docs/limits.md."""

import os
import shutil
import socket
import ssl
import subprocess
import threading

import nginx
from stage import BARE, EMPTIED, HANG_S, PATIENCE_S, RULED, Stage, main

NGINX = nginx.configuration("""
    server {
        listen 127.0.0.1:%(port)d %(listen)s;
        ssl_protocols %(versions)s;
        ssl_certificate %(folder)s/cert.pem;
        ssl_certificate_key %(folder)s/key.pem;
        location / { return 200 "[$server_protocol, request $connection_requests]"; }
        location /large { alias %(folder)s/large; }
        location /silent { proxy_pass http://127.0.0.1:%(behind)d; }
    }
""")

# Asks for each path in turn, over one session; a number is a rest of so many ms. Of what it only begins it may want no answer.
NODE = """
const session = require('http2').connect(process.argv[1], {ca: process.env.CA && require('fs').readFileSync(process.env.CA)});
session.on('error', e => { console.error('session', e.code, e.syscall); process.exitCode = 1; });
const ask = path => new Promise(done => {
    const request = session.request({':path': path});
    request.on('data', some => process.stdout.write(some));
    request.on('error', e => { console.error('request', e.code); done(); });
    request.on('end', done);
});
const rest = ms => new Promise(done => setTimeout(done, ms));
let request;
(async () => {
    for (const word of process.argv.slice(2)) {
        if (word.startsWith('/')) await ask(word);
        else if (word === 'cancel') request.close(8);
        else if (word.startsWith('begin')) request = session.request({':path': word.slice(5)});
        else await rest(Number(word));
    }
    session.close();
})();
"""

RULE = """
match: {address: 127.0.0.1, port: %d}
timeout: {connect: 2s, total: 20s, response: 500ms, recv: 300ms, send: 300ms}
retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: {floor: 10000/s}}
"""


class Http2:
    def setUp(self):
        super().setUp()
        for program in self.program, "nginx", "openssl":
            if not shutil.which(program):
                self.skipTest(f"{program} is not installed")
        self.certificate = os.path.join(self.folder, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", os.path.join(self.folder, "key.pem"),
                        "-out", self.certificate], check=True, capture_output=True)

    def asking(self, port, *words):
        """The command that asks for those paths over one connection, with rests between them."""
        raise NotImplementedError

    def asking_in_plaintext(self, port, *words):
        raise NotImplementedError

    def nginx(self, port, behind=9, listen="ssl http2", versions="TLSv1.2 TLSv1.3"):
        """A path of it waits for the server behind it."""
        config = self.write(f"nginx-{port}.conf", NGINX % {"folder": self.folder, "port": port, "behind": behind,
                                                           "listen": listen, "versions": versions})
        return self.daemon(["nginx", "-c", config], port)

    def mute(self, version):
        """The port of a server that agrees on HTTP/2 and then says nothing, but the session tickets of TLS 1.3."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = version
        context.load_cert_chain(self.certificate, os.path.join(self.folder, "key.pem"))
        context.set_alpn_protocols(["h2"])
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        self.addCleanup(server.shutdown, socket.SHUT_RDWR)
        self.agreed = []

        def listen(connection):
            try:
                with context.wrap_socket(connection, server_side=True) as connection:
                    self.agreed.append(connection.selected_alpn_protocol())
                    while connection.recv(1000):
                        pass
            except OSError:
                pass

        def serve():
            try:
                while True:
                    threading.Thread(target=listen, args=(server.accept()[0],), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    def told_in_time(self, command, rules, how):
        """Whether it is told that no answer comes, which it awaits for ever otherwise."""
        ended = self.run_program(command, rules, how, HANG_S if how != RULED else PATIENCE_S)
        self.assertEqual(ended.has_hung, how != RULED, ended)
        return not ended.is_good and self.timed_out in ended.err

    def test_it_survives_a_restart_and_its_idle_connection_is_kept(self):
        """It rests for three times as long as an answer may take, between two requests."""
        def story(how):
            port = self.free_port()
            ended = self.ask_early(self.asking(port, "/", "1500", "/"), self.rules(RULE % port), how, lambda: self.nginx(port))
            return ended.is_good and ended.out == "[HTTP/2.0, request 1][HTTP/2.0, request 2]"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assertEqual(self.events("connect_failed") + self.events("response_timeout"), [])
        self.assert_nothing_passed_through()

    def is_left_alone_when_it_has_said_how_much_more_it_takes(self, asking, **nginx):
        """Nobody answers that. It says so when it has read some 32 KB, and then rests."""
        port = self.free_port()
        self.write("large", "x" * 70000)
        self.nginx(port, **nginx)
        rules = self.rules(RULE % port)
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program(asking(port, "/large", "1500", "/"), rules, how)
            self.assertEqual((ended.status, ended.out[70000:]), (0, "[HTTP/2.0, request 2]"), ended)
        self.assertEqual(self.events("response_timeout"), [])
        self.assert_answered_at_least(2)

    def test_it_is_left_alone_when_it_has_said_how_much_more_it_takes(self):
        self.is_left_alone_when_it_has_said_how_much_more_it_takes(self.asking)

    def assert_answered_at_least(self, number):
        answered = sum(host["answered"] for report in self.reports() for host in report["hosts"])
        self.assertGreaterEqual(answered, number)

    def is_told(self, command, port):
        rules = self.rules(RULE % port)
        self.only_with_rules(lambda how: self.told_in_time(command, rules, how))
        self.assertEqual(len(self.events("response_timeout")), 1)
        self.assert_nothing_passed_through()

    def is_told_that_no_answer_comes(self, version):
        port = self.mute(version)
        self.is_told(self.asking(port, "/"), port)
        self.assertEqual(self.agreed, ["h2"] * 3)

    def test_it_is_told_that_no_answer_comes(self):
        self.is_told_that_no_answer_comes(ssl.TLSVersion.TLSv1_2)

    def test_tickets_are_no_answer(self):
        self.is_told_that_no_answer_comes(ssl.TLSVersion.TLSv1_3)

    def settings_are_no_answer(self, asking, **nginx):
        """nginx is there, and what is behind it is not. Over TLS a short request cannot be told from the settings it comes with."""
        port = self.free_port()
        self.nginx(port, self.server("hang").port, **nginx)
        self.is_told(asking(port, "/silent?and=" + "so-on-" * 16), port)

    def test_settings_are_no_answer(self):
        self.settings_are_no_answer(self.asking, versions="TLSv1.3")

    def test_settings_are_no_answer_over_tls_1_2(self):
        self.settings_are_no_answer(self.asking, versions="TLSv1.2")

    def test_settings_are_no_answer_in_plaintext(self):
        self.settings_are_no_answer(self.asking_in_plaintext, listen="http2")

    def test_it_is_told_that_nobody_speaks(self):
        """In plaintext, from the first byte on."""
        port = self.server("hang").port
        self.is_told(self.asking_in_plaintext(port, "/"), port)


class Curl(Http2, Stage):
    program = "curl"
    timed_out = "Connection timed out"

    def asking(self, port, *words):
        return self.curl("https", port, words, "--http2", "--cacert", self.certificate)

    def asking_in_plaintext(self, port, *words):
        return self.curl("http", port, words, "--http2-prior-knowledge")

    def curl(self, scheme, port, words, *options):
        """What it has of rests is a rate: each request begins so long after the one before."""
        rests = [int(word) for word in words if not word.startswith("/")]
        rate = ["--rate", f"{60000 // rests[0]}/m"] if rests else []
        urls = [f"{scheme}://127.0.0.1:{port}{word}" for word in words if word.startswith("/")]
        return ["curl", "-sSN", *options, *rate, *urls]


class Node(Http2, Stage):
    program = "node"
    timed_out = "ETIMEDOUT"

    def asking(self, port, *words):
        return ["env", f"CA={self.certificate}", "node", "-e", NODE, f"https://127.0.0.1:{port}", *words]

    def asking_in_plaintext(self, port, *words):
        return ["node", "-e", NODE, f"http://127.0.0.1:{port}", *words]

    def test_it_is_told_that_a_later_request_is_not_answered(self):
        """One that is longer than what nobody has to answer."""
        port = self.free_port()
        self.nginx(port, self.server("hang").port)
        self.is_told(self.asking(port, "/", "/silent?for=a-long-long-long-time"), port)

    def test_it_is_left_alone_then_in_plaintext_too(self):
        self.is_left_alone_when_it_has_said_how_much_more_it_takes(self.asking_in_plaintext, listen="http2")

    def is_left_alone_when_it_has_asked_for_nothing(self, asking, **nginx):
        """It connects a while before it asks, as pools do."""
        port = self.free_port()
        self.nginx(port, **nginx)
        rules = self.rules(RULE % port)
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program(asking(port, "1500", "/"), rules, how)
            self.assertEqual((ended.status, ended.out), (0, "[HTTP/2.0, request 1]"), ended)
        self.assertEqual(self.events("response_timeout"), [])
        self.assert_answered_at_least(1)

    def is_left_alone_when_it_wants_no_answer_any_more(self, asking, **nginx):
        port = self.free_port()
        self.nginx(port, self.server("hang").port, **nginx)
        rules = self.rules(RULE % port)
        words = ["begin/silent?and=" + "so-on-" * 16, "200", "cancel", "1500", "/"]
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program(asking(port, *words), rules, how)
            self.assertEqual((ended.status, ended.out), (0, "[HTTP/2.0, request 2]"), ended)
        self.assertEqual(self.events("response_timeout"), [])
        self.assert_answered_at_least(1)

    def test_it_is_left_alone_when_it_wants_no_answer_any_more(self):
        self.is_left_alone_when_it_wants_no_answer_any_more(self.asking, versions="TLSv1.3")

    def test_it_is_left_alone_then_without_tls(self):
        self.is_left_alone_when_it_wants_no_answer_any_more(self.asking_in_plaintext, listen="http2")

    def test_it_is_left_alone_when_it_has_asked_for_nothing(self):
        self.is_left_alone_when_it_has_asked_for_nothing(self.asking, versions="TLSv1.3")

    def test_it_is_left_alone_then_in_plaintext_as_well(self):
        self.is_left_alone_when_it_has_asked_for_nothing(self.asking_in_plaintext, listen="http2")


if __name__ == "__main__":
    main()
