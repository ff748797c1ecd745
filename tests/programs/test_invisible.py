"""Where no rule applies nothing changes; and a mistake of ours never takes a program down."""

import os
import re
import subprocess

from stage import BARE, BUILD, LIBRARY, PYTHON, RULED, Stage, main

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


class Library(Stage):
    def hook_names(self):
        with open(os.path.join(SOURCE, "src/hooks/hooks.def")) as file:
            return set(re.findall(r"^HOOK\w*\([^,]+, *(\w+),", file.read(), re.M))

    def public_names(self):
        with open(os.path.join(SOURCE, "include/resil.h")) as file:
            return set(re.findall(r"^\w[\w *]*?(resil_\w+)\(.*__attribute__\(\(weak\)\)", file.read(), re.M))

    def symbols(self, path, *options):
        lines = subprocess.run(["nm", "-D", *options, path], capture_output=True, text=True, check=True).stdout
        return {line.split()[-1].split("@")[0] for line in lines.splitlines()}

    def test_it_exports_the_hook_table_and_its_header_and_nothing_else(self):
        self.assertGreaterEqual(len(self.public_names()), 2)
        self.assertEqual(self.symbols(LIBRARY, "--defined-only"), self.hook_names() | self.public_names())

    def test_libc_has_every_hook(self):
        libc = re.search(r"libc\.so\.6 => (\S+)", subprocess.run(["ldd", LIBRARY], capture_output=True, text=True,
                                                                 check=True).stdout).group(1)
        self.assertLessEqual(self.hook_names(), self.symbols(libc, "--defined-only"))

    def test_it_needs_libc_only(self):
        needed = subprocess.run(["readelf", "-d", LIBRARY], capture_output=True, text=True, check=True).stdout
        self.assertEqual(re.findall(r"NEEDED.*\[(.*)\]", needed), ["libc.so.6"])

    def test_it_wants_little_of_libc_and_nothing_that_a_libc_of_2021_does_not_have(self):
        """What it wants of libc are names; a version that is not there keeps every program from starting."""
        out = subprocess.run(["readelf", "-W", "--dyn-syms", LIBRARY], capture_output=True, text=True, check=True).stdout
        wanted = dict(re.findall(r" UND (\w+)@GLIBC_([\d.]+) ", out))
        self.assertIn("mmap", wanted)
        late = {name: version for name, version in wanted.items() if tuple(map(int, version.split("."))) > (2, 34)}
        self.assertEqual(late, {})
        self.assertLessEqual(len(wanted), 120)
        for name in "malloc", "calloc", "realloc", "free", "printf", "fopen", "getenv", "setlocale":
            self.assertNotIn(name, wanted)

    def test_its_thread_local_storage_is_small(self):
        headers = subprocess.run(["readelf", "-lW", LIBRARY], capture_output=True, text=True, check=True).stdout
        tls = re.search(r"^\s*TLS\s+\S+ \S+ \S+ \S+ (0x\S+)", headers, re.M)
        self.assertLessEqual(int(tls.group(1), 16) if tls else 0, 64)


class Mistakes(Stage):
    def setUp(self):
        super().setUp()
        self.upstream = self.server("answer --body fine")
        self.bad = self.write("bad.yaml", "version: 1\nrules:\n  - name: a\n    match: {port: 80}\n"
                                          "    retry: {base_dellay: 50ms}\n")

    def test_a_bad_rule_file_is_named_with_its_place_and_the_program_runs(self):
        ended = self.run_program(self.wget(self.upstream.url()), self.bad)
        self.assertTrue(ended.is_good, ended)
        self.assertIn("fine", ended.out)
        self.assertRegex(ended.err, r"libresil: .*bad\.yaml:5:13: .*base_dellay.*base_delay")
        self.assertEqual(len(self.events("rules_bad")), 1)

    def test_it_is_said_once_for_all_processes_of_a_session(self):
        loop = f'for i in 1 2 3; do wget -qO- {self.upstream.url()}; done'
        ended = self.run_program(["sh", "-c", loop], self.bad)
        self.assertEqual(ended.out, "fine\n" * 3 if "\n" in ended.out else "finefinefine", ended)
        self.assertEqual(ended.err.count("bad.yaml:5:13"), 1, ended)

    def test_strict_refuses_to_start(self):
        for rules in self.bad, os.path.join(self.folder, "absent.yaml"):
            ended = self.run_program(["echo", "ran"], rules, RESIL_STRICT="1")
            self.assertEqual((ended.status, ended.out), (78, ""), ended)
            self.assertIn("libresil: " + rules, ended.err)

    def test_an_absent_rule_file_is_told_of(self):
        ended = self.run_program(self.wget(self.upstream.url()), os.path.join(self.folder, "absent.yaml"))
        self.assertTrue(ended.is_good, ended)
        self.assertIn("absent.yaml", ended.err)

    def test_disable_switches_everything_off(self):
        rules = self.rules("match: {}\ntimeout: {response: 300ms}\n")
        server = self.server("hang")
        ended = self.run_program(self.wget(server.url()), rules, RULED, 2, RESIL_DISABLE="1")
        self.assertTrue(ended.has_hung, ended)
        self.assertFalse(os.path.exists(self.state))

    def test_state_that_cannot_be_shared_is_private_and_counted(self):
        """The rules still hold; only the other processes do not learn of it."""
        rules = self.rules("match: {}\ntimeout: {response: 300ms}\n")
        server = self.server("hang")
        ended = self.run_program(self.wget(server.url()), rules, RESIL_STATE_DIR="/proc/nowhere")
        self.assertIn("Connection timed out", ended.err)

    def test_state_in_a_folder_that_others_may_write_is_not_used(self):
        os.mkdir(self.state)
        os.chmod(self.state, 0o777)
        rules = self.rules("match: {}\ntimeout: {response: 300ms}\n")
        server = self.server("hang")
        ended = self.run_program(self.wget(server.url()), rules)
        self.assertIn("Connection timed out", ended.err)
        self.assertEqual(os.listdir(self.state), [])


