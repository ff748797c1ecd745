"""Down the ladder to a fallback host whose name nobody has looked up: a connect that may wait finds out where it is."""

import json
import os
import shutil
import subprocess

from stage import BARE, LIBRARY, MISBEHAVE, PYTHON, RESIL, RULED, main
from test_degrade_names import BesideBackup, Named

RULES = """
match: {address: 127.0.0.5}
timeout: {connect: 8s, resolve: %s, total: 10s}
breaker: {}
degrade:
  - host: %s:8000
"""

GET = "import urllib.request as u; print(u.urlopen('http://127.0.0.5:8001/').read().decode())"

# None of them looks anything up; all connect so that it takes as long as it takes.
BLOCKING = {
    "wget": ["wget", "-qO-", "--tries=1", "http://127.0.0.5:8001/"],
    "python": [PYTHON, "-c", GET],
    "perl": ["perl", "-MIO::Socket::INET", "-e", "$s = IO::Socket::INET->new('127.0.0.5:8001') or die; "
             "print $s \"GET / HTTP/1.0\\r\\n\\r\\n\"; local $/; ($head, $body) = split /\\r\\n\\r\\n/, <$s>; print $body"],
    "bash": ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.5/8001 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3 | tail -n 1"],
}

# CLOCK_BOOTTIME, an hour later as soon as there is a file `later`.
LATER = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_BOOTTIME && access(getenv("LATER"), F_OK) == 0)
        now->tv_sec += 3600;
    return result;
}
"""


class Asked(BesideBackup):
    def test_a_connect_that_waits_asks_the_name_server(self):
        self.write("address", "127.0.0.9")
        for name, command in BLOCKING.items():
            if not shutil.which(name) and name != "python":
                continue
            with self.subTest(name):
                shutil.rmtree(self.state, ignore_errors=True)
                rules = self.rules(RULES % ("2s", "backup.test"))
                self.only_with_rules(lambda how: self.is_served(command, rules, how))
                self.assertEqual(self.served(), [("host", "127.0.0.9:8000")])
                # From then on those know it too that cannot wait, and the name server is not asked by every connect.
                before = os.path.getsize(os.path.join(self.folder, "questions"))
                self.assertTrue(self.is_served(["curl", "-sS", "http://127.0.0.5:8001/"], rules, RULED))
                self.assertTrue(self.is_served(command, rules, RULED))
                self.assertEqual(os.path.getsize(os.path.join(self.folder, "questions")), before)
        self.assert_nothing_passed_through()

    def test_resil_explain_tells_whether_it_is_known(self):
        rules = self.rules(RULES % ("2s", "backup.test"))
        def explained(*options):
            return self.run_program([RESIL, "explain", "--rules", rules, *options, "127.0.0.5:8001"], how=BARE).out
        self.assertIn("\nFallback host backup.test: not looked up yet; connects that do not block skip it", explained())
        self.write("address", "127.0.0.9")
        self.assertTrue(self.is_served(BLOCKING["python"], rules, RULED))
        self.assertIn("\nFallback host backup.test: found at 127.0.0.9 ", explained())
        (host,) = json.loads(explained("--json"))["fallback_hosts"]
        self.assertEqual((host["name"], host["addresses"]), ("backup.test", ["127.0.0.9"]))

    def test_a_host_that_has_moved_is_found_again(self):
        later = os.path.join(self.folder, "liblater.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", later, "-x", "c", "-"], input=LATER, text=True, check=True)
        self.write("address", "127.0.0.7")
        code = ("import os, sys\nfolder = sys.argv[1]\ndef get():\n    try:\n        %s\n    except OSError: print('nobody')\n"
                "get()\n"
                "with open(folder + '/address', 'w') as file: file.write('127.0.0.9')\n"
                "get()\n"
                "with open(folder + '/later', 'w') as file: pass\n"
                "get()\n" % GET)
        rules = self.rules(RULES % ("2s", "backup.test"))
        environment = self.environment(rules, RULED)
        ended = self.run_program(
            self.with_name_server(["bash", "-c", self.SCRIPT, "bash", MISBEHAVE, PYTHON, "-c", code, self.folder]), how=BARE,
            library=f"{LIBRARY}:{later}", LATER=os.path.join(self.folder, "later"), RESIL_RULES=environment["RESIL_RULES"])
        self.assertEqual(ended.out.split(), ["nobody", "nobody", "backup"], ended)


class FromFiles(BesideBackup):
    HOSTS = "# 127.0.0.3 backup\n127.0.0.1 localhost\n::1\tlocalhost #backup\n127.0.0.9\tother BackUp. # backup\n127.0.0.4 backup.not"
    SERVERS = "nameserver 127.0.0.77\nnameserver 127.0.0.1\nsearch elsewhere test\noptions ndots:2 timeout:1\n"

    def test_the_hosts_file_is_read_also_by_a_connect_that_cannot_wait(self):
        rules = self.rules(RULES % ("2s", "backup"))
        for command in ["curl", "-sS", "http://127.0.0.5:8001/"], BLOCKING["python"]:
            shutil.rmtree(self.state, ignore_errors=True)
            self.only_with_rules(lambda how: self.is_served(command, rules, how))
        self.assertFalse(os.path.exists(os.path.join(self.folder, "questions")))

    def test_a_short_name_is_looked_for_in_the_domains(self):
        """By the second name server; nobody listens where the first one should be."""
        self.write("address", "127.0.0.9")
        rules = self.rules(RULES % ("2s", "backup.second"))
        self.only_with_rules(lambda how: self.is_served(BLOCKING["python"], rules, how))


class AskedInVain(Named):
    CONNECT = ("def connect(timeout=None):\n    s = socket.socket(); s.settimeout(timeout)\n"
               "    try: error = s.connect_ex(('127.0.0.5', 8001))\n    except OSError as e: error = e.errno\n    return error\n")

    def skipped(self):
        return [event["reason"] for event in self.events("rung_skipped")]

    def unknown(self):
        return sum(report["passed_through"].get("fallback_unknown", 0) for report in self.reports())

    def test_a_deaf_name_server_holds_a_connect_up_once(self):
        """Nothing is left of it, and the program gets what it would have got."""
        rules = self.rules(RULES % ("1s", "backup.test"))
        code = self.CONNECT + ("tell('deaf'); before = os.listdir('/proc/self/fd')\nprint(connect()); first = questions()\n"
                               "print(connect(), first > 0, questions() == first, os.listdir('/proc/self/fd') == before)\n")
        self.assertEqual(self.python(code, rules), ["111", "111 True True True"])
        self.assertEqual((set(self.skipped()), self.unknown()), ({"unknown"}, 2))

    def test_a_connect_that_cannot_wait_does_not_ask(self):
        rules = self.rules(RULES % ("1s", "backup.test"))
        self.assertEqual(self.python(self.CONNECT + "print(connect(5), questions())\n", rules), ["111 0"])
        self.assertEqual((self.skipped(), self.unknown()), (["unknown"], 1))

    def test_a_name_that_is_not_there_is_not_waited_for(self):
        rules = self.rules(RULES % ("1s", "backup.test"))
        self.assertEqual(self.python("tell('none')\n" + self.CONNECT + "print(connect(), questions())\n", rules), ["111 2"])

    def test_signals_come_in_meanwhile_and_may_end_it(self):
        rules = self.rules(RULES % ("4s", "backup.test"))
        code = self.CONNECT + ("import signal, time\ntell('deaf'); before = os.listdir('/proc/self/fd')\n"
                               "class Rang(Exception): pass\n"
                               "def ring(*_): raise Rang\n"
                               "signal.signal(signal.SIGALRM, ring); signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
                               "began = time.monotonic()\n"
                               "try: connect(); print('not rung')\n"
                               "except Rang: print('rung')\n"
                               "print(os.listdir('/proc/self/fd') == before)\n"
                               "with_signal = time.monotonic() - began; began = time.monotonic(); connect()\n"
                               "print(time.monotonic() - began > 2 * with_signal)\n")
        self.assertEqual(self.python(code, rules), ["rung", "True", "True"])


if __name__ == "__main__":
    main()
