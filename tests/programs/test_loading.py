"""What else is loaded, in which order, twice, or with privileges: libresil works, or stays out of the way."""

import os
import re
import shutil
import subprocess
import unittest

from stage import BARE, BUILD, HANG_S, LIBRARY, PYTHON, RULED, Stage, main

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
EARLY, LATE, HIDING = (os.path.join(BUILD, f"tests/preload_{name}.so") for name in ("early", "late", "hiding"))
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"

# Asks a server that never answers, and prints the error's number.
ASK = ("import socket, sys\n"
       "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
       "s.sendall(b'x')\n"
       "try: s.recv(1)\n"
       "except OSError as e: print(e.errno)\n")
BOUNDED = "match: {address: 127.0.0.1}\ntimeout: {response: 300ms}\n"


class Order(Stage):
    """Libraries that are preloaded later are initialised earlier."""

    def test_hooks_work_before_the_constructor_ran_and_errno_is_left_alone(self):
        server = self.server("echo")
        rules = self.rules(BOUNDED)
        for library, early in ("", "0"), (LIBRARY, "0"), (LIBRARY, "1"):
            ended = self.run_program(["true"], rules, LD_PRELOAD=f"{LATE} {library} {EARLY}", RESIL_EARLY=early,
                                     EARLY_ECHO=str(server.port))
            self.assertEqual(ended.out, "early: 11 of 11\nlate: 4242\n", ended)

    def test_hooks_work_after_the_program_has_ended(self):
        server = self.server("hang")
        rules = self.rules(BOUNDED)

        def story(how):
            library = "" if how == BARE else LIBRARY
            ended = self.run_program(["true"], rules, how, 30 if how == RULED else HANG_S / 2, EARLY_HANG=str(server.port),
                                     LD_PRELOAD=f"{library} {EARLY}")
            return ended.out == "at the end: 110\n"

        self.only_with_rules(story)


class Beside(Stage):
    def asks(self, preload, **environment):
        server = self.server("hang")
        ended = self.run_program([PYTHON, "-c", ASK, str(server.port)], self.rules(BOUNDED), LD_PRELOAD=preload, **environment)
        self.assertEqual(ended.out, "110\n", ended)

    def test_another_allocator(self):
        """Whichever comes first."""
        for preload in f"{LIBRARY} {JEMALLOC}", f"{JEMALLOC} {LIBRARY}":
            self.asks(preload)

    def test_a_function_that_libc_does_not_have(self):
        """Its hook says ENOSYS, and the others work."""
        code = ("import ctypes\n"
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                "for call in libc.close_range, libc.execveat, libc.epoll_pwait2, libc.fexecve:\n"
                "    print(call(-1, None, None, 0, 0, 0), ctypes.get_errno())\n")
        preload = f"{LIBRARY} {HIDING}"
        for place, hidden in enumerate(("close_range", "execveat", "epoll_pwait2", "fexecve")):
            ended = self.run_program([PYTHON, "-c", code], self.rules(BOUNDED), LD_PRELOAD=preload, HIDDEN=hidden)
            self.assertEqual([line == "-1 38" for line in ended.out.splitlines()], [i == place for i in range(4)], ended)
            self.asks(preload, HIDDEN=hidden)

    def test_a_second_copy_does_not_do_everything_twice(self):
        copy = os.path.join(self.folder, "another.so")
        shutil.copy(LIBRARY, copy)
        rules = self.rules("match: {address: 127.0.0.1}\nretry: {max_retries: 2, base_delay: 1ms}\n")
        server = self.server("refuse")
        for preload in f"{LIBRARY} {copy}", f"{copy} {LIBRARY}":
            before = len(self.events("retry")), len(self.events("connect_failed"))
            ended = self.run_program(self.wget(server.url()), rules, LD_PRELOAD=preload)
            self.assertIn("refused", ended.err)
            self.assertEqual((len(self.events("retry")), len(self.events("connect_failed"))), (before[0] + 2, before[1] + 1))
        self.asks(f"{LIBRARY} {copy}")


