"""Down the ladder, lookups: the last good answer when name servers do not answer, or are late, and the rule's own addresses.

Each test has a network namespace with a name server that can be told, by files, to be deaf or to fail, and where names
lead."""

import os
import shutil

from stage import BARE, EMPTIED, MISBEHAVE, PYTHON, RESIL, RULED, Stage, main

# Answers *.test with what the file `address` says, unless there is a file `deaf` (no answer), `fail` (SERVFAIL), `none`
# (no such name) or `late` (after so many seconds). Ends with the program.
NAME_SERVER = r"""
import ctypes, os, signal, socket, struct, sys, threading, time
folder, command = sys.argv[1], sys.argv[2:]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
if os.fork():
    s.close()
    os.execvp(command[0], command)
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
null = os.open("/dev/null", os.O_RDWR)
for fd in 0, 1, 2:
    os.dup2(null, fd)
def told(name):
    try:
        with open(os.path.join(folder, name)) as file:
            return file.read() or "1"
    except FileNotFoundError:
        return None
def serve(query, client):
    with open(os.path.join(folder, "questions"), "a") as file:
        file.write(".")
    if told("deaf"):
        return
    time.sleep(float(told("late") or 0))
    end = query.index(b"\0", 12) + 5
    kind = struct.unpack("!H", query[end - 4:end - 2])[0]
    code = 2 if told("fail") else 3 if told("none") else 0
    addresses = [] if code or kind != 1 else [socket.inet_aton(told("address") or "127.0.0.1")]
    answer = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0) + query[12:end]
    for address in addresses:
        answer += b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + address
    s.sendto(answer, client)
while True:
    query, client = s.recvfrom(512)
    threading.Thread(target=serve, args=(query, client), daemon=True).start()
"""

STALE = """
match: {host: "*.test"}
timeout: {resolve: 4s}
degrade:
  - stale: {max_age: %s, after: %s}
"""

# Asks, says what came of it, and goes on when a line comes in.
ASK = r"""
import os, socket, sys
folder = sys.argv[1]
def tell(*names):
    for name in "deaf", "fail", "none", "late":
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))
    for name in names:
        key, _, value = name.partition("=")
        with open(os.path.join(folder, key), "w") as file:
            file.write(value)
def ask(name="api.test", port=80, **more):
    try:
        return sorted({answer[4][0] for answer in socket.getaddrinfo(name, port, **more)})
    except socket.gaierror as e:
        return {socket.EAI_AGAIN: "EAI_AGAIN", socket.EAI_NONAME: "EAI_NONAME"}.get(e.errno, e.errno)
def questions():
    try:
        return os.path.getsize(os.path.join(folder, "questions"))
    except FileNotFoundError:
        return 0
"""


class Named(Stage):
    HOSTS, SERVERS = "127.0.0.1 localhost\n", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"

    def with_name_server(self, command):
        server = self.write("name_server.py", NAME_SERVER)
        return self.in_namespace(
            {"/etc/resolv.conf": self.SERVERS, "/etc/nsswitch.conf": "hosts: files dns\n", "/etc/hosts": self.HOSTS},
            [PYTHON, server, self.folder, *command], "--net", prepare="ip link set lo up")

    def python(self, code, rules, how=RULED, **extra):
        ended = self.run_program(self.with_name_server([PYTHON, "-c", ASK + code, self.folder]), rules, how, **extra)
        self.assertEqual(ended.status, 0, ended)
        for name in "deaf", "fail", "none", "late", "questions":
            if os.path.exists(os.path.join(self.folder, name)):
                os.remove(os.path.join(self.folder, name))
        return ended.out.split("\n")[:-1]

    def degraded(self):
        return sum(host["degraded"] for report in self.reports() for host in report["hosts"])


