"""Each starter of rules/ that breaks things does to a real program what its first lines promise, as it is."""

import os
import socket
import threading
import time

from faults import FaultStage
from stage import PYTHON, main
from test_faults import Server

STARTERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../rules")


class Starters(FaultStage):
    def starter(self, name):
        return os.path.join(STARTERS, name)

    def counts(self):
        counts = {}
        for event in self.events("fault"):
            counts[event["fault"]] = counts.get(event["fault"], 0) + 1
        return counts

    def test_slow_network_makes_wget_late(self):
        url = f"http://localhost:{Server(self).port}/"
        self.only_when_armed(lambda how: self.is_fetched(url, self.starter("slow-network.yaml"), how)
                             and self.counts() == {"far-away": 2, "slow-lookups": 1, "narrow": 1})

    def is_fetched(self, url, rules, how):
        began = time.monotonic()
        ended = self.faulty(["wget", "-q", "--tries=1", "-4", "-O/dev/null", url], rules, how, RESIL_SEED="3")
        self.assertTrue(ended.is_good, ended)
        self.seconds = time.monotonic() - began
        return True

    def test_mobile_3g_makes_wget_slow(self):
        url = f"http://127.0.0.1:{Server(self).port}/"
        with open(self.starter("mobile-3g.yaml"), encoding="utf-8") as file:  # but not of the hundredth connection
            rules = self.write("whole.yaml", file.read().replace("probability: 1%", "nth: 100"))
        self.only_when_armed(lambda how: self.is_fetched(url, rules, how)
                             and self.counts() == {"far-away": 2, "down": 1, "up": 1})
        self.assertGreaterEqual(self.seconds, 170_000 / 200_000)

    def test_mobile_3g_loses_its_way_in_a_tunnel(self):
        code = ("import os, socket, sys, time\n"
                "silent = 0\n"
                "until = time.monotonic() + 140\n"
                "while time.monotonic() < until and not silent:\n"
                "    s = socket.socket(); s.settimeout(0.5)\n"
                "    try: s.connect(('127.0.0.1', int(sys.argv[1])))\n"
                "    except TimeoutError: silent += 1\n"
                "    s.close(); time.sleep(0.2)\n"
                "print(silent)\n")
        with open(self.starter("mobile-3g.yaml"), encoding="utf-8") as file:
            rules = self.write("tunnel.yaml", file.read().replace("every: 2m", "every: 6s"))
        command = [PYTHON, "-c", code.replace("140", "20"), str(self.server("echo").port)]
        self.assertEqual(self.faulty(command, rules, seconds=60).out, "1\n")

    def test_flaky_dns_fails_some_lookups_and_delays_others(self):
        code = ("import socket\n"
                "failed = {}\n"
                "for i in range(60):\n"
                "    try: socket.getaddrinfo('localhost', 80)\n"
                "    except socket.gaierror as e: failed[e.errno] = failed.get(e.errno, 0) + 1\n"
                "print(sorted(failed.items()))\n")
        command = [PYTHON, "-c", code]
        rules = self.starter("flaky-dns.yaml")
        self.only_when_armed(lambda how: self.faulty(command, rules, how, RESIL_SEED="2", seconds=90).out not in ("", "[]\n"))
        counts = self.counts()
        self.assertGreater(counts["no-answer"], 0)
        self.assertGreater(counts["slow-answer"], 2)

    def test_lossy_udp_loses_doubles_and_delays(self):
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind(("127.0.0.1", 0))
        self.addCleanup(peer.close)

        def serve():
            while True:
                try:
                    data, sender = peer.recvfrom(100)
                    peer.sendto(data, sender)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        code = ("import socket, struct, sys\n"
                "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 0, 150000))\n"
                "s.connect(('127.0.0.1', int(sys.argv[1])))\n"
                "got = 0\n"
                "for i in range(400):\n"
                "    s.send(b'%d' % i)\n"
                "    try:\n"
                "        while int(s.recv(10)) != i: pass\n"
                "        got += 1\n"
                "    except BlockingIOError: pass\n"
                "print(got)\n")
        command = [PYTHON, "-c", code, str(peer.getsockname()[1])]
        rules = self.starter("lossy-udp.yaml")

        def some_are_lost(how):
            ended = self.faulty(command, rules, how, RESIL_SEED="4", seconds=90)
            self.assertEqual(ended.status, 0, ended)
            return ended.out != "400\n"

        self.only_when_armed(some_are_lost)
        counts = self.counts()
        self.assertGreater(counts["lost"], 0)
        self.assertGreater(counts["late"], 5)

    def test_restarting_server_refuses_and_comes_back(self):
        code = ("import socket, sys, time\n"
                "until = time.monotonic() + 20\n"
                "outcomes = []\n"
                "while time.monotonic() < until:\n"
                "    with socket.socket() as s: outcome = s.connect_ex(('127.0.0.1', int(sys.argv[1])))\n"
                "    if not outcomes or outcomes[-1] != outcome: outcomes.append(outcome)\n"
                "    if outcome == 0: break\n"
                "    time.sleep(0.05)\n"
                "print(outcomes)\n")
        command = [PYTHON, "-c", code, str(self.server("echo").port)]
        rules = self.starter("restarting-server.yaml")
        self.only_when_armed(lambda how: self.faulty(command, rules, how).out == "[111, 0]\n")

    def test_overloaded_database_answers_redis_cli_late(self):
        server = ("(env -u LD_PRELOAD redis-server --port 6379 --bind 127.0.0.1 --save '' --daemonize no >/dev/null 2>&1 & "
                  "echo $! > " + os.path.join(self.folder, "pid") + ") && "
                  "until env -u LD_PRELOAD redis-cli ping >/dev/null 2>&1; do sleep 0.05; done")
        client = self.in_namespace({}, ["sh", "-c", "redis-cli -r 5 ping; kill $(cat " + os.path.join(self.folder, "pid") + ")"],
                                   "--net", prepare=f"ip link set lo up && {server}")
        rules = self.starter("overloaded-database.yaml")

        def story(how):
            ended = self.faulty(client, rules, how, RESIL_SEED="1")
            self.assertEqual(ended.out, "PONG\n" * 5, ended)
            return self.counts().get("slow-query", 0) >= 5

        self.only_when_armed(story)


if __name__ == "__main__":
    main()
