"""Programs that make other programs: workers with a cleared environment, daemons that close everything, children that
share memory for a moment, children that get a socket for stdin. Rules hold in all of them."""

import os
import shutil
import unittest

import nginx
from stage import BARE, HANG_S, PYTHON, RULED, Stage, main

BOUNDED = "match: {address: 127.0.0.1, port: %d}\ntimeout: {response: 300ms, recv: 300ms}\n"

# Asks a server that never answers and prints the error's number.
ASK = """
def ask(port):
    s = socket.create_connection(('127.0.0.1', port))
    s.sendall(b'x')
    try: return len(s.recv(1))
    except OSError as e: return e.errno
"""

NGINX = nginx.configuration("""
    server {
        listen 127.0.0.1:%(port)d;
        location / { proxy_pass http://127.0.0.1:%(upstream)d; }
    }
""", process="worker_processes 2;\nuser root root;")


class Nginx(Stage):
    @unittest.skipUnless(shutil.which("nginx") and os.geteuid() == 0, "nginx is not installed, or this is not root")
    def test_workers_of_another_user_write_the_log_that_was_made_for_them(self):
        """One that the first process makes is root's, and closed to them; the flight recorder has it all either way."""
        def lines_of_workers(how, is_made):
            upstream, port = self.server("refuse"), self.free_port()
            rules = self.rules("match: {address: 127.0.0.1, port: %d}\ntimeout: {connect: 1s}\nbreaker: {}\n" % upstream.port)
            log = self.write("log", "")
            if is_made:
                os.chown(log, 65534, -1)
            else:
                os.remove(log)
            config = NGINX.replace("user root root", "user nobody nogroup") % {"folder": self.folder, "port": port, "upstream": upstream.port}
            os.chmod(self.folder, 0o755)
            nginx = self.start(["nginx", "-c", self.write("nginx.conf", config)], rules, how, RESIL_LOG=log, RESIL_EARLY="1")
            self.addCleanup(nginx.communicate)
            self.addCleanup(nginx.terminate)
            self.wait_for(lambda: self.is_listening(port) or nginx.poll() is not None)
            if not is_made and how == RULED:  # as root, before the workers
                self.run_program(["perl", "-e", 'socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1))',
                                  str(upstream.port)], rules, RESIL_LOG=log)
            before = os.path.getsize(log) if os.path.exists(log) else 0
            ended = self.run_program(["curl", "-sS", f"http://127.0.0.1:{port}/"], how=BARE)
            self.assertIn("502 Bad Gateway", ended.out)
            if how == RULED:
                self.assertTrue(any(event["program"] == "nginx" for event in self.events("connect_failed")))
            return os.path.getsize(log) - before if os.path.exists(log) else 0

        self.only_with_rules(lambda how: lines_of_workers(how, True) > 0)
        self.assertEqual(lines_of_workers(RULED, False), 0)

    @unittest.skipUnless(shutil.which("nginx"), "nginx is not installed")
    def test_workers_reject_what_an_open_circuit_forbids(self):
        """nginx clears its workers' environment: what they know of the rules they have from before."""
        def story(how):
            upstream, port = self.server("refuse"), self.free_port()
            rules = self.rules("match: {address: 127.0.0.1, port: %d}\n"
                               "breaker: {failure_threshold: 1, recovery_timeout: 60s}\n" % upstream.port)
            self.open_circuit(upstream.port, rules, how)
            upstream.mode("answer --body through")
            config = self.write("nginx.conf", NGINX % {"folder": self.folder, "port": port, "upstream": upstream.port})
            nginx = self.start(["nginx", "-c", config], rules, how)
            self.addCleanup(nginx.communicate)
            self.addCleanup(nginx.terminate)
            self.wait_for(lambda: self.is_listening(port) or nginx.poll() is not None)
            for _ in range(4):  # whichever worker takes it
                ended = self.run_program(["curl", "-sS", f"http://127.0.0.1:{port}/"], how=BARE)
                self.assertEqual("502 Bad Gateway" in ended.out, how == RULED, ended)
            self.assertEqual(upstream.count("accepted"), 0 if how == RULED else 4)
            return how == RULED

        self.only_with_rules(story)
        self.assertEqual(len(self.events("rejected")), 4)
        self.assert_nothing_passed_through()


