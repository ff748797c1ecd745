"""Programs that learn from each other that a host is down, and that it is back, where that takes a real server that is made to
misbehave: libpq, which connects without blocking, and redis-benchmark; and the JVM, which asks twice."""

import os
import shutil
import subprocess
import unittest
import urllib.parse

import loops
import test_loops_clients as clients
from postgres import WithPostgres
from relay import Relay
from stage import PATIENCE_S, RULED, main

SPINS_S = 0.3  # of processor time: far more than a hundred requests take


def seconds_used(process):
    with open(f"/proc/{process}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Behind(loops.Circuit):
    """What the program gets when it gets through is the real server's."""

    def server(self, mode):
        server = Relay(mode, self.port)
        self.addCleanup(server.close)
        return server

    def assert_got(self, ended, body):
        self.assertTrue(ended.is_good, ended)
        self.assertIn(self.answer, ended.out, ended)


class PsqlCircuit(Behind, clients.Psql, WithPostgres):
    """PostgreSQL accepts what it has no time for yet: it is up all the time, and what stands before it is not."""

    answer = "(1 row)"

    def setUp(self):
        super().setUp()
        self.begin()

    def command(self, url):
        port = str(urllib.parse.urlsplit(url).port)
        return ["psql", "-X", "-w", "-h", "127.0.0.1", "-p", port, "-U", "tester", "-d", "postgres", "-c", "select 42"]


@unittest.skipUnless(shutil.which("redis-server"), "redis is not installed")
class RedisBenchmarkCircuit(Behind, loops.Program):
    """It connects once for the server's settings and goes on without them, and then for its client."""

    program = "redis-benchmark"
    refused = "connection refused"
    answer = "PING_MBULK"
    connects = good_connects = 2

    def setUp(self):
        super().setUp()
        self.port = self.free_port()
        self.daemon(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder],
                    self.port)

    def command(self, url):
        port = str(urllib.parse.urlsplit(url).port)
        return ["redis-benchmark", "-p", port, "-n", "100", "-c", "1", "-t", "ping_mbulk", "--csv"]

    def ask(self, url, rules=None, how=RULED):
        """A client whose connect fails later than at once it writes to for ever, without a system call: it must be ended."""
        process = self.start(self.command(url), rules, how)
        self.wait_for(lambda: process.poll() is not None or seconds_used(process.pid) > SPINS_S)
        return self.finish(process, PATIENCE_S if process.poll() is not None else 0)


class JavaCircuit(loops.Circuit, clients.Java):
    """It asks twice where no answer has begun, and connects twice where it could not."""

    connects = 2

    def command(self, url):
        if not os.path.exists(os.path.join(self.folder, "Ask.class")):
            subprocess.run(["javac", "-d", self.folder, self.write("Ask.java", clients.JAVA)], check=True)
        return ["java", "-cp", self.folder, "Ask", url]


if __name__ == "__main__":
    main()
