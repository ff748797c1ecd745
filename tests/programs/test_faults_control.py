"""Faults in one's own hands: armed, switched, said in a few words, and told of at the end."""

import json
import os
import re
import signal
import socket
import subprocess

from faults import READER, FaultStage
from stage import BARE, PYTHON, RESIL, RULED, main

# Says a line for each connect, when it is told to.
ASKED = ("import socket, sys\n"
         "for line in sys.stdin:\n"
         "    with socket.socket() as s: print(s.connect_ex(('127.0.0.1', int(sys.argv[1]))), flush=True)\n")


class Running(FaultStage):
    def asked(self, rules, **extra):
        """A program that connects whenever it is asked to; gives what came of it."""
        port = str(self.server("echo").port)
        process = subprocess.Popen([PYTHON, "-c", ASKED, port], env=self.environment(rules, **extra), text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def end():
            process.stdin.close()
            process.stdout.close()
            process.wait()

        self.addCleanup(end)

        def ask():
            process.stdin.write("go\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        return ask

    def test_an_armed_fault_is_switched_off_and_on_within_one_call(self):
        ask = self.asked(self.faults("on: [connect], error: ECONNREFUSED"), RESIL_FAULTS="1")
        self.assertEqual(ask(), "111")
        self.resil("fault", "off", "fault-0")
        self.assertEqual(ask(), "0")
        self.resil("fault", "on", "fault-0")
        self.assertEqual(ask(), "111")
        self.resil("fault", "off", "fault-*")
        self.assertEqual(ask(), "0")
        self.resil("fault", "auto", "fault-0")
        self.assertEqual(ask(), "111")
        self.assertEqual([event["text"] for event in self.events("fault_steered")],
                         ["fault fault-0 switched off", "fault fault-0 switched on", "fault fault-0 switched off",
                          "fault fault-0 is as it was armed again"])

    def test_a_fault_that_is_not_armed_is_switched_on_for_a_running_program(self):
        rules = self.faults("on: [connect], error: ECONNREFUSED")
        ask = self.asked(rules)
        self.assertEqual(ask(), "0")
        self.resil("fault", "on", "fault-0", "--rules", rules)
        self.assertEqual(ask(), "111")
        self.resil("fault", "auto", "fault-0")
        self.assertEqual(ask(), "0")

    def test_those_that_are_named_are_listed(self):
        rules = self.write("two.yaml", "version: 1\nfaults:\n  - {name: cut, match: {}, timeout: {}}\n"
                                       "  - {name: slow, match: {}, latency: 1s}\n")
        listed = json.loads(self.resil("fault", "list", "c*", "--json", "--rules", rules))["faults"]
        self.assertEqual([fault["name"] for fault in listed], ["cut"])
        text = self.resil("fault", "list", "cut", "--rules", rules)
        self.assertIn("cut", text)
        self.assertNotIn("slow", text)
        self.assertIn("slow", self.resil("fault", "list", "--rules", rules))
        self.resil("fault", "list", "none", "--rules", rules, expect=1)

    def test_it_is_as_before_when_the_time_is_over(self):
        rules = self.faults("on: [connect], error: ECONNREFUSED")
        ask = self.asked(rules)
        self.resil("fault", "on", "fault-0", "--rules", rules, "--for", "2s")
        listed, = json.loads(self.resil("fault", "list", "--json"))["faults"]
        self.assertRegex(listed["switched"], "^on for another ")
        self.wait_for(lambda: ask() == "0")
        listed, = json.loads(self.resil("fault", "list", "--json"))["faults"]
        self.assertEqual(listed["switched"], "as armed")

    def test_an_established_connection_follows_too(self):
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "for line in sys.stdin:\n"
                "    try: print(s.send(b'x'), flush=True)\n"
                "    except OSError as e: print(e.errno, flush=True)\n")
        process = subprocess.Popen([PYTHON, "-c", code, str(self.server("echo").port)], text=True, stdin=subprocess.PIPE,
                                   env=self.environment(self.faults("on: [send], error: ENOBUFS"), RESIL_FAULTS="1"),
                                   stdout=subprocess.PIPE)
        self.addCleanup(lambda: (process.stdin.close(), process.stdout.close(), process.wait()))

        def ask():
            process.stdin.write("go\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        self.assertEqual(ask(), "105")
        self.resil("fault", "off", "fault-0")
        self.assertEqual(ask(), "1")

    def test_a_breaker_that_its_own_faults_opened_closes_once_they_are_off(self):
        rules = self.faults("on: [connect], error: ETIMEDOUT", rules="""
  - {name: a, match: {address: 127.0.0.1}, breaker: {failure_threshold: 2, recovery_timeout: 100ms, jitter: 0%}}""")
        ask = self.asked(rules, RESIL_FAULTS="1")
        self.assertEqual([ask(), ask()], ["110", "110"])
        self.assertEqual(len(self.events("circuit_open")), 1)
        self.resil("fault", "off", "fault-0")
        self.wait_for(lambda: ask() == "0")
        self.assertEqual(len(self.events("circuit_closed")), 1)

    def test_a_name_that_no_fault_has_is_complained_of(self):
        self.faulty(["true"], self.faults("error: ECONNREFUSED"))
        self.resil("fault", "off", "nothing", "--rules", self.faults("error: ECONNREFUSED"), expect=1)
        self.resil("fault", "explode", expect=2)

    def test_where_a_fault_fired_is_listed(self):
        rules = self.faults("on: [recv], error: ECONNRESET")
        for _ in range(3):
            self.faulty(self.reader(self.server("echo").port), rules)
        listed, = json.loads(self.resil("fault", "list", "--json"))["faults"]
        self.assertEqual((listed["fired"], [site["fired"] for site in listed["sites"]]), (3, [3]))


class Run(FaultStage):
    def run_with(self, *options, command, expect=0, **extra):
        ended = self.run_program([RESIL, "run", *options, "--", *command], how=BARE, **extra)
        self.assertEqual(ended.status, expect, ended)
        return ended

    def test_a_table_tells_at_the_end_what_fired(self):
        rules = self.faults("on: [recv], latency: 10ms", "on: [connect], error: EPERM, nth: 100")
        command = self.reader(self.server("answer").port)
        ended = self.run_with("--rules", rules, "--faults", "--log", "off", command=command)
        self.assertRegex(ended.err, r"seed \d+ \(--seed \d+ gives the same again\)\n"
                                    r"FAULT +FIRED +PLACES +WHAT\n"
                                    r"fault-0 +1 +1 +latency: \{delay: 10ms\}\n"
                                    r"fault-1 +never +- +error: EPERM\n$")
        self.assertTrue(ended.out.startswith("end "), ended)
        again = self.run_with("--rules", rules, "--faults", "--log", "off", command=command)
        self.assertIn("fault-0      1       1", again.err, "of that run, not of all")

    def test_without_faults_nothing_is_armed_and_nothing_told(self):
        rules = self.faults("on: [connect], error: ECONNREFUSED")
        ended = self.run_with("--rules", rules, command=self.reader(self.server("answer").port))
        self.assertNotIn("fault", ended.err)

    def test_a_seed_gives_the_same_again(self):
        code = ("import socket, sys\n"
                "for i in range(100):\n"
                "    with socket.socket() as s: print(s.connect_ex(('127.0.0.1', int(sys.argv[1]))), end=' ')\n")
        command = [PYTHON, "-c", code, str(self.server("echo").port)]
        option = ("--fault", "127.0.0.1: refuse 30%")
        first = self.run_with(*option, "--log", "off", command=command)
        seed = re.search(r"--seed (\d+)", first.err).group(1)
        again = self.run_with(*option, "--log", "off", "--seed", seed, command=command)
        self.assertEqual(first.out, again.out)
        self.assertTrue(12 <= first.out.count("111") <= 48, first.out)

    def test_in_shadow_it_is_told_what_would_happen_and_nothing_does(self):
        port = self.server("answer").port
        rules = self.write("shadow.yaml", "version: 1\nfaults:\n"
                           "  - {name: cut, match: {address: 127.0.0.1}, on: [recv], reset: {after_bytes: 10}}\n"
                           "  - {name: late, match: {address: 127.0.0.1}, on: [connect], latency: 30s}\n"
                           "  - {name: refuse, match: {address: 192.0.2.1}, error: ECONNREFUSED}\n")
        command = [PYTHON, "-c", READER, str(port)]
        armed = self.run_program([RESIL, "run", "--faults", "--rules", rules, "--", *command], how=BARE, seconds=3)
        self.assertTrue(armed.has_hung, armed)
        ended = self.run_program([RESIL, "run", "--faults=shadow", "--rules", rules, "--", *command], how=BARE)
        self.assertTrue(ended.is_good and ended.out.startswith("end "), ended)
        table = [line.split() for line in ended.err.splitlines()[-3:]]
        self.assertEqual([line[:3] for line in table], [["cut", "would", "1"], ["late", "would", "1"], ["refuse", "never", "-"]])
        self.assertRegex(ended.err, r"\(not enforced\) fault late: connect comes back 30\S* later")
        told = [event for event in self.events("fault") if event["shadow"]]
        self.assertEqual(sorted(event["fault"] for event in told), ["cut", "late"])
        self.assertEqual([fault["would_fire"] for fault in json.loads(self.resil("fault", "list", "--json", "cut"))["faults"]], [1])
        self.assertIn('resil_faults_shadowed_total{rules="' + rules + '",fault="cut"} 1', self.resil("metrics"))
        self.resil("run", "--faults=ghost", "--", "true", expect=2)

    def test_it_ends_as_the_program_does(self):
        option = ("--fault", "127.0.0.1: refuse")
        self.run_with(*option, command=["sh", "-c", "exit 42"], expect=42)
        self.run_with(*option, command=["sh", "-c", "kill -9 $$"], expect=-signal.SIGKILL)
        self.run_with(*option, command=["/nowhere/at/all"], expect=127)

    def test_what_a_run_leaves_is_gone_a_day_later_unless_it_still_runs(self):
        def left():
            return sorted(name for name in os.listdir(self.state) if name.startswith("faults-"))

        self.run_with("--fault", "127.0.0.1: latency 1ms", command=["true"])
        ended, = left()
        self.run_with("--fault", "127.0.0.1: latency 2ms", command=["true"])
        self.assertEqual(len(left()), 2)
        running = self.start([RESIL, "run", "--fault", "127.0.0.1: refuse", "--", PYTHON, "-c",
                              "print('ready', flush=True)\nimport sys\nimport signal\nsignal.pause()\n"], how=BARE)
        self.assertEqual(running.stdout.readline(), "ready\n")
        files = len(os.listdir(self.state))
        for name in left():
            os.utime(os.path.join(self.state, name), (0, 0))
        self.run_with("--fault", "127.0.0.1: latency 3ms", command=["true"])
        now = left()
        self.assertNotIn(ended, now)
        self.assertEqual(len(now), 2, "that of the program that still runs, and the new one")
        self.assertEqual(len(os.listdir(self.state)), files - 2 * 2 + 2, "with what they shared")
        running.terminate()
        self.finish(running)

    def test_a_signal_reaches_the_program(self):
        process = self.start([RESIL, "run", "--fault", "127.0.0.1: refuse", "--", PYTHON, "-c",
                              "import signal, sys\n"
                              "signal.signal(signal.SIGTERM, lambda *a: sys.exit(7))\n"
                              "print('ready', flush=True)\n"
                              "signal.pause()\n"], how=BARE)
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(process).status, 7)

    def test_a_few_words_are_enough(self):
        port = self.server("answer").port
        for words, expected in ((f"127.0.0.1:{port}: refuse", "ConnectionRefusedError"),
                                (f"127.0.0.1: error ETIMEDOUT on recv", "TimeoutError 110 0"),
                                (f"*: reset after 20", "ConnectionResetError 104 20"),
                                (f"127.0.0.0/8:{port}: limit 30B", "end 30"),
                                (f"localhost: refuse", "end "),
                                (f"127.0.0.1:{port}: fail nth 2", "end ")):
            ended = self.run_program([RESIL, "run", "--log", "off", "--fault", words, "--", PYTHON, "-c", READER, str(port)], how=BARE)
            self.assertIn(expected, ended.out + ended.err, words)

    def test_words_become_a_rule_file_that_includes_the_other_one(self):
        rules = self.faults("on: [connect], error: ECONNREFUSED, nth: 2")
        ended = self.run_program([RESIL, "run", "--rules", rules, "--print-rules",
                                  "--fault", "payments.internal: latency 300ms±50ms 20%", "--fault", "dns: fail 10%",
                                  "--fault", "udp [::1]:53: loss 5% on send", "--fault", "/run/x.sock: timeout for 1m"], how=BARE)
        self.assertEqual(ended.out, f"""version: 1
include: ["{rules}"]
faults:
  - {{name: fault-1, match: {{host: "payments.internal"}}, latency: {{delay: 300ms, jitter: 50ms}}, probability: 20%}}
  - {{name: fault-2, match: {{host: "*"}}, on: [resolve], error: EAI_AGAIN, probability: 10%}}
  - {{name: fault-3, match: {{address: "[::1]", port: 53, protocol: udp}}, loss: 5%, on: [send]}}
  - {{name: fault-4, match: {{unix: "/run/x.sock"}}, timeout: {{}}, expires: 1m}}
""")
        file = self.write("printed.yaml", ended.out)
        self.resil("check", file)

    def test_words_that_mean_nothing_are_refused(self):
        for words, why in (("payments.internal latency 3s", "says not for whom"), ("x:", "says not what goes wrong"),
                           ("x: explode", "nothing that goes wrong"), ("x: latency 300", "has no unit"),
                           ("x: latency", "latency needs a value"), ("x: reset after", "after what?"),
                           ("x: latency 1s often", "is not understood"), ("x: error EPIPE on recv", "recv cannot fail so")):
            ended = self.run_program([RESIL, "run", "--fault", words, "--", "true"], how=BARE)
            self.assertEqual(ended.status, 2, ended)
            self.assertIn(why, ended.err)

    def test_a_rule_file_is_in_force_beside_the_words(self):
        rules = self.rules("match: {address: 127.0.0.1}\nretry: {max_retries: 2, base_delay: 1ms}")
        url = self.server("answer").url()
        ended = self.run_program([RESIL, "run", "--rules", rules, "--log", "off", "--fault", "127.0.0.1: refuse times 2", "--",
                                  *self.wget(url)], how=BARE)
        self.assertIn("misbehave", ended.out)


if __name__ == "__main__":
    main()