class Children(Stage):
    def asks_in_vain(self, code, expected, *by_nature):
        """Each of the program's processes writes what it was told; bare, the first hangs."""
        server = self.server("hang")
        rules = self.rules(BOUNDED % server.port)

        def story(how):
            result = os.path.join(self.folder, "result-" + how.replace(" ", "-"))
            ended = self.run_program([PYTHON, "-c", "import os, socket, subprocess, sys, threading\n" + ASK + code,
                                      str(server.port), result], rules, how, 30 if how == RULED else HANG_S / 2)
            if how == RULED:
                self.assertTrue(ended.is_good, ended)
                self.wait_for(lambda: os.path.exists(result))
            if not os.path.exists(result):
                return False
            with open(result) as file:
                self.assertEqual(file.read(), expected)
            return True

        self.only_with_rules(story)
        self.assertEqual(len(self.events("response_timeout")), expected.count("110"))
        self.assert_nothing_passed_through(*by_nature)

    SAY = ("def say(text):\n"
           "    with open(sys.argv[2] + '.new', 'w') as f: f.write(text)\n"
           "    os.rename(sys.argv[2] + '.new', sys.argv[2])\n")

    def test_a_daemon_that_closes_everything(self):
        """Twice forked, all descriptors closed, nobody's session but its own."""
        self.asks_in_vain(self.SAY +
                          "if os.fork(): os._exit(0)\n"
                          "os.setsid()\n"
                          "if os.fork(): os._exit(0)\n"
                          "os.closerange(0, 4096)\n"
                          "for _ in range(3): os.open('/dev/null', os.O_RDWR)\n"
                          "say(f'{ask(int(sys.argv[1]))}')\n", "110")

    def test_a_daemon_that_had_a_guarded_connection_closes_everything(self):
        """The daemon's next connection gets the number of the old one."""
        self.asks_in_vain(self.SAY +
                          "old = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                          "if os.fork(): os._exit(0)\n"
                          "os.setsid()\n"
                          "number = old.detach()\n"
                          "os.closerange(0, 4096)\n"
                          "for _ in range(3): os.open('/dev/null', os.O_RDWR)\n"
                          "say(f'{ask(int(sys.argv[1]))}')\n", "110")

    def test_a_parent_and_the_child_that_subprocess_makes(self):
        """subprocess uses vfork, and its child closes what it does not need: the parent's connection is as it was."""
        self.asks_in_vain(self.SAY +
                          "child = 'import socket, sys\\n' + '''" + ASK + "''' + 'print(ask(int(sys.argv[1])))'\n"
                          "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                          "of_child = subprocess.run([sys.executable, '-c', child, sys.argv[1]], capture_output=True, text=True).stdout\n"
                          "s.sendall(b'x')\n"
                          "try: s.recv(1)\n"
                          "except OSError as e: say(f'{of_child.strip()} {e.errno}')\n", "110 110",
                          "not_ours")  # the vfork child's closing

    def test_a_server_whose_children_get_the_connection_as_stdin(self):
        """As inetd does it. What came in is nobody's rule; what the child opens itself is."""
        child = self.write("child.py", "import os, socket, sys\n" + ASK +
                           "first = os.read(0, 10).decode()\n"
                           "os.write(1, f'{first} {ask(int(sys.argv[1]))}'.encode())\n")
        code = (self.SAY +
                "listener = socket.create_server(('127.0.0.1', 0))\n"
                "def client():\n"
                "    c = socket.create_connection(listener.getsockname())\n"
                "    c.settimeout(20)\n"
                "    threading.Event().wait(0.7)\n"  # more than the rule's timeouts: they are not for this connection
                "    c.sendall(b'late')\n"
                "    said = b''\n"
                "    while got := c.recv(100): said += got\n"
                "    say(said.decode())\n"
                "t = threading.Thread(target=client)\n"
                "t.start()\n"
                "s, _ = listener.accept()\n"
                "if os.fork() == 0:\n"
                "    os.dup2(s.fileno(), 0); os.dup2(s.fileno(), 1)\n"
                "    os.execv(sys.executable, [sys.executable, '" + child + "', sys.argv[1]])\n"
                "s.close()\n"
                "t.join()\n")
        self.asks_in_vain(code, "late 110")


class Confined(Stage):
    @unittest.skipUnless(os.geteuid() == 0, "only root may chroot")
    def test_early_rules_and_state_are_had_where_they_are_out_of_reach(self):
        """Nothing connects before the program has locked itself up; RESIL_EARLY=1 is for that."""
        server = self.server("hang")
        rules = self.rules(BOUNDED % server.port)
        code = "import os, socket, sys, encodings.idna\n" + ASK + "os.chroot(sys.argv[2])\nos.chdir('/')\nprint(ask(int(sys.argv[1])))"

        def story(how, early="1", seconds=None):
            seconds = seconds or (30 if how == RULED else HANG_S / 2)
            return self.run_program([PYTHON, "-c", code, str(server.port), self.folder], rules, how, seconds,
                                    RESIL_EARLY=early).out == "110\n"

        self.only_with_rules(story)
        self.assertFalse(story(RULED, early="0", seconds=HANG_S / 2))
        self.assertEqual(len(self.events("response_timeout")), 1)
        self.assert_nothing_passed_through()


if __name__ == "__main__":
    main()
