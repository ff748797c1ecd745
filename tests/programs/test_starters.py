"""Each starter of rules/ does for a real program what its first lines promise, as it is, with no change to it.

The starters are for hosts of an example domain, and leave loopback alone. So each story has a network namespace of its
own, in which loopback has a public address too, and an /etc/hosts that names it.
"""

import os

from stage import HANG_S, RULED, PYTHON, Stage, main

STARTERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../rules")
ADDRESS = "192.0.2.10"

# Listens after a while, answers or not, and becomes the program; all of that in the namespace.
SERVER = """import ctypes, os, socket, sys, time
port, late_s, mode = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if os.fork() == 0:
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: it ends with the program
    time.sleep(late_s)
    listener = socket.create_server(("192.0.2.10", port))
    kept = []
    while True:
        connection, _ = listener.accept()
        kept.append(connection)
        if mode == "answer":
            connection.sendall(b"ready")
if late_s == 0:
    while socket.socket().connect_ex(("192.0.2.10", port)) != 0:
        time.sleep(0.01)
os.execvp(sys.argv[4], sys.argv[4:])
"""


class Starters(Stage):
    def beside(self, port, late_s, mode, program):
        server = self.write("server.py", SERVER)
        return self.in_namespace({"/etc/hosts": f"{ADDRESS} api.example.com db.example.com\n"},
                                 [PYTHON, server, str(port), str(late_s), mode, *program], "--net",
                                 prepare=f"ip link set lo up && ip addr add {ADDRESS}/32 dev lo")

    def client(self, host, port, request):
        """Prints the answer, or the name of the error."""
        code = ("import errno, socket, sys\n"
                "try:\n"
                "    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
                "    s.sendall(sys.argv[3].encode())\n"
                "    print(s.recv(100).decode())\n"
                "except OSError as e:\n"
                "    sys.exit(errno.errorcode[e.errno])\n")
        return [PYTHON, "-c", code, host, str(port), request]

    def starter(self, name):
        return os.path.join(STARTERS, name)

    def test_strict_api_ends_a_wait_for_an_answer(self):
        command = self.beside(443, 0, "hang", self.client("api.example.com", 443, "GET / HTTP/1.0\r\n\r\n"))

        def story(how):
            ended = self.run_program(command, self.starter("strict-api.yaml"), how, 30 if how == RULED else HANG_S + 3)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return not ended.has_hung and "ETIMEDOUT" in ended.err

        self.only_with_rules(story)

    def test_database_outlasts_a_restart(self):
        command = self.beside(5432, 0.5, "answer", self.client("db.example.com", 5432, "hello"))

        def story(how):
            ended = self.run_program(command, self.starter("database.yaml"), how)
            if how != RULED:
                self.assertIn("ECONNREFUSED", ended.err)
            return ended.is_good and "ready" in ended.out

        self.only_with_rules(story)

    def test_observe_only_tells_and_changes_nothing(self):
        command = self.beside(444, 3600, "hang", self.client("api.example.com", 444, "hello"))

        def story(how):
            for _ in range(6):
                ended = self.run_program(command, self.starter("observe-only.yaml"), how)
                self.assertIn("ECONNREFUSED", ended.err)
            return any(event.get("shadow") for event in self.events("rejected"))

        self.only_with_rules(story)

    def test_dns_ends_a_lookup_that_nobody_answers(self):
        deaf = self.write("deaf.py", "import os, socket, sys\n"
                                     "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                     "s.bind(('127.0.0.1', 53))\n"
                                     "s.set_inheritable(True)\n"
                                     "os.execvp(sys.argv[1], sys.argv[1:])\n")
        command = self.in_namespace({"/etc/resolv.conf": "nameserver 127.0.0.1\n", "/etc/nsswitch.conf": "hosts: files dns\n"},
                                    [PYTHON, deaf, *self.urllib("http://payments.test/")], "--net", prepare="ip link set lo up")

        def story(how):
            ended = self.run_program(command, self.starter("dns.yaml"), how, 30 if how == RULED else HANG_S + 3)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return "gaierror -3" in ended.err

        self.only_with_rules(story)


if __name__ == "__main__":
    main()