class ProgramsMistakes(Stage):
    """What the kernel answers with an error must not become a crash."""

    def test_an_address_that_is_none_is_efault(self):
        code = ("import ctypes, socket\n"
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                "s = socket.socket()\n"
                "for address in 0, 16, 1 << 20, 1 << 46, (1 << 64) - 4096:\n"
                "    print(libc.connect(s.fileno(), ctypes.c_void_p(address), 16), ctypes.get_errno())\n")
        rules = self.rules("match: {}\ntimeout: {connect: 1s}\n")
        bare = self.run_program([PYTHON, "-c", code], how=BARE)
        self.assertEqual(self.run_program([PYTHON, "-c", code], rules).out, bare.out)
        self.assertEqual(bare.out, "-1 14\n" * 5)

    def test_a_file_size_limit_does_not_kill_the_program(self):
        """Making the shared segment would be a SIGXFSZ."""
        rules = self.rules("match: {}\ntimeout: {response: 300ms}\n")
        server = self.server("hang")
        log = os.path.join(self.folder, "log")
        command = ["sh", "-c", 'ulimit -f 0 && exec "$@"', "sh", *self.wget(server.url())]
        ended = self.run_program(command, rules, RESIL_LOG=log)
        self.assertIn("Connection timed out", ended.err, ended)


class Silence(Stage):
    """Nothing on stdout or stderr, no descriptor, no thread: as without libresil."""

    def test_a_program_sees_its_own_descriptors_only(self):
        code = ("import os, socket, sys, threading\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "print(sorted(os.listdir('/proc/self/fd')), os.listdir('/proc/self/task') == [str(os.getpid())])\n")
        server = self.server("hang")
        rules = self.rules("match: {}\ntimeout: {response: 300ms, recv: 1s}\nbreaker: {}\nretry: {}\n")
        bare = self.run_program([PYTHON, "-c", code, str(server.port)], how=BARE)
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules)
        self.assertTrue(bare.is_good, bare)
        self.assertEqual((ended.out, ended.err), (bare.out, bare.err))

    def test_a_vfork_child_that_closes_everything_leaves_the_parents_table_alone(self):
        """python's subprocess closes all descriptors in a vfork child, which shares the parent's memory."""
        code = ("import socket, subprocess, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "subprocess.run(['/bin/true'], close_fds=True, check=True)\n"
                "s.sendall(b'x')\n"
                "try: s.recv(1)\n"
                "except OSError as e: sys.exit(str(e.errno))\n")
        server = self.server("hang")
        rules = self.rules("match: {}\ntimeout: {response: 300ms}\n")
        self.only_with_rules(lambda how: self.run_program([PYTHON, "-c", code, str(server.port)], rules, how,
                                                          30 if how == RULED else 3).err.strip() == "110")

    def test_a_fork_child_that_closes_its_copy_does_not_give_the_probe_back(self):
        rules = self.rules("match: {}\ntimeout: {response: 20s}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 1ms, jitter: 0%}\n")
        server = self.server("reset")
        self.run_program(self.wget(server.url()), rules)
        server.mode("hold --body held")
        self.assertEqual(server.say("reset-count"), "ok")
        code = ("import os, socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "if os.fork() == 0:\n"
                "    s.close()\n"
                "    os._exit(0)\n"
                "os.wait()\n"
                "print('closed', flush=True)\n"
                "s.recv(100)\n")
        probe = self.start([PYTHON, "-c", code, str(server.port)], rules)
        self.assertEqual(probe.stdout.readline(), "closed\n")
        self.assertIn("refused", self.run_program(self.wget(server.url()), rules).err)
        self.assertEqual(server.count("accepted"), 1)
        server.say("release")
        self.assertEqual(self.finish(probe).status, 0)

    def test_the_program_sees_its_own_timeouts(self):
        code = ("import socket, struct, sys\n"
                "s = socket.socket()\n"
                "own = struct.pack('ll', 7, 0)\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, own)\n"
                "s.connect(('127.0.0.1', int(sys.argv[1])))\n"
                "show = lambda o: struct.unpack('ll', s.getsockopt(socket.SOL_SOCKET, o, 16))\n"
                "print(show(socket.SO_RCVTIMEO), show(socket.SO_SNDTIMEO))\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 0, 200000))\n"
                "print(show(socket.SO_RCVTIMEO), show(socket.SO_SNDTIMEO))\n"
                "s.sendall(b'x')\n"
                "try: s.recv(1)\n"
                "except OSError as e: print(e.errno)\n")
        server = self.server("hang")
        rules = self.rules("match: {}\ntimeout: {recv: 5s, send: 5s, response: 5s}\n")
        bare = self.run_program([PYTHON, "-c", code, str(server.port)], how=BARE)
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules)
        self.assertEqual(bare.out.split()[-1], "11", bare)
        self.assertEqual(ended.out, bare.out, ended)


if __name__ == "__main__":
    main()
