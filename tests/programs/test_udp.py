"""UDP: connecting proves nothing there; what counts is whether an answer comes, and who waits how long for it."""

import socket
import threading

from stage import BARE, HANG_S, PYTHON, RULED, Stage, main

PYTHON_CLIENT = """
import socket, sys
try:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", int(sys.argv[1])))
    s.send(b"ping")
    print("got", s.recv(100, socket.MSG_WAITALL).decode() or "nothing")
except OSError as e:
    sys.exit(f"errno {e.errno}")
"""

PERL_CLIENT = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$ARGV[0]", Proto => "udp") or die "connect: $!\\n";
defined $s->send("ping") or die "send: $!\\n";
my $n = sysread($s, my $answer, 100);
defined $n or die "read: $!\\n";
print "got $answer\\n";
"""

ASYNCIO_CLIENT = """
import asyncio, sys
async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    class Asking(asyncio.DatagramProtocol):
        def connection_made(self, transport): transport.sendto(b"ping")
        def datagram_received(self, data, address): done.set_result(data.decode())
        def error_received(self, error): done.set_exception(error)
    try: await loop.create_datagram_endpoint(Asking, remote_addr=("127.0.0.1", int(sys.argv[1])))
    except OSError as e: sys.exit(f"connect: errno {e.errno}")
    try: print("got", await done)
    except OSError as e: sys.exit(f"read: errno {e.errno}")
asyncio.run(main())
"""

NODE_CLIENT = """
const socket = require('dgram').createSocket('udp4')
const fail = what => error => { console.error(`${what}: ${error.code}`); process.exit(1) }
socket.on('error', fail('read')).on('message', data => { console.log(`got ${data}`); socket.close() })
socket.connect(+process.argv[1], '127.0.0.1', error => error ? fail('connect')(error) : socket.send('ping'))
"""

# Two questions on one socket: what was told of the first does not belong to the second.
WAITS_CLIENT = """
import errno, select, socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.setblocking(False)
s.connect(("127.0.0.1", int(sys.argv[2])))
def epoll(more=0):
    waits = select.epoll()
    waits.register(s, select.EPOLLIN | more)
    return waits.poll
def poll():
    waits = select.poll()
    waits.register(s, select.POLLIN)
    return waits.poll
make = {"select": lambda: lambda: select.select([s], [], []), "poll": poll, "epoll": epoll, "edges": lambda: epoll(select.EPOLLET)}
wait = make[sys.argv[1]]()
for _ in range(2):
    s.send(b"ping")
    wait()
    try: print("got", s.recv(100))
    except OSError as e: print(errno.errorcode[e.errno], file=sys.stderr)
    try: print("got", s.recv(100))
    except OSError as e: print(errno.errorcode[e.errno], file=sys.stderr)