class Frugal(Stage):
    def test_calls_need_little_stack(self):
        """Programs have threads and signal handlers with small ones. What goes wrong is told, which goes deeper."""
        rules = self.rules("match: {host: '*.test', address: 127.0.0.1}\ntimeout: {connect: 1s, response: 300ms, recv: 300ms, send: 300ms}\n"
                           "retry: {max_retries: 1, base_delay: 1ms}\nbreaker: {failure_threshold: 1, recovery_timeout: 60s}\n")
        hosts = "127.0.0.1 one.test two.test three.test four.test\n127.0.0.2 one.test\n127.0.0.3 one.test\n"
        for names in [], ["four.test", "three.test", "two.test", "one.test"]:
            server = self.server("echo")
            command = [os.path.join(BUILD, "tests/stack"), str(server.port), str(self.free_port()), *names]
            ended = self.run_program(self.with_hosts(command, hosts), rules, RESIL_LOG="stderr")
            self.assertTrue(ended.is_good and "gets ETIMEDOUT" in ended.err and "circuit open" in ended.err, ended)
            self.assertEqual("attempt 1 of 6" in ended.err, bool(names), ended)
            for line in ended.out.splitlines():
                call, depth = line.split()
                self.assertLessEqual(int(depth), 1024 if call in ("nothing", "send", "recv", "close") else 4096, ended)

    def test_signals_are_the_programs_own(self):
        """None is caught, ignored or blocked that would not have been."""
        code = ("import sys\n" + ASK.replace("print(e.errno)", "pass") +
                "print([line for line in open('/proc/self/status') if line.startswith(('SigB', 'SigC', 'SigI', 'Thr'))])\n")
        server = self.server("close")
        rules = self.rules(BOUNDED + "retry: {}\nbreaker: {}\n")
        bare, ended = (self.run_program([PYTHON, "-c", code, str(server.port)], rules, how) for how in (BARE, RULED))
        self.assertIn("SigCgt", bare.out)
        self.assertEqual(ended.out, bare.out, ended)


class Privileges(Stage):
    @unittest.skipUnless(os.geteuid() == 0, "needs root, to make a program that has more rights than its user")
    def test_a_program_with_more_rights_than_its_user_gets_no_rules(self):
        """The loader takes only libraries from its own folders then, and with the same bit set."""
        server = self.server("hang")
        rules = self.rules(BOUNDED)
        os.chmod(self.folder, 0o755)
        os.chmod(rules, 0o644)
        program, library = (shutil.copy(path, os.path.join(self.folder, name))
                            for path, name in ((PYTHON, "python"), (LIBRARY, "libresil.so")))
        place = "/usr/lib/x86_64-linux-gnu/libthread_db.so.1"
        os.makedirs(self.state, 0o700, exist_ok=True)
        os.chown(self.state, 65534, 65534)
        for mode, expected in (0o755, "110\n"), (0o4755, ""):
            os.chmod(program, mode)
            os.chmod(library, mode)
            command = ["unshare", "--mount", "sh", "-c", f"mount --bind {library} {place} && exec \"$@\"", "sh",
                       "setpriv", "--reuid=65534", "--clear-groups", "env", "LD_PRELOAD=libthread_db.so.1",
                       program, "-c", "print('runs', flush=True)\n" + ASK, str(server.port)]
            process = self.start(command, rules, BARE, RESIL_RULES=rules)
            ended = self.finish(process, HANG_S)
            self.assertEqual(ended.out, "runs\n" + expected, ended)


class Imports(Stage):
    def test_it_calls_nothing_that_allocates_prints_locks_or_ends_the_program(self):
        """The data path must not, and what cannot be called cannot be called by mistake. libyaml's calls of malloc and its
        like lead to an arena of ours. Only the name in an answer that we make of a lookup is the program's, who frees it."""
        lines = subprocess.run(["nm", "-D", "-u", LIBRARY], capture_output=True, text=True, check=True).stdout.splitlines()
        imports = {line.split()[-1].split("@")[0] for line in lines}
        forbidden = re.compile(r"(__)?(([mc]|re|v|pv)?alloc|malloc|free|\w*memalign|\w*strn?dup|\w*v?[sdf]?n?printf(_chk)?|fopen\w*|"
                               r"\w*puts|\w*putc\w*|perror|syslog|(secure_)?(get|put|set)env|setlocale|localtime\w*|gmtime\w*|"
                               r"strftime|strerror\w*|pthread_(mutex|rwlock|cond|once|spin)\w*|"
                               r"atexit|__cxa_atexit|exit|abort|__assert_fail|raise|signal|dlopen|rand|random)")
        self.assertEqual({name for name in imports if forbidden.fullmatch(name)}, {"strdup"})
        callers = subprocess.run(["grep", "-rl", "__real_strdup(", os.path.join(SOURCE, "src")], capture_output=True, text=True,
                                 check=True).stdout.split()
        self.assertEqual([os.path.basename(path) for path in callers], ["answer.c"])


if __name__ == "__main__":
    main()
