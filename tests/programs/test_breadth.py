"""Every way in which programs reach the network, as far as a preload can see it."""

import functools
import glob
import os
import re
import shutil
import subprocess

from stage import BARE, LIBRARY, PYTHON, RULED, Stage, main

# Functions that libresil stands in front of, or has decided not to: see NOT_HOOKED.
FAMILIES = """
socket socketpair connect accept accept4 close close_range closefrom fclose freopen freopen64 fdopen dup dup2 dup3
fcntl fcntl64 ioctl shutdown send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg read readv write writev
sendfile sendfile64 splice getsockopt setsockopt getpeername getaddrinfo freeaddrinfo gethostbyname gethostbyname2
gethostbyname_r gethostbyname2_r poll ppoll select pselect epoll_ctl epoll_wait epoll_pwait epoll_pwait2
execl execle execlp execv execve execvp execvpe fexecve execveat
__read_chk __recv_chk __recvfrom_chk __poll_chk __ppoll_chk
bind listen getsockname vfork fork posix_spawn posix_spawnp syscall vmsplice tee preadv pwritev
getnameinfo gethostbyaddr gethostbyaddr_r res_query res_search res_nquery res_init __res_init
epoll_create epoll_create1 __fdelt_chk
""".split()

# Whatever a program imports that is called like this must be one of them.
FAMILY = re.compile(r"""(__)?(
    socket(pair)? | connect | accept4? | bind | listen | shutdown | (get|set)sockopt | get(peer|sock)name |
    close(_range|from)? | fclose | freopen(64)? | fdopen | dup[23]? | fcntl(64)? | ioctl |
    (send|recv)(to|from|m?msg)? | p?(read|write)v?(64)?(v2)? | sendfile(64)? | v?msplice | splice | tee |
    p?poll | p?select | epoll_\w+ | fdelt |
    (get|free)addrinfo(_a)? | getnameinfo | gethostby\w+ | res_\w+ |
    f?exec[lv]\w* | v?fork | posix_spawnp? | popen | pclose | system | syscall
    )(_chk|_2)?""", re.X)

NOT_HOOKED = {
    **dict.fromkeys(("bind", "listen", "getsockname", "epoll_create", "epoll_create1", "__fdelt_chk"),
                    "nothing to decide"),
    **dict.fromkeys(("pread", "pread64", "preadv64", "preadv64v2", "pwrite", "pwrite64", "pwritev64", "pwritev64v2"),
                    "at an offset, which sockets do not have"),
    **dict.fromkeys(("fork",), "its children are recognised by memory that the kernel empties in them"),
    **dict.fromkeys(("popen", "pclose", "system"), "pipes and a shell, by a child that does not pass hooks"),
    **dict.fromkeys(("vmsplice", "tee", "preadv", "pwritev"), "not for sockets"),
    **dict.fromkeys(("getnameinfo", "gethostbyaddr", "gethostbyaddr_r", "res_query", "res_search", "res_nquery",
                     "res_nsearch", "res_init", "__res_init", "__res_ninit", "__res_nclose", "__res_state"),
                    "lookups that no connect depends on"),
    "syscall": "passes through, and what it does is not seen",
}

PROGRAMS = ["curl", "wget", "git", "/usr/lib/git-core/git-remote-http", "/usr/lib/git-core/git-daemon", "redis-cli",
            "redis-server", "psql", "nginx", "haproxy", "openssl", "ssh", "java"]

# These load the modules that reach the network while they run: they tell what they have loaded.
LOADERS = {
    "python3": [PYTHON, "-c", "import asyncio, multiprocessing, select, socket, ssl, subprocess\n"
                              "print(open('/proc/self/maps').read())"],
    "perl": ["perl", "-MSocket", "-MIO::Socket", "-MIO::Select", "-MPOSIX", "-e", 'open F, "/proc/self/maps"; print <F>'],
    "ruby": ["ruby", "-rsocket", "-ropenssl", "-e", 'puts File.read("/proc/self/maps")'],
    "php": ["php", "-r", 'print(file_get_contents("/proc/self/maps"));'],
    "node": ["node", "-e", 'require("net"); process.stdout.write(require("fs").readFileSync("/proc/self/maps"))'],
}
MODULES = {"python3": "python3", "perl": "Socket.so", "ruby": "socket.so", "php": "php", "node": "node",
           "java": "libnio.so"}


@functools.cache
def symbols(path, *options):
    lines = subprocess.run(["nm", "-D", *options, path], capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in lines.splitlines()}


