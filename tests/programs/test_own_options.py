"""What a socket has of ours while it connects, the program does not see: its options are its own, and so are the sets of its
select when that is interrupted."""

import os
import socket

from stage import PYTHON, RULED, Stage, main

RETRYING = """
match: {address: 127.0.0.1}
timeout: {connect: 1s, total: 30s}
retry: {max_retries: 100, base_delay: 300ms, max_delay: 300ms, factor: 1, jitter: none, budget: off}
"""

LOCAL = """
match: {unix: %s}
timeout: {connect: 2s, total: 30s}
retry: {max_retries: 100, base_delay: 50ms, max_delay: 50ms, factor: 1, jitter: none, budget: off}
"""

# Sets an option while it connects, and reads it then and once it is connected. With another thread the kernel times attempts
# too.
OPTION = """
import select, socket, sys, threading, time
port, level, option, value = (int(argument) for argument in sys.argv[1:5])
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", port))
p = select.poll()
p.register(s, select.POLLOUT)
before = bool(p.poll(100)), s.getsockopt(level, option)
s.setsockopt(level, option, value)
meanwhile = s.getsockopt(level, option)
is_told = bool(p.poll(5000))
error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
print(*before, meanwhile, is_told, error, s.getsockopt(level, option), flush=True)
"""

INTERRUPTED = """
import ctypes, errno, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGALRM, lambda number, frame: None)
s = socket.socket(socket.AF_UNIX)
s.setblocking(False)
s.connect_ex(sys.argv[1])
asked = (ctypes.c_ulong * 16)(*[0] * 16)
asked[s.fileno() // 64] = 1 << s.fileno() % 64
time = lambda seconds: ctypes.byref((ctypes.c_long * 2)(seconds, 0))
signal.setitimer(signal.ITIMER_REAL, 0.2)
wait = libc.select if sys.argv[2] == "select" else lambda *arguments: libc.pselect(*arguments, None)
result = wait(s.fileno() + 1, None, asked, None, time(20))
print("interrupted" if result == -1 and ctypes.get_errno() == errno.EINTR else f"ready {result}", flush=True)
result = wait(s.fileno() + 1, None, asked, None, time(20))
print(result, s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), flush=True)
s.getpeername()
"""


class OwnOptions(Stage):
    def is_kept(self, mode, level, option, value):
        rules = self.rules(RETRYING)

        def story(how):
            server = self.server(mode)
            client = [PYTHON, "-c", OPTION, str(server.port), str(level), str(option), str(value)]
            process = self.start(client, rules, how)
            if how == RULED:
                self.wait_for(lambda: len(self.events("retry")) >= 2 or process.poll() is not None)
                server.mode("answer")
            return self.finish(process).out == f"False 0 {value} True 0 {value}\n"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def test_its_time_for_what_is_not_acknowledged_is_its_own(self):
        """While an attempt is in flight."""
        self.is_kept("blackhole", socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20000)

    def test_its_minimum_of_hops_is_its_own(self):
        """Between two attempts."""
        self.is_kept("refuse", socket.IPPROTO_IP, 21, 5)  # IP_MINTTL


class InterruptedSelect(Stage):
    def leaves_sets_alone(self, form):
        path = os.path.join(self.folder, "socket")
        rules = self.rules(LOCAL % path)

        def story(how):
            process = self.start([PYTHON, "-c", INTERRUPTED, path, form], rules, how)
            if how == RULED:
                self.assertEqual(process.stdout.readline(), "interrupted\n")
            with socket.socket(socket.AF_UNIX) as server:
                if how == RULED:
                    server.bind(path)
                    server.listen()
                ended = self.finish(process)
            return ended.is_good and ended.out == "1 0\n"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)

    def test_select_leaves_its_sets_alone(self):
        self.leaves_sets_alone("select")

    def test_pselect_leaves_its_sets_alone(self):
        self.leaves_sets_alone("pselect")


if __name__ == "__main__":
    main()
