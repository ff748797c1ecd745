"""What resil check and resil explain say of rules that are for something else than one may have thought."""

import json

from stage import BARE, RESIL, Stage, main

RESOLVER = """
version: 1
rules:
  - name: resolver
    match: {address: 10.0.0.53, port: 53, protocol: udp}
    timeout: {response: 2s}
  - name: both
    match: {address: 10.0.0.54, protocol: [tcp, udp]}
    timeout: {connect: 2s, total: 3s}
"""


class Udp(Stage):
    def setUp(self):
        super().setUp()
        self.file = self.rules(RESOLVER)

    def test_a_rule_for_udp_only_takes_no_time_to_connect(self):
        said = self.resil("check", self.file)
        self.assertRegex(said, r"(?m)^resolver +no time \(UDP\) +timeout$")
        self.assertRegex(said, r"(?m)^both +2s +timeout$")
        resolver, both = json.loads(self.resil("check", "--json", self.file))["files"][0]["rules"]
        self.assertEqual((resolver["worst_case_ms"], both["worst_case_ms"]), (0, 2000))

    def test_so_it_is_explained(self):
        for target, rule in ("10.0.0.53:53", "resolver"), ("10.0.0.54:53", "both"):
            said = self.resil("explain", "--rules", self.file, "--udp", target)
            self.assertIn(f'gets rule "{rule}"', said)
            self.assertIn("A connect takes no time", said)
            report = json.loads(self.resil("explain", "--rules", self.file, "--udp", "--json", target))
            self.assertEqual((report["rule"], report["worst_case_ms"]), (rule, 0))
        self.assertIn("at most 2s", self.resil("explain", "--rules", self.file, "10.0.0.54:53"))

    def test_who_asks_about_the_other_protocol_is_told(self):
        said = self.resil("explain", "--rules", self.file, "10.0.0.53:53", expect=1)
        self.assertIn('With UDP rule "resolver" on line 4 matches (ask with --udp).', said)
        other = self.write("tcp.yaml", "version: 1\nrules:\n  - name: web\n    match: {port: 80}\n    timeout: {connect: 1s}\n")
        said = self.resil("explain", "--rules", other, "--udp", "10.0.0.53:80", expect=1)
        self.assertIn('With TCP rule "web" on line 3 matches (ask without --udp).', said)
        self.assertNotIn("(ask with", self.resil("explain", "--rules", self.file, "10.0.0.1:53", expect=1))


class Bad(Stage):
    def test_a_bad_file_is_told_of_in_json_too(self):
        file = self.write("bad.yaml", "version: 1\nrules:\n  - name: a\n    match: {port: 80}\n    retry: {base_dellay: 50ms}\n")
        ended = self.run_program([RESIL, "explain", "--json", "--rules", file, "10.0.0.1:80"], how=BARE)
        self.assertEqual(ended.status, 2, ended)
        report = json.loads(ended.out)
        self.assertEqual((report["rule"], report["errors"]), (None, 1))
        problem, = report["problems"]
        self.assertEqual((problem["severity"], problem["line"], problem["column"]), ("error", 5, 13))
        self.assertIn("base_delay", problem["text"])
        checked, = json.loads(self.resil("check", "--json", file, expect=1))["files"]
        self.assertEqual(checked["problems"], report["problems"])


if __name__ == "__main__":
    main()