"""

BASH_CLIENT = 'exec 3<>/dev/udp/127.0.0.1/$0 && echo ping >&3 && read -r answer <&3 && echo "got $answer"'


class Udp(Stage):
    def peer(self, answer=None):
        """A socket that takes datagrams, and answers them if told with what."""
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind(("127.0.0.1", 0))
        self.addCleanup(peer.close)
        if answer is not None:
            threading.Thread(target=self.answer, args=(peer, answer), daemon=True).start()
        return peer

    @staticmethod
    def answer(peer, answer):
        try:
            while True:
                peer.sendto(answer, peer.recvfrom(100)[1])
        except OSError:
            pass

    def deaf_port(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            return taken.getsockname()[1]

    def is_told(self, command, says, timeouts, event, *passed_by_nature):
        rules = self.rules(f"match: {{address: 127.0.0.1, protocol: udp}}\ntimeout: {{{timeouts}}}\n")
        port = self.peer().getsockname()[1]

        def story(how):
            ended = self.run_program([*command, str(port)], rules, how, 30 if how == RULED else HANG_S / 2)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return says in ended.err

        self.only_with_rules(story)
        self.assertEqual(len(self.events(event)), 1)
        self.assertEqual(self.events(event)[0]["target"], f"127.0.0.1:{port}")
        self.assert_nothing_passed_through(*passed_by_nature)

    def test_python_is_told_that_no_answer_comes(self):
        self.is_told([PYTHON, "-c", PYTHON_CLIENT], "errno 110", "response: 300ms", "response_timeout")

    def test_perl_is_told_that_no_data_comes(self):
        self.is_told(["perl", "-e", PERL_CLIENT], "read: Connection timed out", "recv: 300ms", "recv_timeout")

    def test_bash_is_told_that_no_data_comes(self):
        """It sends by stdio, which we do not see, through a copy of the descriptor that it connected."""
        self.is_told(["bash", "-c", BASH_CLIENT], "Connection timed out", "recv: 300ms", "recv_timeout")

    def test_asyncio_is_told_that_no_answer_comes(self):
        self.is_told([PYTHON, "-c", ASYNCIO_CLIENT], "read: errno 110", "response: 300ms", "response_timeout")

    def test_node_is_told_that_no_answer_comes(self):
        self.is_told(["node", "-e", NODE_CLIENT], "read: ETIMEDOUT", "response: 300ms", "response_timeout", "asleep")

    def test_every_wait_shows_once_that_no_answer_comes(self):
        rules = self.rules("match: {address: 127.0.0.1, protocol: udp}\ntimeout: {response: 300ms}\n")
        port = self.peer().getsockname()[1]
        for number, wait in enumerate(("select", "poll", "epoll", "edges"), 1):
            command = [PYTHON, "-c", WAITS_CLIENT, wait, str(port)]
            self.only_with_rules(lambda how: self.run_program(command, rules, how, 30 if how == RULED else 1).err ==
                                 "ETIMEDOUT\nEAGAIN\n" * 2)
            self.assertEqual(len(self.events("response_timeout")), 2 * number)
        self.assert_nothing_passed_through()

    def test_answers_in_time_are_just_answers(self):
        rules = self.rules("match: {address: 127.0.0.1, protocol: udp}\ntimeout: {response: 20s, send: 20s, recv: 20s}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s}\n")
        for command in [PYTHON, "-c", ASYNCIO_CLIENT], ["node", "-e", NODE_CLIENT]:
            peer = self.peer(b"pong")
            for how in BARE, RULED:
                ended = self.run_program([*command, str(peer.getsockname()[1])], rules, how, 10)
                self.assertEqual((ended.out, ended.err), ("got pong\n", ""), ended)
        self.assertEqual(sum(host["answered"] for report in self.reports() for host in report["hosts"]), 2)
        self.assert_nothing_passed_through("asleep")

    def test_what_is_not_enforced_changes_nothing(self):
        rules = self.rules("match: {address: 127.0.0.1, protocol: udp}\ntimeout: {response: 300ms}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s}\nenforce: 0%\n")
        port = self.deaf_port()
        for _ in range(2):
            ended = self.run_program([PYTHON, "-c", ASYNCIO_CLIENT, str(port)], rules)
            self.assertEqual(ended.err, "read: errno 111\n", ended)
        self.assertTrue(all(event["shadow"] for event in self.events("circuit_open") + self.events("rejected")))
        self.assertEqual(len(self.events("rejected")), 1)

    def test_the_rules_for_tcp_leave_it_alone(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 300ms, recv: 300ms}\n")
        port = self.peer().getsockname()[1]
        self.assertTrue(self.run_program([PYTHON, "-c", PYTHON_CLIENT, str(port)], rules, RULED, HANG_S / 2).has_hung)

    def circuit(self, port, rules, says, come_up, client=("perl", "-e", PERL_CLIENT), rejected="connect: Connection refused"):
        """Two exchanges fail, the third is not begun; once the server answers, the probe closes the circuit."""
        def story(how):
            for _ in range(2):
                ended = self.run_program([*client, str(port)], rules, how, HANG_S / 2)
                self.assertFalse(ended.is_good, ended)
                self.assertTrue(says in ended.err or ended.has_hung, ended)
            ended = self.run_program([*client, str(port)], rules, how, HANG_S / 2)
            return rejected in ended.err

        self.only_with_rules(story)
        self.assertEqual(len(self.events("circuit_open")), 1)
        self.assertEqual(len(self.events("rejected")), 1)
        come_up()
        self.wait_for(lambda: "probe due" in self.resil("status"))
        ended = self.run_program([*client, str(port)], rules)
        self.assertEqual(ended.out, "got pong\n", ended)
        self.assertEqual(len(self.events("circuit_closed")), 1)

    def test_a_port_that_nobody_has_opens_the_circuit(self):
        self.refusals_open_the_circuit("read: Connection refused")

    def test_a_port_that_nobody_has_opens_the_circuit_of_asyncio(self):
        self.refusals_open_the_circuit("read: errno 111", (PYTHON, "-c", ASYNCIO_CLIENT), "connect: errno 111")

    def test_a_port_that_nobody_has_opens_the_circuit_of_node(self):
        self.refusals_open_the_circuit("read: ECONNREFUSED", ("node", "-e", NODE_CLIENT), "connect: ECONNREFUSED")

    def refusals_open_the_circuit(self, says, *client_and_how_it_is_rejected):
        rules = self.rules("match: {address: 127.0.0.1, protocol: udp}\n"
                           "breaker: {failure_threshold: 2, recovery_timeout: 2s, jitter: 0%}\n")
        port = self.deaf_port()

        def come_up():
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            peer.bind(("127.0.0.1", port))
            self.addCleanup(peer.close)
            threading.Thread(target=self.answer, args=(peer, b"pong"), daemon=True).start()

        self.circuit(port, rules, says, come_up, *client_and_how_it_is_rejected)

    def test_answers_that_do_not_come_open_the_circuit_of_asyncio(self):
        self.silence_opens_the_circuit("read: errno 110", (PYTHON, "-c", ASYNCIO_CLIENT), "connect: errno 111")

    def test_answers_that_do_not_come_open_the_circuit(self):
        self.silence_opens_the_circuit("read: Connection timed out")

    def silence_opens_the_circuit(self, says, *client_and_how_it_is_rejected):
        rules = self.rules("match: {address: 127.0.0.1, protocol: udp}\ntimeout: {response: 200ms}\n"
                           "breaker: {failure_threshold: 2, recovery_timeout: 2s, jitter: 0%}\n")
        peer = self.peer()

        def come_up():
            threading.Thread(target=self.answer, args=(peer, b"pong"), daemon=True).start()

        self.circuit(peer.getsockname()[1], rules, says, come_up, *client_and_how_it_is_rejected)

    def test_an_empty_datagram_is_an_answer_and_a_short_one_is_whole(self):
        rules = self.rules("match: {address: 127.0.0.1, protocol: udp}\ntimeout: {response: 20s, recv: 20s}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s}\n")
        for answer, expected in (b"", "got nothing"), (b"pong", "got pong"):
            peer = self.peer(answer)
            for how in BARE, RULED:
                ended = self.run_program([PYTHON, "-c", PYTHON_CLIENT, str(peer.getsockname()[1])], rules, how, 10)
                self.assertEqual(ended.out.strip(), expected, ended)
        self.assertEqual(self.events("circuit_open"), [])
        self.assertEqual(sum(host["answered"] for report in self.reports() for host in report["hosts"]), 2)


if __name__ == "__main__":
    main()
