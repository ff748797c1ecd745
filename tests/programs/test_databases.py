"""redis-cli and psql connect non-blocking and wait in poll. What holds for them is the circuit: one that another program
found open rejects their connects, so that a server that is coming up is not run down. Retries and timeouts are for event
loop support."""

import re
import shutil
import socket
import unittest

from stage import RULED, Stage, main

BREAKING = "match: {address: 127.0.0.1}\nbreaker: {failure_threshold: 1, recovery_timeout: %s, jitter: 0%%}\n"


class Redis(Stage):
    def setUp(self):
        super().setUp()
        if not shutil.which("redis-server") or not shutil.which("redis-cli"):
            self.skipTest("redis is not installed")

    def redis_server(self, port):
        return self.daemon(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
                            self.folder], port)

    def connections(self, port):
        """How many the server counted, without this one."""
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"INFO stats\r\n")
            said = b""
            while b"total_connections_received:" not in said or not said.endswith(b"\r\n"):
                said += connection.recv(65536)
        return int(re.search(rb"total_connections_received:(\d+)", said).group(1)) - 1

    def redis_cli(self, port):
        return ["redis-cli", "-p", str(port), "PING"]

    def test_an_open_circuit_keeps_it_away_from_a_server_that_restarts(self):
        rules = self.rules(BREAKING % "60s")

        def story(how):
            port = self.free_port()
            self.open_circuit(port, rules, how)
            self.redis_server(port)
            ended = self.run_program(self.redis_cli(port), rules, how)
            if how != RULED:
                self.assertEqual((ended.out, self.connections(port)), ("PONG\n", 1), ended)
                return False
            self.assertFalse(ended.is_good, ended)
            self.assertIn("Connection refused", ended.err)
            return self.connections(port) == 0

        self.only_with_rules(story)
        self.assertGreaterEqual(len(self.events("rejected")), 1)
        self.assert_nothing_passed_through()

    def test_once_a_probe_is_due_it_gets_through(self):
        rules = self.rules(BREAKING % "100ms")
        port = self.free_port()
        self.open_circuit(port, rules)
        self.redis_server(port)
        self.wait_for(lambda: "probe due" in self.resil("status"))
        ended = self.run_program(self.redis_cli(port), rules)
        self.assertEqual((ended.out, self.connections(port)), ("PONG\n", 1), ended)
        self.assert_nothing_passed_through("non_blocking")


class Libpq(Stage):
    """libpq's server need not understand what it is asked: whether it was asked is what is counted."""

    @unittest.skipUnless(shutil.which("psql"), "psql is not installed")
    def test_an_open_circuit_keeps_psql_away(self):
        rules = self.rules(BREAKING % "60s")
        command = ["psql", "-X", "-w", "-h", "127.0.0.1", "-U", "nobody", "-c", "select 1", "-p"]

        def story(how):
            server = self.server("refuse")
            self.open_circuit(server.port, rules, how)
            server.mode("close")
            ended = self.run_program([*command, str(server.port)], rules, how, HOME=self.folder,
                                     PGSSLMODE="disable", PGGSSENCMODE="disable")
            self.assertFalse(ended.is_good, ended)
            self.assertIn("Connection refused" if how == RULED else "closed the connection", ended.err)
            return server.count("accepted") == 0

        self.only_with_rules(story)
        self.assertEqual(len(self.events("rejected")), 1)
        self.assert_nothing_passed_through()


if __name__ == "__main__":
    main()
