"""Clients of databases, and of HTTP in other languages: libpq, hiredis, wget, PHP, Ruby and Java. None of them blocks in
connect; all wait in poll, select or epoll."""

import os
import shutil
import unittest
import urllib.parse

import loops
from stage import HANG_S, PATIENCE_S, RULED, Stage, main

JAVA = """
import java.net.URI;
import java.net.http.*;
class Ask {
    public static void main(String[] words) throws Exception {
        try {
            var request = HttpRequest.newBuilder(URI.create(words[0])).version(HttpClient.Version.HTTP_1_1).build();
            System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
        } catch (java.io.IOException e) {
            for (Throwable t = e; t != null; t = t.getCause()) System.err.println(t);
            System.exit(1);
        }
    }
}
"""


class Wget(loops.Program):
    """With a timeout of its own it waits in select before each read."""

    program = "wget"
    waits = ("pselect6", "select")

    def command(self, url):
        return ["wget", "--tries=1", "--timeout=60", "-O-", url]


class WgetSilence(loops.Silence, Wget):
    pass


class WgetCircuit(loops.Circuit, Wget):
    pass


class Php(loops.Program):
    program = "php"
    waits = ("poll", "ppoll")

    def command(self, url):
        return ["php", "-r", "$got = file_get_contents($argv[1]); echo $got; exit($got === false || $got === '' ? 1 : 0);", url]


class PhpRestart(loops.Restart, Php):
    pass


class PhpBlackHole(loops.BlackHole, Php):
    pass


class PhpSilence(loops.Silence, Php):
    timed_out = "HTTP request failed"  # it says no more


class PhpCircuit(loops.Circuit, Php):
    pass


class Ruby(loops.Program):
    program = "ruby"
    timed_out = "Errno::ETIMEDOUT"
    refused = "errno::econnrefused"
    waits = ("poll", "ppoll")

    def command(self, url):
        return ["ruby", "-rnet/http", "-e", "u = URI(ARGV[0])\n"
                "Net::HTTP.start(u.host, u.port, max_retries: 0) { |h| puts h.get('/').body }", url]


class RubyRestart(loops.Restart, Ruby):
    pass


class RubyBlackHole(loops.BlackHole, Ruby):
    pass


class RubySilence(loops.Silence, Ruby):
    pass


class RubyCircuit(loops.Circuit, Ruby):
    pass


class Java(loops.Program):
    program = "java"
    timed_out = "ConnectException"
    refused = "connectexception"

    def command(self, url):
        source = os.path.join(self.folder, "Ask.java")
        if not os.path.exists(source):
            self.write("Ask.java", JAVA)
        return ["java", source, url]


class JavaRestart(loops.Restart, Java):
    pass


class JavaBlackHole(Java):
    """It connects twice where the first attempt fails."""

    def test_it_is_told_of_a_black_hole(self):
        server = self.server("blackhole")
        rules = self.rules(loops.BOUNDED % server.port)

        def story(how):
            ended = self.ask(server.url(), rules, how, HANG_S if how != RULED else PATIENCE_S)
            self.assertFalse(ended.is_good, ended)
            return not ended.has_hung and "connectexception" in ended.err.lower()

        self.only_with_rules(story)
        self.assertGreaterEqual(len(self.events("connect_failed")), 1)
        self.assertEqual({event["error"] for event in self.events("connect_failed")}, {"ETIMEDOUT"})
        self.assert_nothing_passed_through()


class JavaSilence(loops.Silence, Java):
    """It asks twice where no answer has begun."""

    timed_out = "Connection timed out"
    requests = 2


@unittest.skipUnless(shutil.which("psql"), "psql is not installed")
class Psql(loops.Program):
    """libpq's server need not understand what it is asked: psql tells apart how it failed."""

    program = "psql"
    timed_out = "Connection timed out"
    waits = ("poll", "ppoll")

    def setUp(self):
        super().setUp()
        self.settings = {"HOME": self.folder, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}

    def command(self, url):
        at = urllib.parse.urlsplit(url)
        return ["psql", "-X", "-w", "-h", at.hostname, "-p", str(at.port), "-U", "nobody", "-c", "select 1"]


class PsqlRestart(Psql):
    def test_it_reaches_a_server_that_comes_up_late(self):
        def story(how):
            server = self.server("refuse")
            rules = self.rules(loops.RETRYING % server.port)
            process = self.start(self.command(server.url()), rules, how, **self.settings)
            if how == RULED:
                self.wait_for(lambda: self.retries() >= 15 or process.poll() is not None)
                server.mode("close")
            ended = self.finish(process)
            self.assertFalse(ended.is_good, ended)
            return "closed the connection" in ended.err and server.count("accepted") == 1

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()


class PsqlBlackHole(loops.BlackHole, Psql):
    pass


class PsqlSilence(loops.Silence, Psql):
    pass


@unittest.skipUnless(shutil.which("redis-benchmark") and shutil.which("redis-server"), "redis is not installed")
class RedisBenchmark(Stage):
    """50 clients in one loop of its own making."""

    def command(self, port):
        return ["redis-benchmark", "-p", str(port), "-n", "2000", "-c", "50", "-t", "ping_mbulk", "--csv"]

    def test_it_survives_a_restart(self):
        def story(how):
            port = self.free_port()
            redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
            process = self.start(self.command(port), self.rules(loops.RETRYING % port), how)
            if how == RULED:
                self.wait_for(lambda: self.retries() >= 15 or process.poll() is not None)
                self.daemon(redis, port)
            ended = self.finish(process, PATIENCE_S if how == RULED else HANG_S)
            return ended.is_good and "PING_MBULK" in ended.out

        self.only_with_rules(story)
        self.assertGreaterEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def test_it_is_told_of_a_black_hole(self):
        """By the connection that asks for the server's settings. Once its clients' connections fail, for whatever reason,
        it tries for ever to write to them: it must be ended."""
        server = self.server("blackhole")
        rules = self.rules(loops.BOUNDED % server.port)

        def story(how):
            process = self.start(self.command(server.port), rules, how)
            if how == RULED:
                self.wait_for(lambda: len(self.events("connect_failed")) > 1 or process.poll() is not None)
            ended = self.finish(process, 0 if how == RULED else HANG_S)
            return "Connection timed out" in ended.err

        self.only_with_rules(story)
        self.assert_nothing_passed_through()

    def test_it_is_told_that_no_answer_comes(self):
        server = self.server("hang")
        rules = self.rules(loops.BOUNDED % server.port)

        def story(how):
            ended = self.run_program(self.command(server.port), rules, how, HANG_S if how != RULED else PATIENCE_S)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return not ended.has_hung and "Connection timed out" in ended.err + ended.out

        self.only_with_rules(story)
        self.assertTrue(self.events("response_timeout"))
        self.assert_nothing_passed_through()


if __name__ == "__main__":
    main()
