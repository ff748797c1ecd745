"""`resil metrics`: Prometheus itself reads what it says, printed and served."""

import json
import os
import re
import shutil
import subprocess
import unittest
import urllib.error
import urllib.parse
import urllib.request

from stage import BARE, PYTHON, RESIL, RULED, Stage, main

RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 1s, response: 5s}
breaker: {failure_threshold: 2, failure_rate: off, recovery_timeout: 60s}
enforce: %d%%
"""
PROMETHEUS = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: resil
    static_configs: [{targets: ["%s"]}]
"""
# Connects to each of these ports, whatever becomes of it.
CONNECTS = """
import socket, sys
for port in sys.argv[1:]:
    s = socket.socket()
    s.connect_ex(('127.0.0.1', int(port)))
    s.close()
"""
HERE = os.path.dirname(os.path.abspath(__file__))
ALERTS = os.path.join(HERE, "../../docs/alerts.yaml")


class Told(Stage):
    def calls(self, *ports, enforce=100, how=RULED):
        rules = self.rules(RULE % enforce)
        self.assertTrue(self.run_program([PYTHON, "-c", CONNECTS, *map(str, ports)], rules, how).is_good)

    def call_with_a_fault(self, times, how=RULED):
        rules = self.rules("version: 1\nrules: []\nfaults:\n  - name: flaky\n    match: {address: 127.0.0.1}\n"
                           "    on: [connect]\n    error: ECONNREFUSED\n")
        command = [PYTHON, "-c", CONNECTS, *[str(self.server("answer").port)] * times]
        self.assertTrue(self.run_program(command, rules, how, RESIL_FAULTS="1").is_good)

    def samples(self, text, name):
        """{labels: value} of a family, the labels as a frozen set."""
        found = {}
        for line in text.splitlines():
            if line.startswith(name + "{"):
                labels, value = line[len(name) + 1:].rsplit("} ", 1)
                found[frozenset(labels.split('",'))] = float(value)
        return found

    def value(self, text, name, **labels):
        """The one sample with these labels."""
        wanted = {f'{key}="{value}' for key, value in labels.items()}
        (value,) = [value for key, value in self.samples(text, name).items()
                    if wanted <= {part.rstrip('"') for part in key}]
        return value

    def metrics(self, *arguments):
        return self.resil("metrics", *arguments)


