"""A connection is closed behind our back (libuv does so by a system call of its own), and its number becomes a file's, a pipe's
or another socket's: what was known of the connection is none of theirs. All of them see what they see without libresil."""

import os
import shutil
import socket
import subprocess

from stage import BARE, BUILD, EMPTIED, RULED, Stage, main

REUSED = os.path.join(BUILD, "tests/reused")
LOCAL = "match: {address: 127.0.0.1}\n"
SHORT = LOCAL + "timeout: {connect: 100ms, response: 100ms, send: 100ms, total: 1s}\nretry: off\n"
PATIENT = "timeout: {connect: 5s, total: 20s}\nretry: {max_retries: 5, base_delay: 2s, jitter: none, budget: off}\n"


class Numbers(Stage):
    def others_are_left_alone(self, story, mode, text=SHORT, where=None, **environment):
        """Returns what is known of the connection's host, for each taker."""
        hosts = []
        for taker in "file", "pipe", "pair":
            with self.subTest(taker):
                self.state = os.path.join(self.folder, "state-" + taker)
                rules = self.rules(text)

                def see(how):
                    place = where or str(self.server(mode).port)
                    ended = self.run_program([REUSED, story, taker, place], rules, how, **environment)
                    self.assertEqual(ended.status, 0, ended)
                    return ended.out

                bare = see(BARE)
                self.assertIn("read 5 (", bare)
                self.assertEqual(see(EMPTIED), bare)
                self.assertEqual(see(RULED), bare)
                (report,) = [report for report in self.reports() if report["hosts"]]
                self.assertGreaterEqual(report["passed_through"]["stale"], 1)
                hosts += report["hosts"]
        return hosts

    def test_a_refused_connection(self):
        for host in self.others_are_left_alone("refused", "refuse"):
            self.assertEqual((host["calls"], host["failed"]), (1, 1))

    def test_one_that_timed_out(self):
        for host in self.others_are_left_alone("timed-out", "blackhole"):
            self.assertEqual((host["calls"], host["timeouts"]), (1, 1))

    def test_one_that_is_still_on_its_way(self):
        """Its time comes when the number is another's."""
        for host in self.others_are_left_alone("flying", "blackhole", SHORT.replace("connect: 100ms", "connect: 300ms")):
            self.assertEqual((host["calls"], host["connected"], host["timeouts"]), (1, 0, 0))

    def test_one_that_is_between_two_attempts(self):
        for host in self.others_are_left_alone("refused", "refuse", LOCAL + PATIENT):
            self.assertEqual((host["calls"], host["connected"]), (1, 0))

    def test_one_that_was_cut_off(self):
        for host in self.others_are_left_alone("cut", "hang"):
            self.assertEqual((host["calls"], host["timeouts"]), (1, 1))

    def test_one_that_awaits_its_answer(self):
        for host in self.others_are_left_alone("awaiting", "hang"):
            self.assertEqual((host["calls"], host["timeouts"]), (1, 0))

    def test_one_that_has_been_idle(self):
        """What is written to the file is no request, and what is read from it no answer of the host's."""
        for host in self.others_are_left_alone("idle", "answer --keep-alive"):
            self.assertEqual((host["calls"], host["answered"], host["timeouts"]), (1, 1, 0))

    def test_one_whose_circuit_fails_its_next_request(self):
        self.assertEqual(self.rejected("60s")["state"], "open")

    def test_one_that_would_be_the_probe(self):
        """It is not: the next connection is."""
        host = self.rejected("50ms")
        self.assertEqual((host["probe_pid"], host["probes"]), (0, 0))
        self.wait_for(lambda: "probe due" in self.resil("status"))
        self.ruled_server.mode("answer --keep-alive")
        ended = self.run_program([REUSED, "idle", "file", str(self.ruled_server.port)], os.path.join(self.folder, "rules.yaml"))
        self.assertEqual(ended.status, 0, ended)
        self.assertEqual((len(self.events("probe")), len(self.events("circuit_closed"))), (1, 1))

    def rejected(self, recovery):
        """The circuit opens while a connection is idle, and is tried again after `recovery`."""
        rules = self.rules(LOCAL + "timeout: {connect: 2s, response: 2s}\n"
                           "breaker: {failure_threshold: 2, failure_rate: off, recovery_timeout: %s, max_recovery_timeout: %s,"
                           " jitter: 0%%, scope: exchange}\n" % (recovery, recovery))

        def see(how):
            self.ruled_server = server = self.server("answer --keep-alive")
            process = subprocess.Popen([REUSED, "rejecting", "file", str(server.port)], env=self.environment(rules, how),
                                       text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.assertEqual(process.stdout.readline(), "answered\n")
            server.mode("refuse")
            return process.communicate("\n", timeout=30)[0]

        bare = see(BARE)
        self.assertIn("read 5 (line)", bare)
        self.assertEqual(see(EMPTIED), bare)
        self.assertEqual(see(RULED), bare)
        (report,) = [report for report in self.reports() if report["hosts"]]
        self.assertGreaterEqual(report["passed_through"]["stale"], 1)
        self.assertEqual(len(self.events("circuit_open")), 1)
        (host,) = [host for host in report["hosts"] if host["target"].endswith(f":{self.ruled_server.port}")]
        return host

    def test_datagrams_that_were_not_answered(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            port = str(silent.getsockname()[1])
            rule = SHORT.replace("127.0.0.1", "127.0.0.1, protocol: udp")
            for host in self.others_are_left_alone("datagram", None, rule, where=port):
                self.assertEqual(host["timeouts"], 1)

    def test_a_unix_socket_that_is_between_two_attempts(self):
        """It is no longer silent by itself: nothing is withheld of who comes after it."""
        path = os.path.join(self.folder, "server.sock")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            self.others_are_left_alone("local", None, f"match: {{unix: {path}}}\n" + PATIENT, where=path)

    def test_what_stands_in_for_a_server(self):
        rule = LOCAL + 'timeout: {connect: 1s, response: 1s}\ndegrade:\n  - respond: {text: "canned"}\n'
        for host in self.others_are_left_alone("stood-in-for", "refuse", rule):
            self.assertEqual((host["calls"], host["degraded"]), (1, 1))

    def test_one_that_was_to_break_down(self):
        text = ("version: 1\nrules: [{name: tested, match: {address: 127.0.0.1}, timeout: {connect: 1s}}]\n"
                "faults: [{name: breaking, match: {address: 127.0.0.1}, on: [send, recv], after: 2, error: ECONNRESET}]\n")
        self.others_are_left_alone("idle", "answer --keep-alive", text, RESIL_FAULTS="1")


# Who learns that one connection has failed gives up all of them, and reads files.
NODE = """
const fs = require('fs'), net = require('net'), path = process.argv[2], sockets = [];
function readAll() {
    const all = [];
    for (let i = 0; i < 60; i++) {
        const fd = fs.openSync(path), data = Buffer.alloc(100);
        try { all.push(String(data.subarray(0, fs.readSync(fd, data)))); } catch (e) { all.push(e.code); }
    }
    console.log([...new Set(all)].join());
    fs.createReadStream(path).on('error', e => console.log(e.code)).on('data', d => console.log(String(d)))
        .on('close', () => process.exit());
}
for (let i = 0; i < 20; i++) {
    const socket = net.connect({host: '127.0.0.1', port: Number(process.argv[1])}, () => socket.write('x'));
    const giveUp = () => {
        if (sockets.length == 0) return;
        for (const other of sockets.splice(0)) if (other != socket) other.destroy();
        readAll();
    };
    socket.on('error', giveUp).on('close', giveUp);
    sockets.push(socket);
}
setTimeout(() => sockets[0].destroy(), 2000);
"""


class Node(Stage):
    def setUp(self):
        super().setUp()
        if not shutil.which("node"):
            self.skipTest("node is not installed")

    def reads_files(self, mode):
        path = self.write("file", "content")
        rules = self.rules(SHORT)
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program(["node", "-e", NODE, str(self.server(mode).port), path], rules, how)
            self.assertEqual((ended.status, ended.out), (0, "content\ncontent\n"), (how, ended))
        (report,) = [report for report in self.reports() if report["hosts"]]
        self.assertGreaterEqual(report["passed_through"]["stale"], 1)
        (host,) = report["hosts"]
        self.assertEqual(host["calls"], 20)
        return host

    def test_it_reads_files_after_refusals(self):
        self.assertGreaterEqual(self.reads_files("refuse")["failed"], 1)

    def test_it_reads_files_after_connects_that_timed_out(self):
        self.assertGreaterEqual(self.reads_files("blackhole")["timeouts"], 1)

    def test_it_reads_files_after_answers_that_did_not_come(self):
        self.assertGreaterEqual(self.reads_files("hang")["timeouts"], 1)


if __name__ == "__main__":
    main()
