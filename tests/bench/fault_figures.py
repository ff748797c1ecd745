"""How well faults are what they say, as programs see them: delays, rates, and what they cost programs that move much."""

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading

DELAY_MS = 100
RATE = 4_000_000
GIGABIT = 125_000_000

# Blocking, and in a loop: prints the median of what COUNT round trips, or connects, took, in ms.
BLOCKING = """
import socket, statistics, sys, time
def took(do):
    began = time.monotonic()
    do()
    return (time.monotonic() - began) * 1000
port, count = int(sys.argv[1]), int(sys.argv[2])
def connect():
    socket.create_connection(("127.0.0.1", port)).close()
if sys.argv[3] == "connect":
    print(statistics.median(took(connect) for _ in range(count)))
else:
    line = socket.create_connection(("127.0.0.1", port))
    def ask():
        line.sendall(b"x")
        assert line.recv(1) == b"x"
    print(statistics.median(took(ask) for _ in range(count)))
"""
LOOP = """
import asyncio, statistics, sys, time
async def main():
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    times = []
    for _ in range(int(sys.argv[2])):
        began = time.monotonic()
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        times.append((time.monotonic() - began) * 1000)
    print(statistics.median(times))
asyncio.run(main())
"""


@contextlib.contextmanager
def echo_server():
    """Gives each byte back, in threads of ours."""
    with served(lambda line: iter(lambda: line.recv(4096), b""), lambda line, data: line.sendall(data)) as port:
        yield port


@contextlib.contextmanager
def web_server():
    """As many bytes as anybody wants; what is sent to it is taken and forgotten."""
    block = bytes(1 << 18)

    def pieces(line):
        asked = line.recv(1 << 16)
        if asked.startswith(b"PUT"):
            line.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while line.recv(1 << 18):
                pass
            return
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"
        while True:
            yield block

    with served(pieces, lambda line, data: line.sendall(data)) as port:
        yield port


@contextlib.contextmanager
def served(pieces, give):
    def serve(line):
        with line, contextlib.suppress(OSError):
            for data in pieces(line):
                give(line, data)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


class FaultFigures:
    """Part of Bench."""

    def faults_alone(self, fault):
        """A rule file of that fault alone."""
        path = os.path.join(self.folder, "fault.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("version: 1\nfaults: [{name: a, match: {address: 127.0.0.1}, %s}]\n" % fault)
        return path

    def run_armed(self, command, rules):
        environment = self.environment(rules)
        if rules:
            environment.update(RESIL_FAULTS="1", RESIL_SEED="1", RESIL_STRICT="1")
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode != 78, ended.stderr
        return ended

    def within(self, what, figure, wanted, most_off, unit):
        missed = abs(figure - wanted) > most_off
        self.missed += missed
        print(f"  {what:<62} {figure:8.2f}{unit}   wanted {wanted:g} +- {most_off:g}{unit}" + ("   MISSED" if missed else ""),
              flush=True)

    def delays(self):
        print(f"a latency of {DELAY_MS} ms: the median of 40, less the bare median")
        ways = (("connect, blocking", [BLOCKING, "connect"], "connect"), ("recv, blocking", [BLOCKING, "recv"], "recv"),
                ("recv, python asyncio", [LOOP], "recv"))
        with echo_server() as port:
            for what, (program, *arguments), on in ways:
                command = [sys.executable, "-c", program, str(port), "40", *arguments]
                rules = self.faults_alone(f"on: [{on}], latency: {DELAY_MS}ms")
                bare, ours = (float(self.run_armed(command, way).stdout) for way in (None, rules))
                self.within(what, ours - bare, DELAY_MS, DELAY_MS / 10 + 2, " ms")

    def bandwidths(self):
        if not shutil.which("curl"):
            print("  curl is not installed")
            return
        print(f"a bandwidth of {RATE / 1e6:g} MB/s, curl, over 10 s")
        with web_server() as port:
            address = f"http://127.0.0.1:{port}/"
            for what, extra in ("download", []), ("upload", ["-T", "/dev/zero"]):
                command = ["curl", "-s", "-o", "/dev/null", "-w", "%{size_download} %{size_upload} %{time_total}", "-m", "10", *extra,
                           address]
                said = self.run_armed(command, self.faults_alone(f"bandwidth: {RATE}B/s")).stdout.split()
                moved = int(said[1] if extra else said[0])
                self.within(what, moved / float(said[2]) / 1e6, RATE / 1e6, RATE / 1e6 * 0.05, " MB/s")

    def iperf(self):
        if not shutil.which("iperf3"):
            print("  iperf3 is not installed")
            return
        print("iperf3 at 1 Gbit/s for 5 s: shaped by a bandwidth fault, and by itself (-b 1G); medians of 3")
        rules = self.faults_alone(f"bandwidth: {{rate: {GIGABIT}B/s, direction: send}}")
        rates, times = {True: [], False: []}, {True: [], False: []}
        for _ in range(3):
            for is_ours in False, True:
                port = self.free_port()
                with self.iperf_server(port):
                    command = ["iperf3", "-c", "127.0.0.1", "-p", str(port), "-t", "5", "-J", *([] if is_ours else ["-b", "1G"])]
                    said = json.loads(self.run_armed(command, rules if is_ours else None).stdout)["end"]
                rates[is_ours].append(said["sum_received"]["bits_per_second"] / 1e9)
                times[is_ours].append(said["cpu_utilization_percent"]["host_total"])
        for name, figures, unit in ("rate", rates, " Gbit/s"), ("processor of the sender", times, " %"):
            for what, is_ours in ("by itself", False), ("shaped", True):
                self.row(f"{name}, {what}", statistics.median(figures[is_ours]), None, unit)
        self.row("processor time, shaped / by itself", statistics.median(times[True]) / statistics.median(times[False]))

    @contextlib.contextmanager
    def iperf_server(self, port):
        """It serves one test, so its port is not to be tried."""
        with subprocess.Popen(["iperf3", "-s", "-1", "-p", str(port), "--forceflush"], env=self.environment(None), text=True,
                              stdout=subprocess.PIPE) as process:
            try:
                while "listening" not in process.stdout.readline():
                    assert process.poll() is None
                yield
            finally:
                process.kill()

    def two_threads(self, program):
        print(f"two threads that send and receive, wall clock, best of 9 (load {os.getloadavg()[0]:.1f})")
        rules = self.faults_alone("on: [send, recv], latency: {delay: 1us}, probability: 0.0001%")
        for what, way in ("bare", None), ("with faults armed", rules):
            alone, both = (min(int(self.run_armed([program, threads, "100000"], way).stdout) for _ in range(9)) for threads in "12")
            self.row(f"speed of two / of one, {what}", 2 * alone / both)