class Metrics(Told):
    def test_counters_and_circuits_are_those_of_status(self):
        port = self.free_port()

        def story(how):
            self.calls(*[port] * 5, how=how)
            return f'target="127.0.0.1:{port}"' in self.metrics()

        self.only_with_rules(story)
        text, target = self.metrics(), f"127.0.0.1:{port}"
        self.assertEqual(self.value(text, "resil_host_calls_total", target=target, rule="tested"), 5)
        self.assertEqual(self.value(text, "resil_host_failed_total", target=target), 2)
        self.assertEqual(self.value(text, "resil_host_rejected_total", target=target), 3)
        self.assertEqual(self.value(text, "resil_breaker_state", target=target, state="open"), 1)
        self.assertEqual(self.value(text, "resil_breaker_state", target=target, state="closed"), 0)
        self.assertGreater(self.value(text, "resil_breaker_next_probe_seconds", target=target), 30)
        self.assertEqual(self.value(text, "resil_events_total", event="circuit_open", rules=os.path.join(self.folder, "rules.yaml")), 1)
        self.resil("breaker", "close", target)
        self.assertEqual(self.value(self.metrics(), "resil_breaker_state", target=target, state="held_closed"), 1)

    def test_what_was_not_enforced_was_detected(self):
        port = self.free_port()
        for enforce, detected, enforced in (0, 3, 0), (100, 6, 3):
            self.calls(*[port] * (5 if enforce == 0 else 3), enforce=enforce)
            text = self.metrics()
            labels = {"decision": "reject", "target": f"127.0.0.1:{port}"}
            self.assertEqual((self.value(text, "resil_decisions_detected_total", **labels),
                              self.value(text, "resil_decisions_enforced_total", **labels)), (detected, enforced))

    def test_histograms_count_what_was_answered(self):
        server = self.server("answer --delay 120 --body fine")
        for _ in range(3):
            self.run_program(self.wget(server.url()), self.rules(RULE % 100))
        text, target = self.metrics(), server.address
        for family in "resil_connect_duration_seconds", "resil_first_byte_duration_seconds":
            self.assertEqual(self.value(text, family + "_count", target=target), 3)
            self.assertEqual(self.value(text, family + "_bucket", target=target, le="+Inf"), 3)
            bounds = [value for _, value in sorted((float(next(part for part in key if part.startswith("le="))[4:].strip('"')), value)
                                                   for key, value in self.samples(text, family + "_bucket").items())]
            self.assertEqual(bounds, sorted(bounds))
        self.assertEqual(self.value(text, "resil_first_byte_duration_seconds_bucket", target=target, le="0.1"), 0)
        self.assertGreaterEqual(self.value(text, "resil_first_byte_duration_seconds_sum", target=target), 0.36)

    def test_faults_that_fired(self):
        for how in BARE, RULED:
            self.call_with_a_fault(3, how)
            fired = list(self.samples(self.metrics(), "resil_faults_injected_total").items())
            self.assertEqual([value for _, value in fired], [] if how == BARE else [3])
        self.assertIn('fault="flaky', " ".join(fired[0][0]))

    def test_two_versions_of_a_rule_are_one_series(self):
        port = self.free_port()
        self.calls(port)
        self.write("rules.yaml", "version: 1\nrules:\n  - name: tested\n    match: {address: 127.0.0.1}\n    breaker: {failure_threshold: 9}\n")
        self.run_program([PYTHON, "-c", CONNECTS, str(port)], os.path.join(self.folder, "rules.yaml"))
        self.assertEqual(len([host for report in self.reports() for host in report["hosts"]]), 2)
        self.assertEqual(self.value(self.metrics(), "resil_host_calls_total", target=f"127.0.0.1:{port}"), 2)

    def test_of_many_hosts_those_that_are_called_most(self):
        often = self.free_port()
        self.calls(*range(20000, 20300), often, often)
        text = self.metrics("--hosts", "10")
        self.assertEqual(len(self.samples(text, "resil_host_calls_total")), 10)
        self.assertEqual(self.value(text, "resil_host_calls_total", target=f"127.0.0.1:{often}"), 2)
        self.assertIn("resil_hosts_left_out 291\n", text)
        self.assertEqual(len(self.samples(self.metrics(), "resil_host_calls_total")), 256)

    def test_a_path_with_odd_characters_is_one_label(self):
        rules = self.rules(RULE % 100)
        odd = os.path.join(self.folder, 'a "b" \\c.yaml')
        os.rename(rules, odd)
        self.run_program([PYTHON, "-c", CONNECTS, str(self.free_port())], odd)
        self.assertIn(r'/a \"b\" \\c.yaml",rule="tested",target="127', self.metrics())

    def test_openmetrics_is_what_its_own_parser_reads(self):
        try:
            from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
        except ImportError:
            self.skipTest("python3-prometheus-client is not installed")
        self.calls(self.free_port(), self.server("answer").port)
        families = {family.name: family for family in parse(self.metrics())}
        self.assertEqual(families["resil_host_calls"].type, "counter")
        self.assertEqual(families["resil_connect_duration_seconds"].type, "histogram")
        self.assertEqual(families["resil_connect_duration_seconds"].unit, "seconds")
        self.assertEqual(len(families["resil_host_calls"].samples), 2)
        for family in families.values():
            self.assertTrue(family.documentation, family.name)

    def test_nothing_yet_is_no_error(self):
        self.assertIn("resil_rule_files 0\n", self.metrics())
        self.assertTrue(self.metrics().endswith("# EOF\n"))

    def test_wrong_usage(self):
        for arguments in (["x"], ["--hosts", "x"], ["--listen", "9911"], ["--listen", "localhost:9911"], ["--listen", "::1:9911"],
                          ["--listen", "127.0.0.1:http"], ["--listen", "127.0.0.1:65537"],
                          ["--listen", "127.0.0.1:4294967297"], ["--listen", "127.0.0.1:-1"], ["--listen", "192.0.2.1:9911"]):
            self.resil("metrics", *arguments, expect=2)


