"""Exchanges in event loops take a short way: what is counted and timed on it, and when it is left."""

import errno

from stage import BARE, PYTHON, RULED, Stage, main

RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, response: 20s}
breaker: {failure_threshold: 3, recovery_timeout: 60s}
"""

# A loop of requests and answers on one connection, over in much less than a tick of the clock each, and an end without a wait.
MANY = """
import select, socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.setblocking(False)
poll = select.poll()
poll.register(s, select.POLLIN)
for _ in range(int(sys.argv[2])):
    s.send(b'PING\\r\\n')
    while True:
        poll.poll(5000)
        try:
            assert s.recv(100) == b'+PONG\\r\\n'
            break
        except BlockingIOError:
            pass
"""

# Made not to block by one number, and to block again by another: it blocks.
BLOCKS_AGAIN = """
import fcntl, os, socket, sys
s = socket.socket()
s.setblocking(False)
copy = os.dup(s.fileno())
fcntl.fcntl(copy, fcntl.F_SETFL, fcntl.fcntl(copy, fcntl.F_GETFL) & ~os.O_NONBLOCK)
try:
    socket.socket.connect(s, ('127.0.0.1', int(sys.argv[1])))
except OSError as e:
    print(e.errno)
"""


class Quick(Stage):
    def host(self):
        hosts = [host for report in self.reports() for host in report["hosts"]]
        self.assertEqual(len(hosts), 1, hosts)
        return hosts[0]

    def redis(self):
        port = self.free_port()
        self.daemon(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder], port)
        return port

    def test_no_answer_is_missed_by_the_counters(self):
        """Most are counted with others, and the last ones when the program ends."""
        port, count = self.redis(), 5000

        def story(how):
            ended = self.run_program([PYTHON, "-c", MANY, str(port), str(count)], self.rules(RULE), how)
            self.assertTrue(ended.is_good, ended)
            return [host["answered"] for report in self.reports() for host in report["hosts"]] == [count]

        self.only_with_rules(story)

    def test_only_the_first_thousand_are_all_timed(self):
        port = self.redis()
        for count in 900, 5000:
            self.run_program([PYTHON, "-c", MANY, str(port), str(count)], self.rules(RULE))
        host = self.host()
        self.assertEqual(host["answered"], 5900, host)
        self.assertGreaterEqual(host["first_byte"]["count"], 1900, host)
        self.assertLess(host["first_byte"]["count"], 5900, host)

    def test_what_was_counted_together_weighs_as_much_when_failures_follow(self):
        """By the share of failures: many successes in the same tick of the clock keep the circuit closed."""
        script = MANY + """
failed = 0
for _ in range(30):
    try:
        socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()
    except OSError as e:
        failed += 1
"""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 5s, response: 20s}\n"
                           "breaker: {failure_threshold: off, failure_rate: {ratio: 50%, minimum_calls: 20, window: 60s}}\n")
        for count, opens in (200, False), (0, True):
            port = self.free_port()
            redis = self.start(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder],
                               how=BARE)
            self.wait_for(lambda: self.is_listening(port))
            stop = script.replace("failed = 0", "import os, signal, time\n"
                                  "os.kill(int(sys.argv[3]), signal.SIGKILL)\n"
                                  "while f':{int(sys.argv[1]):04X} 00000000:0000 0A' in open('/proc/net/tcp').read(): pass\n"
                                  "failed = 0")
            ended = self.run_program([PYTHON, "-c", stop, str(port), str(count), str(redis.pid)], rules, RULED)
            self.assertTrue(ended.is_good, ended)
            states = {host["target"]: host["state"] for report in self.reports() for host in report["hosts"]}
            self.assertEqual(states[f"127.0.0.1:{port}"], "open" if opens else "closed", (count, states))

    def test_a_descriptor_that_blocks_again_by_another_number_is_bounded_as_one_that_blocks(self):
        server = self.server("blackhole")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 300ms}\n")

        def story(how):
            ended = self.run_program([PYTHON, "-c", BLOCKS_AGAIN, str(server.port)], rules, how,
                                     **({} if how == RULED else {"seconds": 2}))
            return ended.out == f"{errno.ETIMEDOUT}\n"

        self.only_with_rules(story)


if __name__ == "__main__":
    main()
