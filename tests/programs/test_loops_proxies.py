"""nginx and haproxy as reverse proxies: one loop serves many clients (edge-triggered in nginx), and the guarded connection
is the one to the upstream. It is asked for by curl, which has no rules."""

import os
import shutil

import loops
import nginx
from stage import BARE, HANG_S, LIBRARY, PATIENCE_S, RULED, Stage, main

MANY = 50

RETRYING = """
match: {address: 127.0.0.1, port: %d}
timeout: {connect: 2s, total: 30s}
retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: {floor: 10000/s}}
"""

NGINX = nginx.configuration("""
    upstream behind { server 127.0.0.1:%(upstream)d max_fails=0; keepalive %(idle)d; }
    server {
        listen 127.0.0.1:%(port)d backlog=1024;
        location / {
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            client_max_body_size 0;
        }
    }
""", process="%(process)s;", connections=1024)

HAPROXY = """
defaults
    mode http
    retries 0
    timeout connect 60s
    timeout client 60s
    timeout server 60s
frontend before
    bind 127.0.0.1:%(port)d
    default_backend behind
backend behind
    http-reuse %(reuse)s
    server upstream 127.0.0.1:%(upstream)d
"""


class Nginx(loops.Traced, Stage):
    program = "nginx"
    refused = silent = unanswered = "502 Bad Gateway"
    process = "master_process off"

    def setUp(self):
        super().setUp()
        if not shutil.which(self.program):
            self.skipTest(f"{self.program} is not installed")

    def proxy_command(self, port, upstream, keeps):
        config = NGINX % {"folder": self.folder, "port": port, "upstream": upstream, "process": self.process,
                          "idle": 8 if keeps else 1}
        return ["nginx", "-c", self.write("nginx.conf", config)]

    def proxy(self, upstream, rules, how, keeps=False):
        """Its port, once it listens. Connections to the upstream are kept open if the upstream does so."""
        port = self.free_port()
        process = self.start(self.proxy_command(port, upstream.port, keeps), rules, how)
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)
        self.wait_for(lambda: self.is_listening(port) or process.poll() is not None)
        self.assertIsNone(process.poll())
        return port

    def get(self, port, *options):
        return ["curl", "-sS", *options, f"http://127.0.0.1:{port}/"]

    def ask(self, port, seconds=PATIENCE_S):
        return self.run_program(self.get(port), how=BARE, seconds=seconds)

    def assert_logged_why(self):
        with open(os.path.join(self.folder, "error.log")) as file:
            self.assertIn("(110: Connection timed out)", file.read())


class Upstream:
    def test_its_clients_do_not_see_a_restart(self):
        """The upstream is dead and comes back, twice; 50 clients wait meanwhile."""
        def story(how):
            upstream = self.server("answer --body here-I-am")
            port = self.proxy(upstream, self.rules(RETRYING % upstream.port), how)
            self.assertEqual(self.ask(port).out, "here-I-am")
            for _ in range(2):
                upstream.mode("refuse")
                before = self.retries() if how == RULED else 0
                many = self.start(["curl", "-sS", "--parallel", "--parallel-immediate", "--parallel-max", str(MANY),
                                   f"http://127.0.0.1:{port}/[1-{MANY}]"], how=BARE)
                if how == RULED:
                    self.wait_for(lambda: self.retries() >= before + 10 * MANY or many.poll() is not None)
                    upstream.mode("answer --body here-I-am")
                ended = self.finish(many)
                if ended.out.count("here-I-am") != MANY:
                    self.assertNotEqual(how, RULED, ended)
                    return False
            return upstream.count("answered") == 2 * MANY + 1 and upstream.count("accepted") == 2 * MANY + 1

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 2 * MANY)
        self.assertEqual(self.events("connect_failed"), [])
        self.assert_nothing_passed_through()


class Failures:
    def bounded(self, mode, expected):
        upstream = self.server(mode)
        rules = self.rules(loops.BOUNDED % upstream.port)

        def story(how):
            port = self.proxy(upstream, rules, how)
            ended = self.ask(port, HANG_S if how != RULED else PATIENCE_S)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            if how == RULED:
                self.assert_logged_why()
            return expected in ended.out

        self.only_with_rules(story)
        self.assert_nothing_passed_through()

    def test_a_black_hole_is_reported_in_time(self):
        self.bounded("blackhole", self.silent)
        (failed,) = self.events("connect_failed")
        self.assertEqual((failed["error"], failed["attempt"]), ("ETIMEDOUT", 2))
        self.assertLessEqual(failed["duration_ms"], 2000)

    def test_a_missing_answer_is_reported_in_time(self):
        self.bounded("hang", self.unanswered)
        self.assertEqual(len(self.events("response_timeout")), 1)

    def test_a_slow_upload_is_never_cut(self):
        upstream = self.server("drain --rate 1000000 --body all-of-it")
        rules = self.rules(f"match: {{address: 127.0.0.1, port: {upstream.port}}}\n"
                           "timeout: {response: 1s, send: 1s}\n")
        body = os.path.join(self.folder, "upload")
        with open(body, "wb") as file:
            file.truncate(8_000_000)
        port = self.proxy(upstream, rules, RULED)
        ended = self.run_program(self.get(port, "-H", "Expect:", "-T", body), how=BARE)
        self.assertEqual((ended.status, ended.out), (0, "all-of-it"), ended)
        self.assertEqual(self.events("response_timeout") + self.events("send_timeout"), [])
        self.assert_answered(1)
        self.assert_nothing_passed_through()

    def test_an_idle_connection_is_kept(self):
        """Longer than every timeout of the rule between two requests."""
        upstream = self.server("answer --body here-I-am --keep-alive")
        rules = self.rules(f"match: {{address: 127.0.0.1, port: {upstream.port}}}\n"
                           "timeout: {response: 300ms, recv: 300ms, send: 300ms}\n")
        port = self.proxy(upstream, rules, RULED, keeps=True)
        ended = self.run_program(["curl", "-sS", "--rate", "60/m", f"http://127.0.0.1:{port}/[1-3]"], how=BARE)
        self.assertEqual(ended.out.count("here-I-am"), 3, ended)
        self.assertEqual((upstream.count("accepted"), upstream.count("answered")), (1, 3))
        self.assertEqual(self.events("response_timeout"), [])
        self.assert_answered(3)
        self.assert_nothing_passed_through()


