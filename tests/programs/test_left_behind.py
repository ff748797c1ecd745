"""A program begins to connect, hands the socket to another process, and exits between two attempts: the other one is not
left waiting for somebody who would carry on."""

import json

from stage import PYTHON, RULED, Stage, main

BETWEEN_ATTEMPTS = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, total: 100s}
retry: {max_retries: 5, base_delay: 90s, max_delay: 90s, factor: 1, jitter: none, budget: off}
"""

# The parent leaves, and the child, which has the socket by fork or over a UNIX socket, waits for it.
CLIENT = """
import ctypes, json, os, select, socket, sys
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", int(sys.argv[1])))
p = select.poll()
p.register(s, select.POLLOUT)
was_seen = bool(p.poll(100))
near, far = socket.socketpair()
if os.fork():
    far.close()
    if sys.argv[2] == "sent":
        socket.send_fds(near, [b"x"], [s.fileno()])
    ctypes.CDLL(None).exit(0)  # python itself would close the socket first
near.close()
if sys.argv[2] == "sent":
    p.unregister(s)
    s.close()
    s = socket.socket(fileno=socket.recv_fds(far, 1, 1)[1][0])
    p.register(s, select.POLLOUT)
far.recv(1)  # the parent is gone
seen = p.poll(20000)
print(json.dumps({"seen before": was_seen, "seen": seen[0][1] & select.POLLERR if seen else 0,
                  "error": s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)}))
"""

ECONNREFUSED, POLLERR = 111, 8


class LeftBehind(Stage):
    def is_refused(self, how_it_came):
        """Bare, the parent itself has seen the failure."""
        server, rules = self.server("refuse"), self.rules(BETWEEN_ATTEMPTS)

        def story(how):
            ended = self.run_program([PYTHON, "-c", CLIENT, str(server.port), how_it_came], rules, how)
            self.assertTrue(ended.is_good, ended)
            said = json.loads(ended.out)
            if how == RULED:
                self.assertFalse(said["seen before"], ended)
                self.assertEqual((said["seen"], said["error"]), (POLLERR, ECONNREFUSED), ended)
            return not said["seen before"]

        self.only_with_rules(story)
        self.assertEqual(len(self.events("retry")), 1)

    def test_a_fork_child_is_refused_when_its_parent_has_exited(self):
        self.is_refused("inherited")

    def test_who_was_sent_it_is_refused_when_the_sender_has_exited(self):
        self.is_refused("sent")


if __name__ == "__main__":
    main()
