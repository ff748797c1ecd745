"""nginx as a server: the faults are on the connections that it accepts, which its epoll watches edge-triggered; and TLS
behind it, broken on the side of the client."""

import os
import shutil
import subprocess
import time
import unittest

import nginx
from faults import FaultStage
from stage import BARE, RULED, main

BODY = 200_000

NGINX = nginx.configuration("""
    sendfile %(sendfile)s;
    server {
        listen 127.0.0.1:%(port)d%(tls)s;
        root %(folder)s/pages;
    }
""")


@unittest.skipUnless(shutil.which("nginx"), "nginx is not installed")
class WithNginx(FaultStage):
    def setUp(self):
        super().setUp()
        os.mkdir(os.path.join(self.folder, "pages"))
        self.write("pages/page", "x" * BODY)

    def configure(self, port, sendfile="off", tls=""):
        return ["nginx", "-c", self.write("nginx.conf", NGINX % {"folder": self.folder, "port": port, "sendfile": sendfile,
                                                                 "tls": tls})]

    def curl(self, url, *options):
        return ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", *options, url]


class Server(WithNginx):
    def comes_late(self, fault, least, **options):
        """Its client gets all of the page, `least` seconds later than it would; the client is bare."""
        port = self.free_port()
        rules = self.faults(f"match: {{port: {port}}}, {fault}")

        def story(how):
            server = self.start_faulty(self.configure(port, **options), rules, how)
            self.wait_for(lambda: self.is_listening(port) or server.poll() is not None)
            before = len(self.fired())
            began = time.monotonic()
            ended = self.run_program(self.curl(f"http://127.0.0.1:{port}/page"), how=BARE)
            seconds = time.monotonic() - began
            has_fired = len(self.fired()) > before
            server.terminate()
            server.communicate()
            self.assertEqual(ended.out, f"200 {BODY}", ended)
            self.assertFalse(has_fired and seconds < least, "it says so, and was not late")
            return has_fired

        self.only_when_armed(story)
        self.assert_nothing_passed_through()

    def test_a_request_comes_later(self):
        self.comes_late("on: [recv], latency: 400ms", 0.4)

    def test_an_answer_leaves_later(self):
        self.comes_late("on: [send], nth: 1, per: connection, latency: 400ms", 0.4)

    def test_what_it_serves_is_no_faster_than_its_rate(self):
        self.comes_late("bandwidth: {rate: 400kB/s, burst: 20kB, direction: send}", (BODY - 24_000) / 400_000)

    def test_nor_is_what_it_serves_by_sendfile(self):
        self.comes_late("bandwidth: {rate: 400kB/s, burst: 20kB, direction: send}", (BODY - 24_000) / 400_000, sendfile="on")


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Tls(WithNginx):
    def setUp(self):
        super().setUp()
        key, self.certificate = (os.path.join(self.folder, name) for name in ("key.pem", "cert.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", self.certificate],
                       check=True, capture_output=True)
        self.port = self.free_port()
        tls = f" ssl; ssl_certificate {self.certificate}; ssl_certificate_key {key}"
        self.daemon(self.configure(self.port, tls=tls), self.port)

    def breaks(self, fault, has_broken):
        """curl says that it was reset, and how far it came; without the fault it gets all of the page."""
        rules = self.faults(fault)
        command = self.curl(f"https://127.0.0.1:{self.port}/page", "--cacert", self.certificate)

        def story(how):
            ended = self.faulty(command, rules, how)
            if how != RULED:
                self.assertEqual((ended.status, ended.out), (0, f"200 {BODY}"), ended)
                return False
            code, size = ended.out.split()
            self.assertIn("reset by peer", ended.err)
            return has_broken(ended.status, code, int(size)) and len(self.fired()) == 1

        self.only_when_armed(story)
        self.assert_nothing_passed_through()

    def test_a_reset_breaks_an_answer_off(self):
        self.breaks("reset: {after_bytes: 50000}",
                    lambda status, code, size: status == 56 and code == "200" and 0 < size < 50_000)

    def test_a_reset_breaks_the_handshake_off(self):
        self.breaks("reset: {after_bytes: 200}", lambda status, code, size: status == 35 and (code, size) == ("000", 0))


if __name__ == "__main__":
    main()
