"""A thousand reloads that are really made, under load: no call is lost, no circuit forgotten, and nothing grows. A clock that
goes 1 000 times as fast makes what happens once a second happen all the time."""

import os
import subprocess
import time

from stage import BUILD, LIBRARY, PYTHON, RULED, Stage, main

RULES = """version: 1
rules:
  - name: changing
    match: {address: 127.0.0.1, port: %d}
    timeout: {response: %ds, total: 10h}
  - name: unchanged
    match: {address: 127.0.0.1, port: %d}
    breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: 20h, max_recovery_timeout: 24h, jitter: 0%%}
"""
TIMES = 1000

# Asks without end until a line comes, and then says how often, and what went wrong.
PREAMBLE = """
import socket, sys
good, down = int(sys.argv[1]), int(sys.argv[2])
problems, count, rejected = [], 0, 0
def said(answer):
    global count
    count += 1
    if not answer.endswith(b'fine'): problems.append(repr(answer))
def refused(error):
    global rejected
    rejected += error == 111
    if error != 111: problems.append(f'connect to the one that is down: {error}')
with socket.socket() as s: refused(s.connect_ex(('127.0.0.1', down)))  # opens its circuit
"""
THREADS = PREAMBLE + """
import threading
over = threading.Event()
def ask():
    while not over.is_set():
        try:
            with socket.create_connection(('127.0.0.1', good)) as s:
                s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
                answer = b''
                while got := s.recv(1000): answer += got
            said(answer)
            with socket.socket() as s: refused(s.connect_ex(('127.0.0.1', down)))
        except OSError as error: problems.append(repr(error))
threads = [threading.Thread(target=ask) for _ in range(4)]
for t in threads: t.start()
sys.stdin.readline()
over.set()
for t in threads: t.join()
print(count, rejected, problems[:3], flush=True)
"""
LOOP = PREAMBLE + """
import asyncio
async def ask(over):
    while not over.is_set():
        try:
            reader, writer = await asyncio.open_connection('127.0.0.1', good)
            writer.write(b'GET / HTTP/1.0\\r\\n\\r\\n')
            said(await reader.read())
            writer.close()
            try: (await asyncio.open_connection('127.0.0.1', down))[1].close(); refused(0)
            except ConnectionRefusedError: refused(111)
        except OSError as error: problems.append(repr(error))
async def main():
    over = asyncio.Event()
    tasks = [asyncio.create_task(ask(over)) for _ in range(4)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    over.set()
    await asyncio.gather(*tasks)
    print(count, rejected, problems[:3], flush=True)
asyncio.run(main())
"""


class ReloadOften(Stage):
    def reloads(self):
        return sum(report["events"]["rules_reloaded"] for report in self.reports())

    def survives(self, code):
        server, down = self.server("answer --body fine"), self.free_port()
        rules = self.rules(RULES % (server.port, 3000, down))
        fast = os.path.join(BUILD, "tests/preload_fast.so")
        client = subprocess.Popen([PYTHON, "-c", code, str(server.port), str(down)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  env=self.environment(rules, RULED, LD_PRELOAD=f"{fast} {LIBRARY}", FAST_CLOCK="1000"))
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        made, sizes, until = 0, [], time.monotonic() + 200

        def size():
            with open(f"/proc/{client.pid}/status") as file:
                return int(next(line for line in file if line.startswith("VmData")).split()[1])

        self.wait_for(lambda: self.reports() and any(host["rejected"] for host in self.reports()[0]["hosts"]))
        while self.reloads() < TIMES:
            self.assertLess(time.monotonic(), until, f"{self.reloads()} reloads after {made} changes")
            self.assertIsNone(client.poll())
            for _ in range(40):
                made += 1
                new = self.write("new", RULES % (server.port, 3000 + made % 50, down))
                os.utime(new, (made, made))  # or it would seem to be written still: all of this is one tick of the kernel's
                os.rename(new, rules)
                sizes.append(size())
                time.sleep(0.006)  # a look, mostly
        client.stdin.write("\n")
        client.stdin.flush()
        count, rejected, problems = client.stdout.readline().strip().split(maxsplit=2)
        self.assertEqual(problems, "[]")
        self.assertGreater(int(count), 100)
        # Old rules stay until the calls under them are over, so there are now more of them and now fewer.
        fifth = len(sizes) // 5
        self.assertLess(min(sizes[-fifth:]) - min(sizes[fifth:2 * fifth]), 1024)
        (report,) = self.reports()
        hosts = {host["rule"]: host for host in report["hosts"]}
        # Its parameters are the same, so it is open since the first failure: nothing has reached that host.
        self.assertEqual((hosts["unchanged"]["openings"], hosts["unchanged"]["failed"], hosts["unchanged"]["state"]), (1, 1, "open"))
        self.assertEqual(hosts["unchanged"]["rejected"], int(rejected) - 1)
        self.assertEqual(hosts["changing"]["failed"], 0)
        self.assertEqual(report["events"]["rules_kept"], 0)
        self.assertEqual(client.wait(), 0)

    def test_threads_that_block(self):
        self.survives(THREADS)

    def test_an_event_loop(self):
        self.survives(LOOP)


if __name__ == "__main__":
    main()
