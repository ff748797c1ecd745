"""Rule files that change under running programs: the next connect, after at most a second, is under the new rules; bad
ones leave the old rules in force."""

import os
import select
import subprocess
import time

from stage import BARE, LIBRARY, PYTHON, RESIL, RULED, Stage, main

NOTHING = "version: 1\nrules:\n  - name: other\n    match: {address: 127.0.0.1, port: 1}\n    timeout: {connect: 1s}\n"
BOUNDED = "version: 1\nrules:\n  - name: bounded\n    match: {address: 127.0.0.1}\n    timeout: {response: 300ms}\n"
BAD = "version: 1\nrules:\n  - name: bounded\n    match: {address: 127.0.0.1}\n    timeout: {respond: 300ms}\n"

# Asks once for each line that it gets, and says what came of it.
CLIENT = """
import http.client, sys
for line in sys.stdin:
    client = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))
    try:
        client.request('GET', '/')
        print(client.getresponse().read().decode(), flush=True)
    except OSError as e: print(e.errno, flush=True)
    client.close()
"""

# Has no descriptor left when it connects first, and connects again, with a pause, until its error is another one.
AT_ITS_LIMIT = """
import errno, os, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
s, taken = socket.socket(), []
def connect():
    return s.connect_ex(('127.0.0.1', int(sys.argv[1])))
try:
    while True: taken.append(os.dup(s.fileno()))
except OSError: pass
print(errno.errorcode[connect()])
for copy in taken: os.close(copy)
until = time.monotonic() + 20
while (error := connect()) == errno.ECONNREFUSED and time.monotonic() < until: time.sleep(0.02)
print(errno.errorcode[error])
"""