class Table(Stage):
    def files_of(self, program):
        """The program, and what it loads, at the start or later."""
        if program in LOADERS:
            ended = self.run_program(LOADERS[program], how=BARE)
            self.assertTrue(ended.is_good, ended)
            return set(re.findall(r" (/\S+\.so\S*|/\S+/bin/\S+)$", ended.out, re.M))
        path = os.path.realpath(shutil.which(program) or self.fail(f"{program} is not installed"))
        if program == "psql":  # Debian's is a script that picks one
            path = sorted(glob.glob("/usr/lib/postgresql/*/bin/psql"))[-1]
        files = {path, *re.findall(r"=> (/\S+)", subprocess.run(["ldd", path], capture_output=True, text=True).stdout)}
        if program == "java":
            home = os.path.dirname(os.path.dirname(path))
            files.update(glob.glob(home + "/lib/*.so"), glob.glob(home + "/lib/server/*.so"))
        return files

    def test_the_table_covers_what_programs_and_their_libraries_import(self):
        hooked = symbols(LIBRARY, "--defined-only")
        self.assertEqual(set(FAMILIES) - set(NOT_HOOKED) - hooked, set())
        self.assertEqual({name for name in NOT_HOOKED if name in hooked}, set())
        for program in [*PROGRAMS, *LOADERS]:
            files = self.files_of(program)
            if program in MODULES:
                self.assertTrue(any(os.path.basename(file).startswith(MODULES[program]) for file in files), files)
            imported = set()
            for file in files:
                if re.search(r"/(libc|ld-linux.*|libpthread|libresolv)\.so", file):
                    continue
                imports = {name for name in symbols(file, "-u") if FAMILY.fullmatch(name)}
                self.assertEqual(imports - hooked - set(NOT_HOOKED), set(), file)
                imported |= imports
            self.assertTrue({"connect", "close"} <= imported, f"{program}: {imported}")


class Lookups(Stage):
    def test_gethostbyname_is_remembered_too(self):
        """perl's gethostbyname and python's gethostbyname_ex call gethostbyname_r."""
        rules = self.rules("match: {host: payments.test}\ntimeout: {response: 500ms}\n")
        server = self.server("hang")
        perl = ('use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); my $a = gethostbyname("payments.test");'
                'connect($s, sockaddr_in($ARGV[0], $a)) or die; syswrite($s, "x"); defined(sysread($s, my $b, 1)) or die $!')
        python = ("import socket, sys\n"
                  "a = socket.gethostbyname_ex('payments.test')[2][0]\n"
                  "s = socket.create_connection((a, int(sys.argv[1])))\n"
                  "s.sendall(b'x'); s.recv(1)\n")
        for command in ["perl", "-e", perl], [PYTHON, "-c", python]:
            with self.subTest(command[0]):
                whole = self.with_hosts([*command, str(server.port)])

                def story(how):
                    ended = self.run_program(whole, rules, how, 30 if how == RULED else 2)
                    return "timed out" in ended.err

                self.only_with_rules(story)


