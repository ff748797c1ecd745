"""curl waits in poll and connects without blocking; what holds for one transfer holds for many at once."""

import os
import shutil
import subprocess

import loops
import nginx
from stage import HANG_S, PATIENCE_S, RULED, main

MANY = 200


class Curl(loops.Program):
    program = "curl"
    timed_out = "Connection timed out"
    refused = "couldn't connect"
    waits = ("ppoll",)

    def command(self, url):
        return ["curl", "-sSv", url]


class Restart(loops.Restart, Curl):
    def test_many_at_once_survive_it(self):
        self.many_survive_a_restart(lambda url: ["curl", "-sS", "--parallel", "--parallel-immediate", "--parallel-max",
                                                 str(MANY), f"{url}[1-{MANY}]"], MANY)


class BlackHole(loops.BlackHole, Curl):
    def test_giving_up_by_itself_teaches_the_circuit(self):
        """Abandoned when the kernel had to ask again: a timeout, though no timeout of ours was reached."""
        server = self.server("blackhole")
        rules = self.rules("match: {address: 127.0.0.1}\n"
                           "timeout: {connect: 20s, total: 40s}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s}\n")
        command = ["curl", "-sS", "--connect-timeout", "2", server.url()]

        def story(how):
            first = self.run_program(command, rules, how)
            self.assertIn("timeout", (first.err + first.out).lower().replace("timed out", "timeout"), first)
            second = self.run_program(command, rules, how)
            self.assertFalse(second.is_good, second)
            return "(7)" in second.err

        self.only_with_rules(story)
        self.assertEqual(len(self.events("circuit_open")), 1)
        self.assert_nothing_passed_through()

    def test_giving_up_early_says_nothing_of_the_host(self):
        server = self.server("blackhole")
        rules = self.rules("match: {address: 127.0.0.1}\n"
                           "timeout: {connect: 20s, total: 40s}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s}\n")
        for _ in range(2):
            ended = self.run_program(["curl", "-sS", "--connect-timeout", "0.2", server.url()], rules)
            self.assertIn("(28)", ended.err, ended)
        self.assertEqual(self.events("circuit_open"), [])
        self.assert_nothing_passed_through()


class Silence(loops.Silence, Curl):
    def test_a_slow_upload_is_never_cut(self):
        """It takes several times the response timeout, and the answer comes when all of it was read."""
        server = self.server("drain --rate 1000000 --body all-of-it")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 1s, send: 1s}\n")
        body = os.path.join(self.folder, "body")
        with open(body, "wb") as file:
            file.truncate(8_000_000)
        ended = self.run_program(["curl", "-sS", "-H", "Expect:", "-T", body, server.url()], rules)
        self.assertEqual((ended.status, ended.out), (0, "all-of-it"), ended)
        self.assertEqual(self.events("response_timeout") + self.events("send_timeout"), [])
        self.assert_answered(1)
        self.assert_nothing_passed_through()

    def test_an_idle_connection_is_kept(self):
        """Longer than every timeout of the rule between two requests on one connection."""
        server = self.server("answer --body here-I-am --keep-alive")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 300ms, recv: 300ms, send: 300ms}\n")
        ended = self.run_program(["curl", "-sS", "--rate", "60/m", server.url() + "[1-3]"], rules)
        self.assertEqual((ended.status, ended.out.count("here-I-am")), (0, 3), ended)
        self.assertEqual((server.count("accepted"), server.count("answered")), (1, 3))
        self.assert_answered(3)
        self.assert_nothing_passed_through()


class Circuit(loops.Circuit, Curl):
    refused = "(7)"

    def test_hanging_servers_open_it_too(self):
        rules = self.rules(loops.BREAKING % ("200ms", "60s", "60s"))
        server = self.server("hang")
        self.open_circuit(server, rules)
        self.assert_said(self.ask(server.url(), rules), self.refused)
        self.assertEqual(server.count("accepted"), 5)
        self.assert_nothing_passed_through()

    def test_one_of_many_at_once_probes(self):
        rules = self.rules(loops.BREAKING % ("20s", "500ms", "500ms"))
        server = self.server("reset")
        self.open_circuit(server, rules)
        server.mode("hold --body back-again")
        self.assertEqual(server.say("reset-count"), "ok")
        self.wait_for(lambda: "probe due" in self.resil("status"))
        process = self.start(["curl", "-sS", "--parallel", "--parallel-immediate", f"{server.url()}[1-10]"], rules)
        self.assertTrue(server.wait("requests", 1))
        self.assertEqual(server.say("release"), "ok")
        ended = self.finish(process)
        self.assertEqual((server.count("accepted"), ended.out.count("back-again")), (1, 1), ended)
        self.assertEqual(ended.err.count("(7)"), 9, ended)
        self.assertEqual(len(self.events("circuit_closed")), 1)
        self.assert_nothing_passed_through()


class Shadow(loops.Shadow, Curl):
    pass


NGINX = nginx.configuration("""
    server {
        listen 127.0.0.1:%(port)d ssl;
        ssl_certificate %(folder)s/cert.pem;
        ssl_certificate_key %(folder)s/key.pem;
        location / { return 200 over-tls; }
    }
""")


class Tls(Curl):
    program = "nginx"

    def setUp(self):
        super().setUp()
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", os.path.join(self.folder, "key.pem"),
                        "-out", os.path.join(self.folder, "cert.pem")], check=True, capture_output=True)

    def curl(self, port, *options):
        return ["curl", "-sSv", "--cacert", os.path.join(self.folder, "cert.pem"), *options,
                f"https://127.0.0.1:{port}/"]

    def test_it_survives_a_restart(self):
        def story(how):
            port = self.free_port()
            config = self.write("nginx.conf", NGINX % {"folder": self.folder, "port": port})
            ended = self.ask_early(self.curl(port), self.rules(loops.RETRYING % port), how,
                                   lambda: self.daemon(["nginx", "-c", config], port))
            return ended.is_good and ended.out == "over-tls"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def test_a_handshake_that_is_not_answered_is_cut(self):
        server = self.server("hang")
        rules = self.rules(loops.BOUNDED % server.port)

        def story(how):
            ended = self.run_program(self.curl(server.port), rules, how, HANG_S if how != RULED else PATIENCE_S)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return ended.status == 35 and len(self.events("response_timeout")) == 1

        self.only_with_rules(story)
        self.assert_nothing_passed_through()



class Reasons(Curl):
    def test_it_is_told_why_no_other_attempt_follows(self):
        """As for programs that block: the retries, or the budget, are used up."""
        port = self.free_port()
        for retry, reason in ("{max_retries: 1, base_delay: 10ms, jitter: none}", "retries"), (
                "{max_retries: 1, base_delay: 10ms, budget: {ratio: 0%, floor: 0/s}}", "budget"):
            self.state = os.path.join(self.folder, reason)
            rules = self.rules(f"match: {{address: 127.0.0.1}}\nretry: {retry}\n")
            self.run_program(["curl", "-sS", f"http://127.0.0.1:{port}/"], rules)
            (failed,) = self.events("connect_failed")
            self.assertEqual(failed["reason"], reason)


if __name__ == "__main__":
    main()