class Reload(Stage):
    def put(self, text, name="rules.yaml"):
        """As editors and configuration management do it: written aside, and renamed."""
        os.rename(self.write("new", text), os.path.join(self.folder, name))

    def client(self, port, rules, how=RULED, code=CLIENT, **extra):
        process = subprocess.Popen([PYTHON, "-c", code, str(port)], env=self.environment(rules, how, **extra), text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def end():
            process.kill()
            process.communicate()

        self.addCleanup(end)
        return process

    def ask(self, client, line=""):
        client.stdin.write(line + "\n")
        client.stdin.flush()
        return client.stdout.readline().strip()

    def ask_until(self, client, condition):
        answers = set()

        def is_so():
            answers.add(self.ask(client))
            return condition()

        self.wait_for(is_so)
        return answers

    def errors_of(self, client):
        client.stdin.close()
        client.stdin = None
        return client.communicate()[1]

    def test_a_python_client_is_bounded_by_rules_that_come_while_it_runs(self):

        def story(how):
            server = self.server("answer --body fine")
            rules = self.write("rules.yaml", NOTHING)
            client = self.client(server.port, rules, how)
            self.assertEqual(self.ask(client), "fine")
            self.put(BOUNDED)
            if how == RULED:
                self.assertEqual(self.ask_until(client, lambda: self.events("rules_reloaded")), {"fine"})
            server.mode("hang")
            client.stdin.write("\n")
            client.stdin.flush()
            is_told = select.select([client.stdout], [], [], 20 if how == RULED else 2)[0]
            return bool(is_told) and client.stdout.readline().strip() == "110"

        self.only_with_rules(story)
        (event,) = self.events("rules_reloaded")
        self.assertTrue(event["target"].endswith("/rules.yaml"), event)

    def test_a_wget_that_is_at_it_follows_too(self):
        def story(how):
            server = self.server("answer --body fine")
            rules = self.write("rules.yaml", NOTHING)
            urls = [f"{server.url()}{number}" for number in range(25)]
            process = self.start(["wget", "--tries=1", "--timeout=0", "--no-http-keep-alive", "--wait=0.1", "-O-", *urls], rules, how)
            self.assertTrue(server.wait("accepted", 1))
            self.put(BOUNDED)
            if how == RULED:
                self.wait_for(lambda: self.events("rules_reloaded") or process.poll() is not None)
            server.mode("hang")
            ended = self.finish(process, 60 if how == RULED else 3)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return "Connection timed out" in ended.err

        self.only_with_rules(story)

    def test_bad_rules_leave_the_old_ones_in_force_and_are_named_with_their_place(self):
        server = self.server("hang")
        client = self.client(server.port, self.write("rules.yaml", BOUNDED))
        self.assertEqual(self.ask(client), "110")
        self.put(BAD)
        self.assertEqual(self.ask_until(client, lambda: self.events("rules_kept")), {"110"})
        self.assertEqual(self.ask_until(client, lambda: len(self.events("response_timeout")) > 9), {"110"})
        (event,) = self.events("rules_kept")
        self.assertRegex(event["target"], r"rules\.yaml:5:15$")
        self.assertRegex(event["text"], "1 error in the changed rules: those from before stay in force")
        self.put(NOTHING)
        server.mode("answer --body fine")
        self.ask_until(client, lambda: self.events("rules_reloaded"))
        said = self.errors_of(client)
        self.assertRegex(said, r'^libresil: .*rules\.yaml:5:15: timeout: unknown key "respond".*\n$')

    def test_programs_that_start_on_bad_rules_say_so_once_for_each_version_of_them(self):
        rules = os.path.join(self.folder, "rules.yaml")
        versions = {"first": BAD, "same": BAD, "other": BAD.replace("respond", "reply")}
        for name, text in versions.items():
            self.write(name, text)
        url = self.server("answer --body fine").url()
        start = f"wget -qO- {url} >/dev/null; wget -qO- {url} >/dev/null; "
        script = "".join(f"echo {name} >&2; mv {self.folder}/{name} {rules}; {start}" for name in versions)
        script += f"echo absent >&2; rm {rules}; {start}"
        ended = self.run_program(["sh", "-c", script], rules)
        told = {}
        for line in ended.err.splitlines():
            if "libresil: " in line:
                told[name].append(line)
            else:
                told[name := line] = []
        for name, problem in ("first", '"respond"'), ("same", '"respond"'), ("other", '"reply"'), ("absent", "no such file"):
            self.assertEqual(len(told[name]), 2, (name, told))
            self.assertIn(problem, told[name][0])
            self.assertIn("no rules are in force", told[name][1])

    def test_what_resil_run_said_of_bad_rules_is_not_said_again(self):
        self.write("rules.yaml", "version: 1\ninclude: included.yaml\n")
        self.write("included.yaml", BAD)
        start = f"wget -qO- {self.server('answer --body fine').url()}"
        script = f"cd {self.folder}; {RESIL} run --rules rules.yaml -- {start}"
        ended = self.run_program(["sh", "-c", script], how=BARE)
        self.assertEqual(ended.out, "fine", ended)
        self.assertEqual((ended.err.count('"respond"'), ended.err.count("no rules are in force")), (1, 0), ended)
        environment = f"LD_PRELOAD={LIBRARY} RESIL_RULES={self.folder}/rules.yaml"
        ended = self.run_program(["sh", "-c", f"{script}; touch included.yaml; {environment} {start}"], how=BARE)
        self.assertEqual(ended.err.count("no rules are in force"), 1, ended)

    def test_a_program_that_starts_on_rules_of_which_a_running_one_told_says_that_it_has_none(self):
        server = self.server("hang")
        rules = self.write("rules.yaml", BOUNDED)
        client = self.client(server.port, rules)
        self.ask(client)
        self.put(BAD)
        self.ask_until(client, lambda: self.events("rules_kept"))
        other = self.client(self.server("answer --body fine").port, rules)
        self.assertEqual(self.ask(other), "fine")
        self.assertIn("no rules are in force", self.errors_of(other))

    def test_the_log_says_it_where_there_is_one(self):
        server = self.server("hang")
        log = os.path.join(self.folder, "log")
        client = self.client(server.port, self.write("rules.yaml", BOUNDED), RESIL_LOG=log)
        self.ask(client)
        self.put(BAD)
        self.ask_until(client, lambda: self.events("rules_kept"))
        self.put(NOTHING)
        server.mode("answer --body fine")
        self.ask_until(client, lambda: self.events("rules_reloaded"))
        with open(log) as file:
            lines = [line for line in file if "rules.yaml" in line]
        self.assertEqual(len(lines), 3, lines)
        self.assertRegex(lines[0], r'rules\.yaml:5:15: timeout: unknown key "respond"')
        self.assertRegex(lines[1], r"rules\.yaml:5:15: 1 error in the changed rules")
        self.assertRegex(lines[2], r"rules\.yaml: the rules have changed: 1 rule in force")
        self.assertEqual(self.errors_of(client), "")

    def test_a_file_that_vanishes_leaves_its_rules_in_force(self):
        server = self.server("hang")
        client = self.client(server.port, self.write("rules.yaml", BOUNDED))
        self.ask(client)
        os.remove(os.path.join(self.folder, "rules.yaml"))
        self.assertEqual(self.ask_until(client, lambda: self.events("rules_kept")), {"110"})
        self.assertEqual(self.ask_until(client, lambda: len(self.events("response_timeout")) > 9), {"110"})
        self.assertEqual(len(self.events("rules_kept")), 1)

    def test_a_file_that_may_not_be_read_any_more_leaves_its_rules_in_force_and_is_told_of(self):
        """A daemon that gave up root, and a new file that is for root only."""
        server = self.server("hang")
        os.chmod(self.folder, 0o711)
        rules = self.write("rules.yaml", BOUNDED)
        code = CLIENT.replace("for line in sys.stdin:\n", "import os\nfor line in sys.stdin:\n    if line == 'give up root\\n': os.setuid(65534)\n")
        client = self.client(server.port, rules, code=code)
        self.assertEqual(self.ask(client), "110")
        self.assertEqual(self.ask(client, "give up root"), "110")
        os.chmod(self.write("new", NOTHING), 0o600)
        os.rename(os.path.join(self.folder, "new"), rules)
        self.assertEqual(self.ask_until(client, lambda: self.events("rules_kept")), {"110"})
        self.assertEqual(self.ask_until(client, lambda: len(self.events("response_timeout")) > 9), {"110"})
        (event,) = self.events("rules_kept")
        self.assertRegex(event["target"], r"rules\.yaml: cannot be opened: permission denied$")
        os.chmod(rules, 0o644)
        server.mode("answer --body fine")
        self.ask_until(client, lambda: self.events("rules_reloaded"))
        self.assertRegex(self.errors_of(client), r"^libresil: .*rules\.yaml: cannot be opened: permission denied\n$")

    def test_rules_that_there_was_no_descriptor_for_are_read_once_there_is(self):
        server = self.server("refuse")
        rules = self.rules("match: {address: 127.0.0.1}\nbreaker: {failure_threshold: 1, error: ETIMEDOUT}\n")
        ended = self.run_program([PYTHON, "-c", AT_ITS_LIMIT, str(server.port)], rules)
        self.assertIn("rules.yaml: cannot be opened: EMFILE", ended.err)
        self.assertEqual(ended.out, "ECONNREFUSED\nETIMEDOUT\n", ended)

    def test_an_included_file_counts_too(self):
        server = self.server("answer --body fine")
        self.write("included.yaml", NOTHING)
        client = self.client(server.port, self.write("rules.yaml", "version: 1\ninclude: included.yaml\n"))
        self.ask(client)
        self.put(BOUNDED, "included.yaml")
        self.ask_until(client, lambda: self.events("rules_reloaded"))
        server.mode("hang")
        self.assertEqual(self.ask(client), "110")

    def test_connections_that_were_made_keep_what_they_had(self):
        """The old rules bound the one that is open, the new ones the next."""
        server = self.server("hang")
        rules = self.write("rules.yaml", BOUNDED)
        code = ("import os, socket, sys, time\n"
                "def made():\n"
                "    s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "    return s\n"
                "old = made()\n"
                "sys.stdout.write('made\\n'); sys.stdout.flush()\n"
                "for line in sys.stdin:\n"
                "    made().close()\n"
                "    print('again', flush=True)\n"
                "    if line == 'ask\\n': break\n"
                "old.sendall(b'x')\n"
                "try: old.recv(1)\n"
                "except OSError as e: print(e.errno, flush=True)\n")
        client = subprocess.Popen([PYTHON, "-c", code, str(server.port)], env=self.environment(rules), text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        self.assertEqual(client.stdout.readline(), "made\n")
        self.put(NOTHING)
        self.ask_until(client, lambda: self.events("rules_reloaded"))
        client.stdin.write("ask\n")
        client.stdin.flush()
        self.assertEqual(client.stdout.readline(), "again\n")
        self.assertEqual(client.stdout.readline(), "110\n")

    def test_a_thousand_changes_under_eight_threads(self):
        server = self.server("answer --body fine")
        rules = self.write("rules.yaml", BOUNDED)
        code = ("import os, socket, sys, threading\n"
                "over, counts = threading.Event(), []\n"
                "def size(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmData')).split()[1])\n"
                "def connect():\n"
                "    n = 0\n"
                "    while not over.is_set():\n"
                "        socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()\n"
                "        n += 1\n"
                "    counts.append(n)\n"
                "threads = [threading.Thread(target=connect) for _ in range(8)]\n"
                "for t in threads: t.start()\n"
                "print(flush=True)\n"
                "sys.stdin.readline()\n"
                "before = size()\n"
                "print(flush=True)\n"
                "sys.stdin.readline()\n"
                "after = size()\n"
                "over.set()\n"
                "for t in threads: t.join()\n"
                "print(min(counts) > 0, after - before, flush=True)\n")
        client = subprocess.Popen([PYTHON, "-c", code, str(server.port)], env=self.environment(rules), text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        client.stdout.readline()
        self.ask(client)
        for number in range(1000):
            self.put(BOUNDED.replace("300ms", f"{300 + number}ms"))
            time.sleep(0.003)  # so that the program looks in the middle of it, more than once
        self.put(NOTHING)
        self.wait_for(lambda: any(event["target"].endswith("rules.yaml") for event in self.events("rules_reloaded")))
        is_busy, grown = self.ask(client).split()
        self.assertEqual(is_busy, "True")
        self.assertLess(int(grown), 4096)
        self.assertEqual(self.events("rules_kept"), [])
        self.assertEqual(client.wait(), 0)


if __name__ == "__main__":
    main()
