"""Programs that connect without blocking to have a timeout, and then make the descriptor block again, whatever came of it."""

import errno
import shutil
import unittest

from stage import BARE, PYTHON, RULED, Stage, main

# Between two attempts when the program gives up.
PAUSES = """
match: {address: 127.0.0.1}
timeout: {connect: 300ms, total: 60s}
retry: {max_retries: 5, base_delay: 20s, max_delay: 20s, jitter: none, budget: off}
"""

PERL = ["perl", "-e", "use IO::Socket::INET; print IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ARGV[0], "
                      "Timeout => 1) ? 'connected' : $@"]
PHP = ["php", "-r", "$s = @stream_socket_client('tcp://127.0.0.1:' . $argv[1], $number, $text, 1); "
                    "echo $s ? 'connected' : $text;"]

GIVES_UP = """
import select, socket, sys
s = socket.socket()
s.setblocking(False)
s.connect_ex(('127.0.0.1', int(sys.argv[1])))
poll = select.poll()
poll.register(s, select.POLLOUT)
poll.poll(200)
s.setblocking(True)
try:
    print(%s)
except OSError as e:
    print(e.errno)
"""


class BlockingAgain(Stage):
    def test_clients_with_a_timeout_of_their_own_end_by_it(self):
        for client in PERL, PHP:
            if not shutil.which(client[0]):
                continue
            server = self.server("blackhole")
            bare, ended = (self.run_program([*client, str(server.port)], self.rules(PAUSES), how) for how in (BARE, RULED))
            self.assertIn("timed out" if client is PHP else "timeout", bare.out, bare)
            self.assertEqual(ended.out, bare.out, ended)
        self.assertEqual(self.retries(), 2 if shutil.which("php") else 1)

    def test_a_refusal_is_told_to_whoever_asks_first(self):
        for asks in ("s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)", "s.recv(1)", "s.send(b'x')"):
            for how in BARE, RULED:
                ended = self.run_program([PYTHON, "-c", GIVES_UP % asks, str(self.free_port())], self.rules(PAUSES), how)
                self.assertEqual((ended.out, ended.status), (f"{errno.ECONNREFUSED}\n", 0), (how, asks, ended))
        self.assertEqual(self.retries(), 3)

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_no_connect_is_made_on_a_descriptor_that_blocks(self):
        server = self.server("blackhole")
        log = self.folder + "/calls"
        self.run_program(["strace", "-f", "-o", log, "-e", "trace=connect,ioctl,fcntl", *PERL, str(server.port)],
                         self.rules(PAUSES))
        with open(log) as file:
            calls = [line for line in file if f"htons({server.port})" in line or "F_SETFL" in line or "FIONBIO" in line]
        blocks = [number for number, line in enumerate(calls) if "F_SETFL, O_RDWR)" in line or "FIONBIO, [0]" in line]
        connects = [number for number, line in enumerate(calls) if "connect(" in line]
        self.assertGreaterEqual(len(connects), 2, calls)
        self.assertTrue(blocks and max(connects) < max(blocks), calls)


if __name__ == "__main__":
    main()
