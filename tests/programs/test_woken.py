"""Waits that were woken to carry something out, and what is put right after that: programs see no more than they asked for."""

from stage import BARE, EMPTIED, PYTHON, RULED, Stage, main

SILENT = """
import errno, os, select, socket, sys
deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
deaf.bind(("127.0.0.1", 0))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(deaf.getsockname())
s.setblocking(False)
epoll = select.epoll()
epoll.register(s, select.EPOLLIN)
def ask():
    s.send(b"?")
    select.poll().poll(400)  # another wait, in which the deadline comes
    try: s.recv(100)
    except OSError as e: return errno.errorcode[e.errno]
"""

# A filter that answers one system call with EPERM, as old runtimes of containers do with those they do not know.
NO_PWAIT2 = """
import ctypes, select, struct
libc = ctypes.CDLL(None, use_errno=True)
code = b"".join(struct.pack("HBBI", *line) for line in ((0x20, 0, 0, 0), (0x15, 0, 1, 441), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)))
memory = ctypes.create_string_buffer(code)
class Program(ctypes.Structure): _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.addressof(memory)))) == 0
print(select.epoll().poll(0.01), select.epoll().poll(0.01))
"""

OWN_OPTION = """
import os, select, socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30000)
select.poll().poll(1)
s.send(b"?")
try: os.execv("/nowhere/at/all", ["x"])
except OSError: pass
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
"""


class Woken(Stage):
    def setUp(self):
        super().setUp()
        self.rule_file = self.rules("match: {address: 127.0.0.1, protocol: [udp, tcp]}\ntimeout: {response: 100ms}\n")

    def shows_nothing(self, code):
        """The program is told once that no answer came; its epoll has nothing to report, and never says that there is."""
        def story(how):
            ended = self.run_program([PYTHON, "-c", SILENT + code], self.rule_file, how)
            self.assertTrue(ended.is_good, ended)
            said, seen = ended.out.split(" ", 1)
            self.assertEqual(seen, "[] []\n", how)
            return said == "ETIMEDOUT"

        self.only_with_rules(story)

    def test_an_epoll_reports_no_more_than_it_was_asked_for(self):
        self.shows_nothing("print(ask(), epoll.poll(0.05), epoll.poll(0.05))")

    def test_nor_one_that_a_fork_child_has_too(self):
        self.shows_nothing("told, tell = os.pipe()\n"
                           "if os.fork() == 0:\n"
                           "    os.write(tell, ask().encode())\n"
                           "    os._exit(0)\n"
                           "os.wait()\n"
                           "said = os.read(told, 100).decode()\n"
                           "print(said, epoll.poll(0.05), epoll.poll(0.05))")

    def test_an_option_of_its_own_stays_where_an_exec_fails(self):
        port = str(self.server("hang").port)
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program([PYTHON, "-c", OWN_OPTION, port], self.rule_file, how)
            self.assertEqual(ended.out, "30000\n", (how, ended))

    def test_waits_go_on_where_a_newer_system_call_is_forbidden(self):
        for how in BARE, EMPTIED, RULED:
            ended = self.run_program([PYTHON, "-c", NO_PWAIT2], self.rule_file, how)
            self.assertEqual(ended.out, "[] []\n", (how, ended))


if __name__ == "__main__":
    main()