class HandedOver(Stage):
    """A socket that leaves our sight is left as the program made it."""

    RULES = "match: {address: 127.0.0.1}\ntimeout: {recv: 300ms, response: 300ms}\n"

    def gets_the_late_answer(self, code):
        server = self.server("answer --delay 1000 --body late")
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], self.rules(self.RULES))
        self.assertIn("late", ended.out, ended)

    def test_a_program_that_is_executed_on_it_waits_as_ever(self):
        self.gets_the_late_answer("import os, socket, sys\n"
                                  "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                                  "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                                  "os.dup2(s.fileno(), 0)\n"
                                  "os.execvp('cat', ['cat'])\n")

    def test_a_fork_child_that_executes_another_program_on_it_waits_as_ever(self):
        self.gets_the_late_answer("import os, socket, sys\n"
                                  "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                                  "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                                  "if os.fork() == 0:\n"
                                  "    os.dup2(s.fileno(), 0)\n"
                                  "    os.execl('/bin/cat', 'cat')\n"
                                  "os.wait()\n")

    SPAWNS = {
        "subprocess, by vfork": "import subprocess; subprocess.run(['cat'], stdin=s)\n",
        "posix_spawn": "os.waitpid(os.posix_spawn('/bin/cat', ['cat'], os.environ, "
                       "file_actions=[(os.POSIX_SPAWN_DUP2, s.fileno(), 0)]), 0)\n",
        "posix_spawnp": "os.waitpid(os.posix_spawnp('cat', ['cat'], os.environ, "
                        "file_actions=[(os.POSIX_SPAWN_DUP2, s.fileno(), 0)]), 0)\n",
        "a fork child, by another number": "os.dup2(s.fileno(), 9)\n"
                                           "if os.fork() == 0: os.execlp('sh', 'sh', '-c', 'cat <&9')\n"
                                           "os.wait()\n",
        "a child's child": "import subprocess; subprocess.run(['sh', '-c', 'cat; true'], stdin=s)\n",
    }

    def test_a_program_that_is_spawned_on_it_waits_as_ever(self):
        """The socket keeps the timeouts of its rule: they are the parent's."""
        for how, spawn in self.SPAWNS.items():
            with self.subTest(how):
                self.gets_the_late_answer("import os, socket, sys\n"
                                          "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                                          "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n" + spawn)

    def test_who_has_spawned_a_program_on_it_keeps_its_rule(self):
        server = self.server("hang")
        rules = self.rules(self.RULES)
        for how, spawn in self.SPAWNS.items():
            code = ("import os, socket, sys\n"
                    "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n" +
                    spawn.replace("cat", "true") +
                    "s.sendall(b'x')\n"
                    "try: s.recv(1)\n"
                    "except OSError as e: print(e.errno)\n")
            with self.subTest(how):
                ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules)
                self.assertEqual(ended.out, "110\n", ended)

    def test_what_is_told_of_it_is_taken_out_of_the_environment(self):
        for value in "", ",", "1,2,3,4,5", "1,2,3,4,5;", ";" * 5000, "f" * 5000, "1,1,1,1,1;" * 500, "\xff,0x", "1,2,3,4":
            ended = self.run_program(["env"], self.rules(self.RULES), RESIL_INHERITED=value)
            self.assertTrue(ended.is_good, ended)
            self.assertIn("LD_PRELOAD=", ended.out)
            self.assertNotIn("RESIL_INHERITED", ended.out)

    def test_an_exec_that_fails_changes_nothing(self):
        code = ("import os, socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.set_inheritable(True)\n"
                "try: os.execv('/nowhere', ['nowhere'])\n"
                "except OSError: pass\n"
                "s.sendall(b'x')\n"
                "try: s.recv(1)\n"
                "except OSError as e: print(e.errno)\n")
        server = self.server("hang")
        rules = self.rules(self.RULES)
        self.only_with_rules(lambda how: self.run_program([PYTHON, "-c", code, str(server.port)], rules, how,
                                                          30 if how == RULED else 2).out.strip() == "110")

    def test_stdio_on_it_waits_as_ever(self):
        """A C program's fdopen; ctypes is the nearest to one that is always there."""
        self.gets_the_late_answer("import ctypes, os, socket, sys\n"
                                  "libc = ctypes.CDLL(None)\n"
                                  "libc.fdopen.restype = ctypes.c_void_p\n"
                                  "libc.fgets.restype = ctypes.c_char_p\n"
                                  "libc.fgets.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]\n"
                                  "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                                  "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                                  "f = libc.fdopen(s.fileno(), b'r')\n"
                                  "line = ctypes.create_string_buffer(1000)\n"
                                  "while libc.fgets(line, 1000, f): print(line.value.decode(), end='')\n")


class Copies(Stage):
    def test_a_number_that_was_copied_before_the_connect_is_guarded_too(self):
        """The first time the copy is made before the rules are read, the second time after."""
        code = ("import socket, sys\n"
                "for _ in range(2):\n"
                "    s = socket.socket()\n"
                "    copy = s.dup()\n"
                "    s.connect(('127.0.0.1', int(sys.argv[1])))\n"
                "    s.sendall(b'x')\n"
                "    try: copy.recv(1)\n"
                "    except OSError as e: print(e.errno)\n")
        server = self.server("hang")
        rules = self.rules("match: {}\ntimeout: {response: 300ms}\n")
        self.only_with_rules(lambda how: self.run_program([PYTHON, "-c", code, str(server.port)], rules, how,
                                                          30 if how == RULED else 3).out == "110\n110\n")


class Flags(Stage):
    def test_receives_that_never_wait_do_not_wait_under_a_rule(self):
        """The error queue and urgent data: empty, they say so at once, on a blocking socket too."""
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "for flag in 0x2000, socket.MSG_OOB:\n"
                "    try: s.recv(1, flag)\n"
                "    except OSError as e: print(e.errno)\n")
        server = self.server("hang")
        rules = self.rules("match: {}\ntimeout: {recv: 60s, response: 60s}\n")
        bare = self.run_program([PYTHON, "-c", code, str(server.port)], how=BARE, seconds=5)
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules, seconds=5)
        self.assertEqual(bare.out, "11\n22\n", bare)
        self.assertEqual(ended.out, bare.out, ended)


