"""What a program does to its own connection is none of the host's doing; and its deadlines hold in whatever way it asks."""

import socket
import threading

from stage import PYTHON, RULED, Stage, main

COUNTED = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, response: 30s}
breaker: {failure_threshold: 2, recovery_timeout: 60s}
"""
BOUNDED = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, response: 1s}
"""

BEGIN = """
import errno, os, select, socket, sys
port = int(sys.argv[1])
def connection():
    return socket.create_connection(("127.0.0.1", port))
"""

SHUTS = BEGIN + """
for _ in range(4):
    s = connection()
    s.send(b"PING")
    s.shutdown(getattr(socket, sys.argv[2]))
    print(s.recv(10))
"""

SENDS_AFTER_ITS_END = BEGIN + """
for _ in range(4):
    s = connection()
    s.send(b"PING")
    s.shutdown(socket.SHUT_WR)
    try:
        s.send(b"PING")
    except BrokenPipeError:
        print("broken pipe")
"""

# The peer takes the end of what is sent for the end of it all.
IS_NOT_ANSWERED = BEGIN + """
for _ in range(4):
    try:
        s = connection()
    except ConnectionRefusedError:
        sys.exit("refused")
    s.send(b"PING")
    s.shutdown(socket.SHUT_WR)
    assert s.recv(10) == b""
"""

# The kernel tells that it no longer needs what was sent: a message without data, though there is room for some.
ZEROCOPY = BEGIN + """
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000
for _ in range(4):
    s = connection()
    s.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    s.send(b"PING", MSG_ZEROCOPY)
    poll = select.poll()
    poll.register(s, 0)
    assert poll.poll(20000) == [(s.fileno(), select.POLLERR)]
    data, ancillary, flags, address = s.recvmsg(100, 100, socket.MSG_ERRQUEUE)
    print(data, len(ancillary), s.recv(10))
"""

WAITS = BEGIN + """
s = connection()
s.send(b"PING")
if sys.argv[2] == "poll":
    wait = select.poll()
    wait.register(s, select.POLLRDNORM)
    wait.poll(25000)
elif sys.argv[2] == "epoll":
    wait = select.epoll()
    wait.register(s, select.EPOLLRDNORM)
    wait.poll(25)
else:
    import ctypes
    POLL = ctypes.c_short * 8  # for room to write, there being none, and then for data
    halves = lambda number: (number & 0xffff, number >> 16)
    asked = POLL(*halves(s.fileno()), select.POLLPRI, 0, *halves(s.fileno()), select.POLLIN, 0)
    ctypes.CDLL(None).poll(asked, 2, 25000)
try:
    s.recv(10, socket.MSG_DONTWAIT)
except OSError as e:
    print(errno.errorcode[e.errno])
"""

# Requests with pauses in which all is over; before the last one another number takes the connection on.
TAKEN_ON = BEGIN + """
s = connection()
s.setblocking(False)
def answer(ms):
    poll = select.poll()
    poll.register(s, select.POLLIN)
    return bool(poll.poll(ms))
for _ in range(3):
    s.send(b"PING")
    assert answer(20000)
    assert s.recv(10) == b"PING"
    assert not answer(1300)
copy = s.dup()
s.close()
s = copy
s.send(b"HANG")
if answer(20000):
    try:
        s.recv(10)
    except OSError as e:
        print(errno.errorcode[e.errno])
"""

# Connected anew by one number, and used by another.
GOES_ELSEWHERE = BEGIN + """
import ctypes
s = socket.socket()
s.setblocking(False)
copy = s.dup()
def wait(events, ms=20000):
    poll = select.poll()
    poll.register(copy, events)
    return poll.poll(ms)
def connect(port):
    s.connect_ex(("127.0.0.1", port))
    wait(select.POLLOUT)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    copy.send(b"PING")
connect(port)
wait(select.POLLIN)
assert copy.recv(10) == b"PING"
assert ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16) == 0
connect(int(sys.argv[2]))
print(wait(select.POLLIN, 4000))
"""


class Peer:
    """Accepts, and does with each connection what it is told to."""

    def __init__(self, act):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.act, self.kept = act, []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.kept.append(connection)
            threading.Thread(target=self.act, args=(connection,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # the thread that accepts would keep it
        self.listener.close()
        for connection in self.kept:
            connection.close()


def hang(connection):
    pass


def answer(connection):
    try:
        while (data := connection.recv(100)) and data != b"HANG":
            connection.sendall(data)
    except ConnectionResetError:
        pass


def close_at_the_end(connection):
    while connection.recv(100):
        pass
    connection.close()


class OwnDoing(Stage):
    def peer(self, act):
        peer = Peer(act)
        self.addCleanup(peer.close)
        return peer

    def ask(self, code, act, *arguments, rules=COUNTED, how=RULED, **options):
        return self.run_program([PYTHON, "-c", code, str(self.peer(act).port), *arguments], self.rules(rules), how, **options)

    def test_what_the_program_shuts_down_itself_says_nothing_of_the_host(self):
        for end in "SHUT_RDWR", "SHUT_RD":
            ended = self.ask(SHUTS, hang, end)
            self.assertEqual((ended.status, ended.out), (0, "b''\n" * 4), ended)
        self.assertEqual(self.events("circuit_open"), [])

    def test_nor_what_it_sends_after_its_own_end(self):
        ended = self.ask(SENDS_AFTER_ITS_END, hang)
        self.assertEqual((ended.status, ended.out), (0, "broken pipe\n" * 4), ended)
        self.assertEqual(self.events("circuit_open"), [])

    def test_a_peer_that_closes_without_an_answer_has_failed_though_the_program_has_sent_its_end(self):
        ended = self.ask(IS_NOT_ANSWERED, close_at_the_end)
        self.assertIn("refused", ended.err, ended)
        self.assertEqual(len(self.events("circuit_open")), 1)

    def test_a_notice_of_the_kernel_s_is_not_the_end_of_the_connection(self):
        ended = self.ask(ZEROCOPY, answer)
        self.assertEqual((ended.status, ended.out), (0, "b'' 1 b'PING'\n" * 4), ended)
        self.assertEqual(self.events("circuit_open"), [])
        self.assert_answered(4)

    def is_bounded(self, code, act, *arguments):
        def story(how):
            ended = self.ask(code, act, *arguments, rules=BOUNDED, how=how, **({} if how == RULED else {"seconds": 7}))
            return ended.out == "ETIMEDOUT\n"

        self.only_with_rules(story)

    def test_a_poll_for_normal_data_is_one_for_an_answer(self):
        self.is_bounded(WAITS, hang, "poll")

    def test_an_epoll_for_normal_data_is_one_for_an_answer(self):
        self.is_bounded(WAITS, hang, "epoll")

    def test_a_poll_may_have_a_descriptor_twice(self):
        self.is_bounded(WAITS, hang, "twice")

    def test_a_deadline_holds_for_a_copy_when_the_number_that_was_connected_is_closed(self):
        self.is_bounded(TAKEN_ON, answer)

    def test_a_copy_that_goes_elsewhere_is_under_the_rule_of_that(self):
        here, elsewhere = self.peer(answer), self.peer(hang)
        rules = self.rules("match: {address: 127.0.0.1, port: %d}\ntimeout: {response: 2s}\n" % here.port)
        ended = self.run_program([PYTHON, "-c", GOES_ELSEWHERE, str(here.port), str(elsewhere.port)], rules)
        self.assertEqual((ended.status, ended.out), (0, "[]\n"), ended)
        self.assert_answered(1)


if __name__ == "__main__":
    main()