class Stale(Named):
    def test_the_last_good_answer_is_served_when_the_name_server_fails(self):
        rules = self.rules(STALE % ("1h", "2s"))

        def story(how):
            return self.python("print(ask()); tell('fail'); print(ask())", rules, how)[1] == "['127.0.0.1']"

        self.only_with_rules(story)
        self.assertEqual(self.degraded(), 1)
        (event,) = self.events("degraded")
        self.assertEqual((event["rung"], event["target"], event["error"]), ("stale", "api.test:80", "EAI_AGAIN"))

    def test_it_is_served_when_the_name_server_is_deaf(self):
        """Within `after`, and then at once for 30 s: the name server is not asked again."""
        rules = self.rules(STALE % ("1h", "300ms"))
        code = ("print(ask()); tell('deaf'); print(ask())\n"
                "before = questions(); print([ask() for _ in range(3)], questions() - before)\n")
        self.assertEqual(self.python(code, rules),
                         ["['127.0.0.1']", "['127.0.0.1']", "[['127.0.0.1'], ['127.0.0.1'], ['127.0.0.1']] 0"])
        self.assertEqual(self.degraded(), 4)

    def test_a_program_that_is_started_during_the_outage_has_it(self):
        rules = self.rules(STALE % ("1h", "300ms"))

        def story(how):
            self.python("print(ask())", rules, how)
            return self.python("tell('deaf'); print(ask())", rules, how) == ["['127.0.0.1']"]

        self.only_with_rules(story)

    def test_an_answer_that_comes_late_is_kept_for_the_next_time(self):
        rules = self.rules(STALE % ("1h", "300ms"))
        code = ("import time\nprint(ask()); tell('late=0.6', 'address=127.0.0.9'); print(ask()); time.sleep(1.5); print(ask())")
        self.assertEqual(self.python(code, rules), ["['127.0.0.1']", "['127.0.0.1']", "['127.0.0.9']"])

    def test_no_such_name_is_an_answer(self):
        rules = self.rules(STALE % ("1h", "2s"))
        code = "print(ask()); tell('none'); print(ask())"
        self.assertEqual(self.python(code, rules), self.python(code, rules, BARE))
        self.assertEqual(self.degraded(), 0)

    def test_an_answer_that_is_too_old_is_not_served(self):
        rules = self.rules(STALE % ("500ms", "300ms"))
        code = "import time\nprint(ask()); tell('fail'); time.sleep(0.6); print(ask())"
        self.assertEqual(self.python(code, rules), ["['127.0.0.1']", "EAI_AGAIN"])
        self.assertEqual([event["reason"] for event in self.events("rung_skipped")], ["too_old"])

    def test_each_way_of_asking_gets_what_it_asked_for(self):
        rules = self.rules(STALE % ("1h", "300ms"))
        code = ("def all(): return (ask(family=socket.AF_INET), ask(family=socket.AF_INET6), ask(type=socket.SOCK_DGRAM),\n"
                "    ask(flags=socket.AI_CANONNAME), socket.getaddrinfo('api.test', 'http', flags=socket.AI_CANONNAME)[0],\n"
                "    socket.gethostbyname('api.test'), socket.gethostbyname_ex('api.test'))\n"
                "print(ask()); before = all(); tell('fail'); after = all()\n"
                "print(before[0] == after[0], before[2:] == after[2:]); print(before, after, file=sys.stderr)")
        self.assertEqual(self.python(code, rules), ["['127.0.0.1']", "True True"])

    def test_programs_come_through(self):
        """The server is there; the name server is not any more."""
        rules = self.rules(STALE % ("1h", "300ms"))
        commands = {"wget": ["wget", "-qO-", "--tries=1", "http://api.test:8000/"],
                    "curl": ["curl", "-sS", "http://api.test:8000/"],
                    "node": ["node", "-e", "require('http').get('http://api.test:8000/', a => a.pipe(process.stdout))"]}
        script = ('"$1" --listen 127.0.0.1:8000 answer --body here-I-am >/dev/null & server=$!; sleep 0.3; shift; folder=$1; shift\n'
                  'export LD_PRELOAD=$library; "$@"; touch "$folder/deaf"; "$@"; status=$?; kill $server; exit $status')
        for name, command in commands.items():
            if not shutil.which(name):
                continue

            def story(how):
                ended = self.run_program(
                    self.with_name_server(["sh", "-c", script, "sh", MISBEHAVE, self.folder, *command]), how=BARE,
                    **self.within(rules, how))
                os.remove(os.path.join(self.folder, "deaf"))
                return ended.out.count("here-I-am") == 2

            with self.subTest(name):
                self.only_with_rules(story)


class Addresses(Named):
    def test_they_are_served_where_there_is_no_good_answer(self):
        rules = self.rules('match: {host: "*.test"}\ntimeout: {resolve: 2s}\ndegrade:\n  - stale: {}\n'
                           "  - addresses: [127.0.0.7, fd00::7]\n")

        def story(how):
            return self.python("tell('fail'); print(ask(family=socket.AF_INET))", rules, how) == ["['127.0.0.7']"]

        self.only_with_rules(story)
        (event,) = self.events("degraded")
        self.assertEqual((event["rung"], event["error"]), ("addresses", "EAI_AGAIN"))
        self.assertEqual([event["reason"] for event in self.events("rung_skipped")], ["no_answer"])


class BesideBackup(Named):
    """Beside a backup that listens on 127.0.0.9:8000."""

    SCRIPT = ('read -r _ < <("$1" --listen 127.0.0.9:8000 answer --body backup); server=$!; shift\n'
              'LD_PRELOAD=$library "$@"; status=$?; kill $server; exit $status')

    def is_served(self, command, rules, how):
        ended = self.run_program(self.with_name_server(["bash", "-c", self.SCRIPT, "bash", MISBEHAVE, *command]), how=BARE,
                                 **self.within(rules, how))
        return ended.out.strip() == "backup"

    def served(self):
        return [(event["rung"], event["address"]) for event in self.events("degraded")]