@unittest.skipUnless(shutil.which("promtool"), "prometheus is not installed")
class Promtool(Told):
    def promtool(self, *arguments, text=None):
        ended = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended)
        return ended.stdout

    def test_it_has_nothing_to_object_to(self):
        self.calls(self.free_port(), self.server("answer").port)
        text = self.metrics("--prometheus")
        self.assertEqual(self.promtool("check", "metrics", text=text), "")

    def test_the_alerts_are_rules(self):
        self.assertIn("SUCCESS", self.promtool("check", "rules", ALERTS))

    def test_the_alerts_fire_for_what_they_are_about(self):
        self.promtool("test", "rules", os.path.join(HERE, "alerts_test.yaml"))

    def test_the_alerts_ask_for_series_that_there_are(self):
        self.calls(self.free_port())
        self.call_with_a_fault(1)
        text = self.metrics("--prometheus")
        with open(ALERTS) as file:
            alerts = file.read()
        for name in set(re.findall(r"\bresil_[a-z_]+", alerts)):
            self.assertRegex(text, rf"(?m)^{name}[{{ ]")


class Served(Told):
    def serve(self, *arguments):
        """The base address of a server that ends with the test."""
        process = self.process = subprocess.Popen([RESIL, "metrics", "--listen", "127.0.0.1:0", *arguments],
                                                  env=self.environment(how=BARE), stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)
        said = process.stdout.readline().strip()
        self.assertRegex(said, r"^http://127\.0\.0\.1:\d+/metrics$")
        return said.removesuffix("/metrics")

    def ask(self, url, method="GET", **headers):
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, answer.read().decode()

    def test_who_accepts_openmetrics_gets_it(self):
        base = self.serve()
        status, headers, text = self.ask(base + "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        self.assertEqual((status, headers["Content-Type"]), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
        self.assertTrue(text.endswith("# EOF\n"))
        status, headers, text = self.ask(base + "/metrics")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertNotIn("# EOF", text)

    def test_each_answer_is_as_of_now(self):
        base, port = self.serve(), self.free_port()
        self.assertIn("resil_rule_files 0\n", self.ask(base + "/metrics")[2])
        for number in 1, 2:
            self.calls(port)
            self.assertEqual(self.value(self.ask(base + "/metrics")[2], "resil_host_calls_total", target=f"127.0.0.1:{port}"), number)

    def test_there_is_nothing_else(self):
        base = self.serve()
        self.assertEqual(self.ask(base + "/metrics", "HEAD")[0::2], (200, ""))
        self.assertEqual(self.ask(base + "/")[0], 200)
        self.assertEqual(self.ask(base + "/etc/passwd")[0], 404)
        for method in "POST", "PUT", "DELETE":
            status, headers, _ = self.ask(base + "/metrics", method)
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))

    def test_an_interrupt_ends_it_well(self):
        for number in 2, 15:
            self.serve()
            self.process.send_signal(number)
            self.assertEqual(self.process.wait(30), 0)

    def test_a_port_that_is_taken_is_said(self):
        base = self.serve()
        ended = self.run_program([RESIL, "metrics", "--listen", base.removeprefix("http://")], how=BARE)
        self.assertEqual(ended.status, 2, ended)
        self.assertIn("in use", ended.err)

    @unittest.skipUnless(shutil.which("prometheus"), "prometheus is not installed")
    def test_prometheus_scrapes_it(self):
        base, port = self.serve(), self.free_port()
        listen = f"127.0.0.1:{self.free_port()}"
        config = self.write("prometheus.yaml", PROMETHEUS % base.removeprefix("http://"))
        prometheus = self.start(["prometheus", f"--config.file={config}", f"--web.listen-address={listen}",
                                 f"--storage.tsdb.path={self.folder}/tsdb"], how=BARE)
        self.addCleanup(prometheus.communicate)
        self.addCleanup(prometheus.terminate)
        self.calls(port, port, port)

        def query(text):
            try:
                said = self.ask(f"http://{listen}/api/v1/query?" + urllib.parse.urlencode({"query": text}))[2]
            except OSError:
                self.assertIsNone(prometheus.poll())
                return []
            return [(result["metric"], result["value"][1]) for result in json.loads(said)["data"]["result"]] if said[:1] == "{" else []

        self.wait_for(lambda: query("resil_host_calls_total"))
        ((labels, value),) = query("resil_host_calls_total")
        self.assertEqual((labels["target"], labels["rule"], value), (f"127.0.0.1:{port}", "tested", "3"))
        self.assertEqual(query('resil_breaker_state{state="open"} == 1')[0][0]["target"], f"127.0.0.1:{port}")
        ((_, is_up),) = query('up{job="resil"}')
        self.assertEqual(is_up, "1")


if __name__ == "__main__":
    main()