class Breaker:
    def test_a_circuit_opens_and_closes_again(self):
        rules = self.rules(loops.BREAKING % ("20s", "700ms", "700ms"))

        def story(how):
            upstream = self.server("reset")
            port = self.proxy(upstream, rules, how)
            for number in range(5):
                self.assertIn("502", self.ask(port).out)
                self.assertEqual(upstream.count("accepted"), number + 1)
            if how != RULED:
                self.ask(port)
                return upstream.count("accepted") == 5
            upstream.mode("hold --body back-again")
            self.wait_for(lambda: "probe due" in self.resil("status"))
            upstream.say("reset-count")
            probe = self.start(self.get(port), how=BARE)
            self.assertTrue(upstream.wait("requests", 1))
            for _ in range(5):
                self.assertIn(self.refused, self.ask(port).out)
            self.assertEqual(upstream.count("accepted"), 1)
            upstream.say("release")
            self.assertEqual(self.finish(probe).out, "back-again")
            upstream.mode("answer --body for-all")
            return self.ask(port).out == "for-all"

        self.only_with_rules(story)
        self.assertEqual([len(self.events(name)) for name in ("circuit_open", "probe", "circuit_closed")], [1, 1, 1])
        self.assertEqual(sum(host["rejected"] for report in self.reports() for host in report["hosts"]), 5)
        self.assert_nothing_passed_through()


class Awake:
    def test_nothing_of_ours_sleeps_meanwhile(self):
        """As loops.BlackHole has it: what waits is the proxy's own wait, which serves others too."""
        upstream = self.server("blackhole")
        rules = self.rules(loops.BOUNDED % upstream.port)
        trace = os.path.join(self.folder, "trace")
        port = self.free_port()
        process = self.start(["strace", "-D", "-f", "-qq", "-o", trace, f"--env=LD_PRELOAD={LIBRARY}",
                              f"--env=RESIL_RULES={rules}", f"--trace=connect,{loops.SLEEPING_CALLS}",
                              *self.proxy_command(port, upstream.port, False)], how=BARE)
        self.wait_for(lambda: self.is_listening(port) or process.poll() is not None)
        self.assertIn(self.silent, self.ask(port).out)
        process.terminate()
        self.finish(process)
        self.assertEqual(len(self.events("connect_failed")), 1)
        self.assert_only_waits(trace, upstream.port, {"epoll_wait", "epoll_pwait2"})


class Haproxy(Nginx):
    program = "haproxy"
    refused, silent, unanswered = "503 Service Unavailable", "503 Service Unavailable", "502 Bad Gateway"

    def proxy_command(self, port, upstream, keeps):
        config = HAPROXY % {"port": port, "upstream": upstream, "reuse": "always" if keeps else "never"}
        return ["haproxy", "-db", "-f", self.write("haproxy.cfg", config)]

    def assert_logged_why(self):
        """haproxy has no words for it."""


class NginxName(Nginx):
    process = "user root"

    def test_workers_are_known_by_the_name_of_their_program(self):
        """They write "nginx: worker process" over it."""
        upstream = self.server("blackhole")
        rules = self.rules(f"match: {{address: 127.0.0.1, port: {upstream.port}, program: nginx}}\n"
                           "timeout: {connect: 300ms, total: 1s}\n")
        self.ask(self.proxy(upstream, rules, RULED))
        (failed,) = self.events("connect_failed")
        self.assertEqual((failed["error"], failed["program"]), ("ETIMEDOUT", "nginx"))


class NginxUpstream(Upstream, Nginx):
    pass


class NginxFailures(Failures, Awake, Nginx):
    pass


class NginxBreaker(Breaker, Nginx):
    pass


class HaproxyUpstream(Upstream, Haproxy):
    pass


class HaproxyFailures(Failures, Awake, Haproxy):
    pass


class HaproxyBreaker(Breaker, Haproxy):
    pass


if __name__ == "__main__":
    main()