class FallbackNames(BesideBackup):
    def test_a_fallback_host_is_known_by_its_name(self):
        """It was looked up when the name of the rule was, and is known when the name server is gone."""
        rules = self.rules('match: {host: api.test}\ntimeout: {connect: 1s, resolve: 2s}\nbreaker: {}\n'
                           "degrade:\n  - host: backup.test:%d\n" % 8000)
        self.write("address", "127.0.0.9")
        self.only_with_rules(lambda how: self.is_served(["curl", "-sS", "http://api.test:8001/"], rules, how))
        self.assertEqual(self.served(), [("host", "127.0.0.9:8000")])

    def test_it_is_looked_up_when_the_program_looks_up_any_name(self):
        rules = self.rules('match: {address: 127.0.0.5}\ntimeout: {connect: 1s, resolve: 2s}\nbreaker: {}\n'
                           "degrade:\n  - host: backup.test:8000\n")
        self.write("address", "127.0.0.9")
        code = ("import socket, urllib.request as u\nsocket.getaddrinfo('other.test', 80)\n"
                "print(u.urlopen('http://127.0.0.5:8001/').read().decode())\n")
        self.only_with_rules(lambda how: self.is_served([PYTHON, "-c", code], rules, how))
        self.assertEqual(self.served(), [("host", "127.0.0.9:8000")])

    def test_resil_run_looks_it_up_for_a_program_that_looks_nothing_up(self):
        rules = self.rules('match: {address: 127.0.0.5}\ntimeout: {connect: 1s}\nbreaker: {}\n'
                           "degrade:\n  - host: backup.test:8000\n")
        self.write("address", "127.0.0.9")
        ask = ["curl", "-sS", "http://127.0.0.5:8001/"]
        for how in BARE, EMPTIED, RULED:
            self.assertFalse(self.is_served(ask, rules, how), how)
        self.assertTrue(self.is_served([RESIL, "run", "--rules", rules, "--log", "off", "--", *ask], rules, BARE))
        self.assertEqual([event["reason"] for event in self.events("rung_skipped")], ["unknown"])
        # From then on it is known to all.
        self.assertTrue(self.is_served(ask, rules, RULED))

    def test_it_serves_where_the_lookup_of_the_host_itself_fails(self):
        """Whoever looks up is led to it, and connects to its port."""
        rules = self.rules('match: {host: api.test}\ntimeout: {connect: 1s, resolve: 2s}\n'
                           "degrade:\n  - host: 127.0.0.9:8000\n")
        self.write("fail", "")
        for command in (["curl", "-sS", "http://api.test:8001/"], ["wget", "-qO-", "--tries=1", "http://api.test:8001/"],
                        [PYTHON, "-c", "import urllib.request as u; print(u.urlopen('http://api.test:8001/').read().decode())"],
                        ["curl", "-sS", "http://api.test:8000/"]):
            before = len(self.served())
            self.only_with_rules(lambda how: self.is_served(command, rules, how))
            self.assertEqual(self.served()[before:][-1], ("host", "127.0.0.9:8000"), command)
        lookups = [event for event in self.events("degraded") if event["text"].endswith("led to the fallback host 127.0.0.9")]
        self.assertGreaterEqual(len(lookups), 1)

    def test_a_good_answer_comes_before_it(self):
        """Only the name server is down: the host itself is well."""
        rules = self.rules('match: {host: api.test}\ntimeout: {resolve: 2s}\n'
                           "degrade:\n  - host: 127.0.0.9:8000\n  - stale: {}\n")
        code = "first = ask(family=socket.AF_INET); tell('fail'); print(first, ask(family=socket.AF_INET))"
        self.assertEqual(self.python(code, rules), ["['127.0.0.1'] ['127.0.0.1']"])
        self.assertEqual(self.python("tell('fail'); print(ask(family=socket.AF_INET))", rules, BARE), ["EAI_AGAIN"])

    def test_the_host_itself_serves_again_when_it_is_found_again(self):
        rules = self.rules('match: {host: api.test}\ntimeout: {connect: 1s, resolve: 2s}\n'
                           "degrade:\n  - host: 127.0.0.9:8000\n")
        code = ("import threading, http.server\n"
                "for place, body in (('127.0.0.9', 8000), 'backup'), (('127.0.0.1', 8001), 'primary'):\n"
                "    class Own(http.server.BaseHTTPRequestHandler):\n"
                "        body = body\n"
                "        def do_GET(self):\n"
                "            self.send_response(200), self.end_headers(), self.wfile.write(self.body.encode())\n"
                "        def log_message(self, *words): pass\n"
                "    server = http.server.ThreadingHTTPServer(place, Own)\n"
                "    threading.Thread(target=server.serve_forever, daemon=True).start()\n"
                "import urllib.request as u\n"
                "def get():\n"
                "    try: return u.urlopen('http://api.test:8001/').read().decode()\n"
                "    except OSError: return 'nobody'\n"
                "first = get(); tell('fail'); second = get(); tell(); print(first, second, get())\n")
        self.assertEqual(self.python(code, rules, BARE), ["primary nobody primary"])
        self.assertEqual(self.python(code, rules), ["primary backup primary"])


if __name__ == "__main__":
    main()
