"""The log is never in the way of the program: what cannot be written at once is dropped and counted. And it says why."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios

from stage import BARE, PYTHON, RESIL, Stage, main

RETRYING = """
match: {address: 127.0.0.1}
timeout: {connect: 1s, total: 10s}
retry: {max_retries: 2, base_delay: 1ms, factor: 1, jitter: none}
"""

# Connects to a port where nobody listens, and goes on; perl leaves SIGPIPE and its like as they are.
REFUSED = ["perl", "-e", 'socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1)) and die "connected"']

SENTENCE = r"127\.0\.0\.1:\d+: connect refused \(attempt 1 of 3\), again in 1ms"


class Log(Stage):
    def setUp(self):
        super().setUp()
        self.rule_file = self.rules(RETRYING)
        self.port = self.free_port()
        self.command = [*REFUSED, str(self.port)]

    def passed(self, reason):
        return sum(report["passed_through"][reason] for report in self.reports())

    def run_with_stderr(self, stderr, command=None, log="stderr", **options):
        """The status of the program, whose stderr is that."""
        process = subprocess.Popen(command or self.command, env=self.environment(self.rule_file, RESIL_LOG=log),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, **options)
        out, _ = process.communicate(timeout=30)
        self.assertEqual(out, b"")
        return process.returncode

    def assert_all_was_recorded(self, lost):
        """Three attempts, two retries, one end."""
        self.assertEqual([event["event"] for event in self.events()], ["retry", "retry", "connect_failed"])
        self.assertEqual(self.passed("log_lost"), lost)

    def test_an_opening_says_what_calls_get_from_then_on(self):
        """Under a ladder that is no error yet."""
        backup = self.server("answer --body backup")
        match = f"match: {{address: 127.0.0.1, port: {self.port}}}\nbreaker: {{failure_threshold: 1}}\n"
        for ladder, says in (("", "; calls get ECONNREFUSED"),
                             (f"degrade:\n  - host: 127.0.0.1:{backup.port}\n", "; calls go down the rule's ladder")):
            for command in REFUSED + [str(self.port)], ["curl", "-sS", f"http://127.0.0.1:{self.port}/"]:
                ended = self.run_program(command, self.rules(match + ladder), RESIL_LOG="stderr",
                                         RESIL_STATE_DIR=self.folder + "/state" + str(hash((ladder, command[0]))))
                opening = [line for line in ended.err.splitlines() if "circuit open after 1 failure" in line]
                self.assertEqual(len(opening), 1, ended)
                self.assertTrue(opening[0].endswith(says), ended)

    def test_the_log_says_what_is_done_under_the_rules_only(self):
        def story(how):
            ended = self.run_program(self.command, self.rule_file, how, RESIL_LOG="stderr")
            self.assertEqual((ended.status, ended.out), (0, ""))
            return re.search("^libresil: " + SENTENCE + "$", ended.err, re.M)

        self.only_with_rules(story)
        self.assertEqual(self.run_program(self.command, self.rule_file).err, "")
        self.assertEqual(self.passed("log_lost"), 0)

    def test_a_pipe_that_is_full_is_not_waited_for(self):
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            pass
        fcntl.fcntl(writer, fcntl.F_SETFL, 0)
        self.assertEqual(self.run_with_stderr(writer), 0)
        os.close(reader)
        os.close(writer)
        self.assert_all_was_recorded(lost=3)

    def test_a_pipe_that_nobody_reads_raises_no_signal(self):
        reader, writer = os.pipe()
        os.close(reader)
        bare = subprocess.run(["perl", "-e", "syswrite STDERR, 'x'"], stderr=writer, check=False)
        self.assertEqual(bare.returncode, -signal.SIGPIPE)
        self.assertEqual(self.run_with_stderr(writer), 0)
        os.close(writer)
        self.assert_all_was_recorded(lost=3)

    def test_a_sigpipe_that_was_pending_before_stays_so(self):
        reader, writer = os.pipe()
        os.close(reader)
        code = ("import signal, socket, sys\n"
                "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])\n"
                "signal.raise_signal(signal.SIGPIPE)\n"
                "socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
                "sys.exit(signal.SIGPIPE not in signal.sigpending())\n")
        self.assertEqual(self.run_with_stderr(writer, [PYTHON, "-c", code, str(self.port)]), 0)
        os.close(writer)

    def test_a_socket_that_is_full_is_not_waited_for(self):
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        try:
            while True:
                theirs.send(b"x" * 4096)
        except BlockingIOError:
            theirs.setblocking(True)
        self.assertEqual(self.run_with_stderr(theirs), 0)
        ours.close()
        theirs.close()
        self.assert_all_was_recorded(lost=3)

    def test_stderr_that_is_closed(self):
        self.assertEqual(self.run_with_stderr(None, ["sh", "-c", 'exec "$@" 2>&-', "sh", *self.command]), 0)
        self.assert_all_was_recorded(lost=3)

    def test_a_number_2_that_has_become_the_programs_file_is_not_written_to(self):
        path = self.write("its-own", "")
        code = ("import os, socket, sys\n"
                "os.close(2)\n"
                "assert os.open(sys.argv[2], os.O_WRONLY) == 2\n"
                "socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))\n")
        self.assertEqual(self.run_with_stderr(None, [PYTHON, "-c", code, str(self.port), path]), 0)
        self.assertEqual(os.path.getsize(path), 0)
        self.assert_all_was_recorded(lost=3)

    def test_a_number_2_that_has_become_the_programs_socket_is_not_written_to(self):
        code = ("import os, socket, sys\n"
                "os.close(2)\n"
                "a, b = socket.socketpair()\n"
                "assert a.fileno() == 2\n"
                "socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
                "b.setblocking(False)\n"
                "try: b.recv(1)\n"
                "except BlockingIOError: sys.exit(0)\n"
                "sys.exit(1)\n")
        self.assertEqual(self.run_with_stderr(None, [PYTHON, "-c", code, str(self.port)]), 0)
        self.assert_all_was_recorded(lost=3)

    def in_background(self, command, tostop):
        """How the command ends (or b"stopped") in the background of a terminal of its own, and what the terminal shows."""
        report, told = os.pipe()
        pid, terminal = pty.fork()
        if pid == 0:
            modes = termios.tcgetattr(0)
            modes[3] = modes[3] | termios.TOSTOP if tostop else modes[3] & ~termios.TOSTOP
            termios.tcsetattr(0, termios.TCSANOW, modes)
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                os.close(report)
                os.execvpe(command[0], command, self.environment(self.rule_file, RESIL_LOG="stderr"))
            _, status = os.waitpid(child, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                os.kill(child, signal.SIGKILL)
            os.write(told, b"stopped" if os.WIFSTOPPED(status) else b"%d" % os.waitstatus_to_exitcode(status))
            os._exit(0)
        os.close(told)
        ended, shown = os.read(report, 100), b""
        os.close(report)
        try:
            while select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 4096)
        except OSError:  # the terminal's other end is closed
            pass
        os.waitpid(pid, 0)
        os.close(terminal)
        return ended, shown

    def test_a_background_job_is_not_stopped_for_our_lines(self):
        self.assertEqual(self.in_background(["perl", "-e", "syswrite STDERR, 'x'"], True)[0], b"stopped")
        ended, shown = self.in_background(self.command, True)
        self.assertEqual((ended, shown), (b"0", b""))
        self.assert_all_was_recorded(lost=3)

    def test_a_background_job_writes_to_a_terminal_that_lets_it(self):
        ended, shown = self.in_background(self.command, False)
        self.assertEqual(ended, b"0")
        self.assertRegex(shown, b"libresil: " + SENTENCE.encode())
        self.assertEqual(self.passed("log_lost"), 0)

    def test_a_file_gets_time_program_and_process_on_each_line(self):
        path = os.path.join(self.folder, "log")
        ended = self.run_program(self.command, self.rule_file, RESIL_LOG=path)
        self.assertEqual((ended.status, ended.err), (0, ""))
        with open(path) as file:
            lines = file.read().splitlines()
        self.assertEqual(len(lines), 3)
        self.assertRegex(lines[0], r"^20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{3}Z perl\[%d\] %s$"
                         % (ended.pid, SENTENCE))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_a_file_that_cannot_be_written(self):
        ended = self.run_program(self.command, self.rule_file, RESIL_LOG="/proc/nowhere/log")
        self.assertEqual((ended.status, ended.err), (0, ""))
        self.assert_all_was_recorded(lost=3)

    def test_a_file_that_is_moved_away_is_made_anew(self):
        path = os.path.join(self.folder, "log")
        code = ("import os, socket, sys\n"
                "for name in 'first', 'second':\n"
                "    socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
                "    os.rename(sys.argv[2], sys.argv[2] + '.' + name)\n")
        ended = self.run_program([PYTHON, "-c", code, str(self.port), path], self.rule_file, RESIL_LOG=path)
        self.assertTrue(ended.is_good, ended)
        for name in "first", "second":
            with open(path + "." + name) as file:
                self.assertIn("given up", file.read(), name)

    def test_a_file_at_the_programs_size_limit_raises_no_signal(self):
        self.run_program(self.command, self.rule_file)  # makes the shared state, which is larger than the limit
        path = self.write("log", "x" * 4096)
        limited = ["sh", "-c", 'ulimit -f 2 && exec "$@"', "sh", *self.command]
        ended = self.run_program(limited, self.rule_file, RESIL_LOG=path)
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(os.path.getsize(path), 4096)
        self.assertEqual(self.passed("log_lost"), 3)

    def test_lines_beyond_50_in_a_second_are_counted_instead(self):
        code = ("import socket, sys\n"
                "for i in range(300): socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))\n")
        path = os.path.join(self.folder, "log")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s}\n")
        ended = self.run_program([PYTHON, "-c", code, str(self.port)], rules, RESIL_LOG=path)
        self.assertTrue(ended.is_good, ended)
        with open(path) as file:
            lines = file.read().splitlines()
        happened = self.reports()[0]["events"]["connect_failed"]
        self.assertEqual(happened, 300)
        self.assertGreater(self.passed("log_thinned"), 0)
        self.assertEqual(len(lines) + self.passed("log_thinned"), happened)
        self.assertLessEqual(len(lines), 50 * (2 + int(ended.seconds)))
        self.assertEqual(self.passed("log_lost"), 0)

    def test_the_next_line_says_how_many_were_left_out(self):
        code = ("import socket, sys, time\n"
                "ask = lambda: socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
                "began = int(time.monotonic())\n"
                "for i in range(120): ask()\n"
                "while time.monotonic() < began + 3: time.sleep(0.05)\n"
                "ask()\n")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s}\n")
        ended = self.run_program([PYTHON, "-c", code, str(self.port)], rules, RESIL_LOG="stderr")
        said = [int(number) for number in re.findall(r"\((\d+) lines before it were left out\)", ended.err)]
        self.assertTrue(said, ended)
        self.assertEqual(sum(said), self.passed("log_thinned"))


class Settings(Stage):
    """What means nothing is said once, and not guessed at."""

    def setUp(self):
        super().setUp()
        self.rule_file = self.rules(RETRYING)
        self.command = [*REFUSED, str(self.free_port())]

    def test_a_seed_that_is_no_number_is_said_once(self):
        for bad in "abc", "-1", "12x", "99999999999999999999":
            ended = self.run_program(["sh", "-c", '"$@"; "$@"', "sh", *self.command], self.rule_file, RESIL_SEED=bad)
            self.assertTrue(ended.is_good, ended)
            self.assertEqual(ended.err.count("libresil: RESIL_SEED is not a whole number"), 1, ended)
        for good in "0", "18446744073709551615", "":
            self.assertEqual(self.run_program(self.command, self.rule_file, RESIL_SEED=good).err, "")

    def test_a_log_that_is_no_place_is_said_once_and_no_file_appears(self):
        for bad in "stdout", "1", "yes":
            command = ["sh", "-c", 'cd "$0" && "$@" && "$@"', self.folder, *self.command]
            ended = self.run_program(command, self.rule_file, RESIL_LOG=bad)
            self.assertTrue(ended.is_good, ended)
            self.assertEqual(ended.out, "")
            self.assertEqual(ended.err.count("libresil: RESIL_LOG is neither stderr, off nor a path"), 1, ended)
            self.assertNotIn(bad, os.listdir(self.folder))

    def test_a_switch_that_is_neither_on_nor_off_is_said_once_and_off(self):
        for name in "RESIL_FAULTS", "RESIL_STRICT", "RESIL_DISABLE":
            ended = self.run_program(["sh", "-c", '"$@"; "$@"', "sh", *self.command], self.rule_file, **{name: "maybe"})
            self.assertTrue(ended.is_good, ended)
            self.assertEqual(ended.err.count(f"libresil: {name} is neither 1, on"), 1, ended)
        ended = self.run_program(self.command, self.rule_file, RESIL_FAULTS="maybe", RESIL_STRICT="x", RESIL_EARLY="2")
        self.assertEqual(re.findall(r"libresil: (RESIL_\w+) is neither 1, on", ended.err),
                         ["RESIL_FAULTS", "RESIL_STRICT", "RESIL_EARLY"])
        for off in "0", "off", "no", "False", "":
            self.assertEqual(self.run_program(self.command, self.rule_file, RESIL_DISABLE=off, RESIL_FAULTS=off).err, "")
        ended = self.run_program([RESIL, "run", "--rules", self.rule_file, "--", *self.command], how=BARE, RESIL_STRICT="2")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.err.count("RESIL_STRICT"), 1, ended)

    def test_run_says_it_instead(self):
        ended = self.run_program([RESIL, "run", "--rules", self.rule_file, "--", *self.command], how=BARE,
                                 RESIL_SEED="abc", RESIL_LOG="stdout")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.err.count("RESIL_SEED"), 1, ended)
        self.assertEqual(ended.err.count("RESIL_LOG"), 1, ended)
        self.assertIn("libresil: 127.0.0.1", ended.err)
        for option in ["--log", "stdout"], ["--seed", "abc"]:
            ended = self.run_program([RESIL, "run", *option, "--", "true"], how=BARE)
            self.assertEqual(ended.status, 2, ended)
            self.assertIn(option[0], ended.err)


class Reasons(Stage):
    """Why a call was given up."""

    def failed(self, rule, mode="refuse", command=REFUSED):
        server = self.server(mode)
        ended = self.run_program([*command, str(server.port)], self.rules("match: {address: 127.0.0.1}\n" + rule),
                                 RESIL_LOG="stderr")
        self.assertFalse(ended.has_hung, ended)
        failed = self.events("connect_failed")[-1]
        self.assertIn(failed["text"], ended.err)
        return failed

    def test_no_retries_are_left(self):
        failed = self.failed("retry: {max_retries: 1, base_delay: 1ms}\n")
        self.assertEqual(failed["reason"], "retries")
        self.assertRegex(failed["text"], r"connect refused \(attempt 2 of 2\), given up after \S+: no retries are left$")

    def test_nothing_was_to_be_retried(self):
        failed = self.failed("retry: {max_retries: 1, base_delay: 1ms, retry_on: [timeout]}\n")
        self.assertEqual(failed["reason"], "not_retryable")
        self.assertIn("its rule retries no such failure", failed["text"])

    def test_without_retries_there_is_no_reason_to_give(self):
        failed = self.failed("timeout: {connect: 1s}\n")
        self.assertRegex(failed["text"], r"connect refused, given up after [^:]+$")

    def test_total_is_used_up(self):
        failed = self.failed("timeout: {total: 300ms}\nretry: {max_retries: 5, base_delay: 1s, jitter: none}\n")
        self.assertEqual(failed["reason"], "total")
        self.assertIn("`total` is used up", failed["text"])

    def test_the_budget_is_used_up(self):
        many = ["perl", "-e", 'for (1..3) { socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1)) }']
        failed = self.failed("retry: {max_retries: 3, base_delay: 1ms, jitter: none, "
                             "budget: {ratio: 1%, floor: 1/s, window: 1s}}\n", command=many)
        self.assertEqual(failed["reason"], "budget")
        self.assertIn("the retry budget is used up", failed["text"])

    def test_a_probe_is_not_retried(self):
        twice = ["perl", "-e", 'for (1..2) { socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1)); '
                               'select(undef, undef, undef, 0.1) }']
        failed = self.failed("retry: {max_retries: 3, base_delay: 1ms, jitter: none}\n"
                             "breaker: {failure_threshold: 1, recovery_timeout: 1ms, max_recovery_timeout: 1ms}\n",
                             command=twice)
        self.assertEqual(failed["reason"], "probe")
        self.assertIn("a probe is not retried", failed["text"])

    def test_a_signal_ended_it(self):
        interrupted = ["perl", "-e", "use POSIX; sigaction(SIGALRM, POSIX::SigAction->new(sub {}));"
                                     'alarm 1; socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1))']
        slow = "timeout: {connect: 200ms, total: 60s}\nretry: {max_retries: 2, base_delay: 20s, max_delay: 20s, jitter: none}\n"
        for mode in "refuse", "blackhole":
            failed = self.failed(slow, mode, interrupted)
            self.assertEqual(failed["reason"], "signal", mode)
            self.assertIn("the program was interrupted by a signal", failed["text"])
        # What was announced and did not come is not announced again.
        self.assertEqual(len(self.events("retry")), 2)

    def test_a_lookup_gives_its_reason_too(self):
        rules = self.rules("match: {host: nowhere.test}\ntimeout: {resolve: 5s}\n"
                           "retry: {max_retries: 1, base_delay: 1ms}\n")
        command = self.in_namespace({"/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
                                     "/etc/nsswitch.conf": "hosts: dns\n"},
                                    [PYTHON, "-c", "import socket\ntry: socket.getaddrinfo('nowhere.test', 80)\nexcept OSError: pass\n"],
                                    "--net")
        self.assertTrue(self.run_program(command, rules).is_good)
        self.assertEqual(self.events("lookup_failed")[-1]["reason"], "retries")


if __name__ == "__main__":
    main()
