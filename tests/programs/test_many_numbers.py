"""Programs that give select the number of all descriptors that they may have, getdtablesize(), which may be a million."""

from stage import PYTHON, RULED, Stage, main

RETRYING = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, total: 30s}
retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: off}
"""

# The sets are no larger than the kernel's table, and what follows them is not theirs.
CLIENT = """
import ctypes, socket, sys
port, form, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
libc = ctypes.CDLL(None)
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", port))
asked = (ctypes.c_ulong * 16)()
asked[s.fileno() // 64] = 1 << s.fileno() % 64
time = ctypes.byref((ctypes.c_long * 2)(20, 0))
mask = [None] if form == "pselect" else []
result = getattr(libc, form)(count, None, asked, None, time, *mask)
print(result, list(asked)[s.fileno() // 64] == 1 << s.fileno() % 64, s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
s.getpeername()
"""


class ManyNumbers(Stage):
    def survives_a_restart(self, form, count):
        rules = self.rules(RETRYING)

        def story(how):
            server = self.server("refuse")
            ended = self.ask_early([PYTHON, "-c", CLIENT, str(server.port), form, str(count)], rules, how,
                                   lambda: server.mode("answer"))
            return ended.is_good and ended.out == "1 True 0\n"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def test_select_for_more_than_its_own_sets_hold(self):
        self.survives_a_restart("select", 4096)

    def test_select_for_a_million(self):
        self.survives_a_restart("select", 1 << 20)

    def test_pselect_for_a_million(self):
        self.survives_a_restart("pselect", 1 << 20)


if __name__ == "__main__":
    main()
