"""Threads that do the same at the same time, each on a connection of its own that blocks: none is left without its rule."""

import os

from stage import HANG_S, PATIENCE_S, PYTHON, RULED, Stage, main

NUMBER = 12

# All of them connect at once, as the first calls of the program.
CONNECTS = """
import socket, sys, threading
gate = threading.Barrier(int(sys.argv[2]))
def begin():
    with socket.socket() as s:
        gate.wait()
        try: s.connect(('127.0.0.1', int(sys.argv[1])))
        except OSError as e: sys.stdout.write(f'{e.errno}\\n'); sys.stdout.flush()
for _ in range(int(sys.argv[2])): threading.Thread(target=begin).start()
"""

# Each sends a request, waits for its answer in a wait of its own for less than twice the time that it may take, and then
# receives. They begin at once, or `apart` seconds after each other: then the first ones' time is over while others sleep, which
# is what it is about, and no condition that could be waited for.
WAITS = """
PATIENCE = 3.5
import select, socket, sys, threading, time
port, number, way, apart = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
gate = threading.Barrier(number)
def wait(s):
    if way == 'select': return select.select([s], [], [], PATIENCE)[0]
    waiter = select.poll() if way == 'poll' else select.epoll()
    waiter.register(s, select.POLLIN)
    return waiter.poll(PATIENCE * 1000 if way == 'poll' else PATIENCE)
def ask(turn):
    with socket.create_connection(('127.0.0.1', port)) as s:
        gate.wait()
        time.sleep(turn * apart)
        s.sendall(b'request')
        if not wait(s): return
        try: s.recv(100)
        except OSError as e: sys.stdout.write(f'{e.errno}\\n'); sys.stdout.flush()
for turn in range(number): threading.Thread(target=ask, args=(turn,)).start()
"""


class Together(Stage):
    def timeouts(self):
        return sum(host["timeouts"] for report in self.reports() for host in report["hosts"])

    def all_are_told(self, code, port, rules, *more):
        def story(how):
            ended = self.run_program([PYTHON, "-c", code, str(port), str(NUMBER), *more], rules, how,
                                     PATIENCE_S if how == RULED else HANG_S)
            if how == RULED:
                self.assertEqual((ended.has_hung, ended.out), (False, "110\n" * NUMBER), ended)
            return "110" in ended.out

        self.only_with_rules(story)

    def test_their_first_connects(self):
        """Only one of them can read the rules."""
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 500ms}\nretry: off\n")
        self.all_are_told(CONNECTS, self.server("blackhole").port, rules)
        self.assertEqual(self.timeouts(), NUMBER)
        self.assert_nothing_passed_through()

    def each_waits(self, way, apart):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 5s, response: 2s}\n")
        self.all_are_told(WAITS, self.server("hang").port, rules, way, apart)
        self.assertEqual(self.timeouts(), NUMBER)
        self.assertEqual(len(self.events("response_timeout")), NUMBER)
        self.assert_nothing_passed_through("asleep")  # who sends cannot know what the others, who are, wait for

    def test_each_waits_in_poll(self):
        self.each_waits("poll", "0")

    def test_each_waits_in_select(self):
        self.each_waits("select", "0")

    def test_each_waits_in_an_epoll(self):
        self.each_waits("epoll", "0")

    def test_one_after_the_other(self):
        """The first ones' time is over while the others still wait."""
        for way in "poll", "select", "epoll":
            with self.subTest(way):
                self.state = os.path.join(self.folder, "state-" + way)
                self.each_waits(way, "0.15")


if __name__ == "__main__":
    main()