class Threads(Stage):
    def test_a_request_sent_while_another_thread_waits_has_its_deadline(self):
        """The reader was waiting, without a limit, when the request went out."""
        code = ("import socket, sys, threading\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "waiting = threading.Event()\n"
                "def read():\n"
                "    waiting.set()\n"
                "    try: s.recv(1)\n"
                "    except OSError as e: print(e.errno)\n"
                "reader = threading.Thread(target=read)\n"
                "reader.start()\n"
                "waiting.wait()\n"
                "reader.join(1)\n"  # it stays in recv for twice the timeout: nothing was asked yet
                "assert reader.is_alive()\n"
                "s.sendall(b'x')\n"
                "reader.join()\n")
        server = self.server("hang")
        rules = self.rules("match: {}\ntimeout: {response: 500ms}\n")
        self.only_with_rules(lambda how: self.run_program([PYTHON, "-c", code, str(server.port)], rules, how,
                                                          30 if how == RULED else 3).out == "110\n")


    def test_a_reader_that_waits_between_exchanges_is_not_cut_off(self):
        """The requests go out while the reader is in recv; their answers end the awaiting, and silence after is idle."""
        code = ("import queue, socket, sys, threading\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "got = queue.Queue()\n"
                "def read():\n"
                "    while True:\n"
                "        try: got.put(s.recv(10))\n"
                "        except OSError as e: got.put(e.errno)\n"
                "threading.Thread(target=read, daemon=True).start()\n"
                "for i in range(4):\n"
                "    s.sendall(b'x')\n"
                "    print(got.get())\n"
                "try: print(got.get(timeout=3))\n"  # three times the response timeout
                "except queue.Empty: print('idle')\n")
        server = self.server("echo")
        rules = self.rules("match: {}\ntimeout: {response: 1s}\nbreaker: {failure_threshold: 1}\n")
        bare = self.run_program([PYTHON, "-c", code, str(server.port)], how=BARE)
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules)
        self.assertEqual(bare.out, "b'x'\n" * 4 + "idle\n", bare)
        self.assertEqual(ended.out, bare.out, ended)


class SpeaksFirst(Stage):
    def test_a_greeting_closes_the_circuit(self):
        """A server that speaks first is never sent a request before it has proved itself."""
        rules = self.rules("match: {}\ntimeout: {response: 20s}\n"
                           "breaker: {failure_threshold: 1, recovery_timeout: 1ms, jitter: 0%}\n")
        server = self.server("refuse")
        self.run_program(self.wget(server.url()), rules)
        self.assertEqual(len(self.events("circuit_open")), 1)
        server.mode("close --at-accept --after-bytes 8")
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "print(len(s.recv(100)))\n")
        ended = self.run_program([PYTHON, "-c", code, str(server.port)], rules)
        self.assertEqual(ended.out, "8\n", ended)
        self.assertEqual(len(self.events("circuit_closed")), 1)


class Bulk(Stage):
    def test_a_large_send_to_a_slow_reader_arrives_whole(self):
        """The send timeout is far shorter than the whole takes; what counts is progress."""
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "size = int(sys.argv[2])\n"
                "s.sendall(b'POST / HTTP/1.0\\r\\nContent-Length: %d\\r\\n\\r\\n' % size)\n"
                "print(s.send(bytes(size)) == size)\n"
                "print(s.recv(100)[:12])\n")
        size = 12_000_000
        server = self.server("drain --rate 4000000 --body done")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {send: 500ms}\n")
        ended = self.run_program([PYTHON, "-c", code, str(server.port), str(size)], rules)
        self.assertEqual(ended.out.split("\n")[:2], ["True", "b'HTTP/1.1 200'"], ended)
        self.assertEqual(self.events("send_timeout"), [])

    def test_a_reader_that_stops_is_told_of(self):
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "try:\n"
                "    while True: s.send(bytes(1 << 20))\n"
                "except OSError as e: print(e.errno)\n")
        server = self.server("drain --rate 1")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {send: 500ms}\n")
        self.only_with_rules(lambda how: self.run_program([PYTHON, "-c", code, str(server.port)], rules, how,
                                                          30 if how == RULED else 3).out.strip() == "110")
        self.assertEqual(len(self.events("send_timeout")), 1)


if __name__ == "__main__":
    main()
