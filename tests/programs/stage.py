"""What the program tests share: a server that misbehaves, a program under rules, and what came of it.

Every story is told three times, by the same function: with the rules, with the rule file emptied, and bare (without
libresil). Only the first may end well; `Stage.only_with_rules` sees to it.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

BUILD = os.environ.get("RESIL_BUILD") or os.path.join(os.path.dirname(__file__), "../../build/release")
BUILD = os.path.abspath(BUILD)
LIBRARY = os.path.join(BUILD, "libresil.so")
RESIL = os.path.join(BUILD, "resil")
MISBEHAVE = os.path.join(BUILD, "misbehave")
PYTHON = "/usr/bin/python3"
with open(os.path.join(os.path.dirname(__file__), "../../src/report/events.def")) as file:
    EVENTS = set(re.findall(r'^EVENT\(\w+, *"(\w+)"', file.read(), re.M))

# A call that nothing bounds is believed to hang after this long; one that is bounded gets far more time than it needs.
HANG_S = 4
PATIENCE_S = 30

# A namespace of its own needs root, or a user namespace in which one is.
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
CANNOT_SET_THE_STAGE = 97

BARE, EMPTIED, RULED = "bare", "with an emptied rule file", "with the rules"


class Ended:
    """What became of a program: `status` is None when it was still running after its time."""

    def __init__(self, process, status, out, err, seconds):
        self.pid, self.status, self.out, self.err, self.seconds = process.pid, status, out, err, seconds

    @property
    def is_good(self):
        return self.status == 0

    @property
    def has_hung(self):
        return self.status is None

    def __str__(self):
        return f"status {self.status} after {self.seconds:.2f} s\n--- out\n{self.out}\n--- err\n{self.err}"


class Server:
    """A misbehave process; `mode` is what it does at first."""

    def __init__(self, mode, listen="127.0.0.1:0"):
        self.folder = tempfile.mkdtemp(prefix="misbehave-")
        self.control_path = os.path.join(self.folder, "control")
        self.process = subprocess.Popen(
            [MISBEHAVE, "--listen", listen, "--control", self.control_path, *shlex.split(mode)],
            stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline().split()
        assert said and said[0] == "listening", f"misbehave did not start: {said}"
        self.address = said[1]
        self.port = int(self.address.rsplit(":", 1)[1])
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(self.control_path)
        self.answers = self.control.makefile("r")

    def say(self, command):
        self.control.sendall((command + "\n").encode())
        return self.answers.readline().strip()

    def mode(self, mode):
        assert self.say("mode " + mode) == "ok", mode

    def count(self, what):
        return json.loads(self.say("count"))[what]

    def wait(self, what, number, seconds=PATIENCE_S):
        """True once that many were counted."""
        return self.say(f"wait {what} {number} {int(seconds * 1000)}") == "ok"

    def url(self, host=None):
        return f"http://{host or self.address.rsplit(':', 1)[0]}:{self.port}/"

    def close(self):
        self.answers.close()
        self.control.close()
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


USES_LIBUV = {"node", "loop_uv"}


class Stage(unittest.TestCase):
    """A test case with a folder of its own, where rules and shared state live."""

    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="resil-")
        self.state = os.path.join(self.folder, "state")
        self.runs_libuv = False
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def server(self, mode, **options):
        server = Server(mode, **options)
        self.addCleanup(server.close)
        return server

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def rules(self, text):
        """A rule file; its only rule may be given without the frame around it."""
        if "rules:" not in text:
            text = "version: 1\nrules:\n  - name: tested\n    " + text.strip().replace("\n", "\n    ") + "\n"
        return self.write("rules.yaml", text)

    def environment(self, rules=None, how=RULED, **extra):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("RESIL_", "LD_PRELOAD"))}
        environment.update(LC_ALL="C.UTF-8", http_proxy="", no_proxy="*", RESIL_STATE_DIR=self.state)
        if how != BARE:
            if how == EMPTIED:
                rules = self.write("emptied.yaml", "version: 1\nrules: []\n")
            environment.update(LD_PRELOAD=LIBRARY, RESIL_RULES=rules)
        environment.update(extra)
        return environment

    def within(self, rules, how):
        """What a bare command needs in its environment that starts the program itself, with $library preloaded."""
        environment = self.environment(rules, how)
        named = {"RESIL_RULES": environment["RESIL_RULES"]} if how != BARE else {}
        return {"library": environment.get("LD_PRELOAD", ""), **named}

    def start(self, command, rules=None, how=RULED, **extra):
        self.runs_libuv |= not USES_LIBUV.isdisjoint(map(os.path.basename, command))
        process = subprocess.Popen(command, env=self.environment(rules, how, **extra), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                   start_new_session=True)
        self.addCleanup(self.end_program, process)
        return process

    def end_program(self, process):
        """Also when the test failed before it was finished with."""
        if process.returncode is None:
            self.finish(process, 0)

    def finish(self, process, seconds=PATIENCE_S):
        began = time.monotonic()
        try:
            out, err = process.communicate(timeout=seconds)
            status = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            status = None
        ended = Ended(process, status, out, err, time.monotonic() - began)
        self.assertNotEqual(status, CANNOT_SET_THE_STAGE, f"the namespace could not be made: {ended}")
        return ended

    def run_program(self, command, rules=None, how=RULED, seconds=PATIENCE_S, **extra):
        return self.finish(self.start(command, rules, how, **extra), seconds)

    def only_with_rules(self, story):
        """`story(how)` tells whether the program came through. It may only with the rules in force."""
        for how in BARE, EMPTIED:
            self.assertFalse(story(how), f"{how} it should have failed")
        self.assertTrue(story(RULED), f"{RULED} it should have come through")

    def in_namespace(self, mounts, command, *options, prepare="true"):
        """The command in a mount namespace where files are replaced: `mounts` is {path: text}."""
        script = prepare
        for number, (path, text) in enumerate(mounts.items()):
            source = self.write(f"mount-{number}", text)
            script += f" && mount --bind {shlex.quote(source)} {path}"
        return [*UNSHARE, *options, "sh", "-c", f'{{ {script}; }} || exit {CANNOT_SET_THE_STAGE}; exec "$@"', "sh", *command]

    def with_hosts(self, command, hosts="127.0.0.1 payments.test other.test localhost\n"):
        """The command, with those lines for /etc/hosts."""
        return self.in_namespace({"/etc/hosts": hosts}, command)

    def wait_for(self, condition):
        """Until it holds, or for as long as anything may take here."""
        until = time.monotonic() + PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), until, "what was waited for did not happen")
            time.sleep(0.01)

    def resil(self, *arguments, expect=0):
        """What a command of resil says about this test's state."""
        ended = self.run_program([RESIL, *arguments], how=BARE)
        self.assertEqual(ended.status, expect, ended)
        return ended.out

    def events(self, name=None):
        """What was told, or what of it has that name: one that there is, or nothing would ever be found."""
        assert name is None or name in EVENTS, name
        lines = self.resil("log", "--json", "-n", "100000").splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if name is None or event["event"] == name]

    def reports(self):
        """What `resil status` says of this test's rule files."""
        return json.loads(self.resil("status", "--json"))["rule_files"]

    def retries(self):
        """How many there have been, of all hosts together."""
        return sum(host["retries"] for report in self.reports() for host in report["hosts"])

    def assert_nothing_passed_through(self, *by_nature):
        """Each call that a rule may have wanted was dealt with; `by_nature` are reasons for which that cannot be. libuv closes by
        a system call that nobody sees; whether the number is another's before its next use is chance."""
        if self.runs_libuv:
            by_nature += ("stale",)
        for report in self.reports():
            passed = {reason: number for reason, number in report["passed_through"].items()
                      if number and reason not in by_nature}
            self.assertEqual(passed, {}, report["rules"])

    def assert_answered(self, number):
        """So many requests were seen to be answered: what is left alone was watched."""
        self.assertEqual(sum(host["answered"] for report in self.reports() for host in report["hosts"]), number)

    def free_port(self):
        """One that nobody listens on; a server that is started late will have it."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            return taken.getsockname()[1]

    def daemon(self, command, port):
        """A real server, once it takes connections; it ends with the test."""
        process = subprocess.Popen(command, env=self.environment(how=BARE), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end():
            process.terminate()
            process.wait()

        self.addCleanup(end)
        self.wait_for(lambda: self.is_listening(port))
        self.assertIsNone(process.poll(), command)
        return process

    def is_listening(self, port):
        """Without connecting: nobody's count of connections changes."""
        with open("/proc/net/tcp") as file:
            return f":{port:04X} 00000000:0000 0A" in file.read()

    def ask_early(self, command, rules, how, come_up):
        """The program asks a server that is not there yet. It comes up after two retries; where there are none, when the
        program has given up."""
        before = len(self.events("retry")) if how == RULED else 0
        process = self.start(command, rules, how)
        if how == RULED:
            self.wait_for(lambda: len(self.events("retry")) >= before + 2 or process.poll() is not None)
            come_up()
            return self.finish(process)
        ended = self.finish(process)
        come_up()
        return ended

    def open_circuit(self, port, rules, how=RULED):
        """By one connect that is refused, where one failure opens it."""
        code = 'socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1)) and die "connected"'
        ended = self.run_program(["perl", "-e", code, str(port)], rules, how)
        self.assertTrue(ended.is_good, ended)

    def wget(self, url, *options):
        """One try, and no timeouts of its own: it waits in connect and read."""
        return ["wget", "--tries=1", "--timeout=0", "-O-", *options, url]

    def urllib(self, url):
        """Python's urllib without a timeout; prints the body, or the error's name and number."""
        code = ("import sys, urllib.request\n"
                "try: print(urllib.request.urlopen(sys.argv[1]).read().decode())\n"
                "except OSError as e:\n"
                "    r = getattr(e, 'reason', e)\n"
                "    r = r if isinstance(r, OSError) else e\n"
                "    sys.exit(f'{type(r).__name__} {r.errno}')\n")
        return [PYTHON, "-c", code, url]


def main():
    unittest.main(verbosity=2)
