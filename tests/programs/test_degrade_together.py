"""Down the whole ladder and up again, by 8 processes with 8 threads each at once: while the name server, the host and its
backup are switched off one by one and come back, every answer is whole and of one rung, and it is the right one."""

import json

from stage import BARE, EMPTIED, MISBEHAVE, PYTHON, RULED, main
from test_degrade_names import Named

PROCESSES, THREADS = 8, 8
BODIES = {"primary": "p" * 7_000, "backup": "b" * 6_000, "canned": "c" * 5_000}

# Each thread asks again and again, and says what came of it: the rung whose answer it was, `mixed`, or the error.
CLIENT = r"""
import http.client, json, os, socket, sys, threading, time
bodies = json.loads(sys.argv[1])
known = {text: name for name, text in bodies.items()}
def ask(number):
    while True:
        try:
            connection = http.client.HTTPConnection("api.test", 8001, timeout=20 if number % 2 else None)
            connection.request("GET", "/")
            said = known.get(connection.getresponse().read().decode(), "mixed")
            connection.close()
        except (OSError, http.client.HTTPException) as e:
            said = type(e).__name__ + str(getattr(e, "errno", None) or "")
        os.write(1, f"{number} {said}\n".encode())
        time.sleep(0.02)
for number in range(int(sys.argv[2])):
    threading.Thread(target=ask, args=(number,), daemon=True).start()
sys.stdin.read()
os._exit(0)
"""

# Switches everything off and on, and prints for each stage what all threads came to in the end, and what else was seen.
CONDUCTOR = r"""
import json, os, signal, socket, subprocess, sys, threading, time
folder, misbehave, bodies, client, processes, threads, is_bare = sys.argv[1:8]
processes, threads = int(processes), int(threads)

class Server:
    def __init__(self, place, body):
        self.path, self.body = os.path.join(folder, "control-" + body), json.loads(bodies)[body]
        self.process = subprocess.Popen([misbehave, "--listen", place, "--control", self.path, "answer", "--body", self.body],
                                        stdout=subprocess.PIPE, text=True, env={})
        self.process.stdout.readline()
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(self.path)
        self.answers = self.control.makefile("r")
    def say(self, command):
        self.control.sendall((command + "\n").encode())
        answer = self.answers.readline()
        assert answer == "ok\n" or command == "count", answer
        return answer
    def off(self): self.say("mode refuse")
    def on(self): self.say("mode answer --body " + self.body)
    def answered(self): return json.loads(self.say("count"))["answered"]

primary, backup = Server("127.0.0.1:8001", "primary"), Server("127.0.0.9:8000", "backup")
environment = dict(os.environ, LD_PRELOAD=os.environ["library"])
started = [subprocess.Popen([sys.executable, "-c", client, bodies, str(threads)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, env=environment) for _ in range(processes)]
said, lock = {}, threading.Lock()
def listen(process, lines):
    for line in lines:
        number, word = line.split()
        with lock:
            said.setdefault((process, number), []).append(word)
for number, process in enumerate(started):
    threading.Thread(target=listen, args=(number, process.stdout), daemon=True).start()

def settle(expected, patience):
    # Until the last three answers of every thread are what they should be.
    until = time.monotonic() + patience
    with lock:
        said.clear()
    while time.monotonic() < until:
        with lock:
            if len(said) == processes * threads and all(words[-3:] == [expected] * 3 for words in said.values()):
                break
        time.sleep(0.02)
    with lock:
        return sorted({word for words in said.values() for word in words}), sorted({words[-1] for words in said.values()})

def tell(name, value=""):
    with open(os.path.join(folder, name), "w") as file:
        file.write(value)
def untell(name):
    os.remove(os.path.join(folder, name))

stages = []
def stage(name, change, expected, is_served=is_bare != "1"):
    change()
    seen, last = settle(expected, 30 if is_served else 2)
    stages.append({"stage": name, "seen": seen, "last": last, "primary": primary.answered(), "backup": backup.answered()})
stage("all is well", lambda: None, "primary", True)
stage("the name server fails", lambda: tell("fail"), "primary")
stage("the host is down", primary.off, "backup")
if is_bare != "1":
    stage("its backup is down", backup.off, "canned")
    stage("the backup is back", backup.on, "backup")
    stage("the host is back", primary.on, "primary")
    stage("the name server is back", lambda: untell("fail"), "primary")
else:
    untell("fail")
for process in started:
    process.stdin.close()
for process in started:
    process.wait()
for server in primary, backup:
    server.process.terminate()
    server.process.wait()
print(json.dumps(stages))
"""


class Together(Named):
    def test_eight_processes_with_eight_threads_each(self):
        answer = f"HTTP/1.0 200 OK\\r\\nContent-Length: {len(BODIES['canned'])}\\r\\n\\r\\n{BODIES['canned']}"
        rules = self.rules(f"""match: {{host: api.test, port: 8001}}
timeout: {{connect: 2s, resolve: 2s, total: 4s}}
breaker: {{failure_threshold: 3, failure_rate: off, recovery_timeout: 500ms, max_recovery_timeout: 500ms, jitter: 0%}}
degrade:
  - host: 127.0.0.9:8000
  - stale: {{}}
  - respond: {{text: "{answer}"}}
""")

        def story(how):
            command = [PYTHON, "-c", CONDUCTOR, self.folder, MISBEHAVE, json.dumps(BODIES), CLIENT, str(PROCESSES), str(THREADS),
                       "0" if how == RULED else "1"]
            ended = self.run_program(self.with_name_server(command), how=BARE, seconds=300, **self.within(rules, how))
            self.assertTrue(ended.is_good, ended)
            stages = {stage.pop("stage"): stage for stage in json.loads(ended.out)}
            for name, stage in stages.items():
                self.assertNotIn("mixed", stage["seen"], name)
            return stages

        for how in BARE, EMPTIED:
            stages = story(how)
            self.assertEqual(stages["all is well"]["last"], ["primary"], how)
            self.assertNotIn("primary", stages["the host is down"]["last"], how)
            self.assertNotEqual(stages["the host is down"]["last"], ["backup"], how)
        stages = story(RULED)
        self.assertEqual([stage["last"] for stage in stages.values()],
                         [["primary"], ["primary"], ["backup"], ["canned"], ["backup"], ["primary"], ["primary"]], stages)
        # No thread ever got anything but the answer of a rung, apart from connections that stood as a server went.
        for name in "all is well", "the name server fails", "the name server is back":
            self.assertEqual(stages[name]["seen"], ["primary"], name)
        # By the servers' own counts: while it was down nobody was served by it, and all were in the end.
        self.assertEqual(stages["the backup is back"]["primary"], stages["its backup is down"]["primary"])
        self.assertGreater(stages["the name server is back"]["primary"], stages["the host is back"]["primary"])
        self.assertEqual(stages["the name server is back"]["backup"], stages["the host is back"]["backup"])
        self.assert_nothing_passed_through("loading")


if __name__ == "__main__":
    main()
