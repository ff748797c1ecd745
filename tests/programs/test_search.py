"""Where rules are looked for: the first place that has any decides, and where there are none the built-in ones apply."""

import os
import shlex

from stage import UNSHARE, Stage, main

# Six connects to a port where nobody listens; the address is one of this host, but not loopback.
CONNECTS = ["perl", "-e", 'for (1 .. 6) { socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, 9, 192, 0, 2, 10)) and die }']


class Search(Stage):
    def rules_called(self, name, *path):
        path = os.path.join(self.folder, *path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(f"version: 1\nrules: [{{name: {name}, match: {{}}, breaker: {{}}}}]\n")
        return path

    def rule_in_force(self, **places):
        """The name of the rule under which six connects fail, in a namespace with an /etc of its own."""
        state = os.path.join(self.folder, f"state-{len(os.listdir(self.folder))}")
        etc = os.path.join(self.folder, "etc")
        prepare = (f"ip link set lo up && ip addr add 192.0.2.10/32 dev lo && mount --bind {shlex.quote(etc)} /etc")
        command = [*UNSHARE, "--net", "sh", "-c", prepare + ' && exec "$@"', "sh", *CONNECTS]
        environment = {"RESIL_RULES": "", "HOME": "/nowhere", "XDG_CONFIG_HOME": "", "RESIL_STATE_DIR": state, **places}
        ended = self.run_program(command, "", **environment)
        self.assertTrue(ended.is_good, ended)
        self.state = state
        names = {host["rule"] for report in self.reports() for host in report["hosts"]}
        self.assertEqual(len(names), 1, self.resil("status", "--json"))
        self.assertEqual(len(self.events("circuit_open")), 1)
        return names.pop()

    def test_the_first_place_that_has_rules_decides(self):
        named = self.rules_called("named", "named.yaml")
        self.rules_called("configured", "config", "resil", "rules.yaml")
        self.rules_called("at-home", "home", ".config", "resil", "rules.yaml")
        os.mkdir(os.path.join(self.folder, "etc"))
        config, home = os.path.join(self.folder, "config"), os.path.join(self.folder, "home")
        built_in = self.rule_in_force()
        self.assertNotIn(built_in, ("named", "configured", "at-home", "of-the-system"))
        self.rules_called("of-the-system", "etc", "resil", "rules.yaml")
        self.assertEqual(self.rule_in_force(), "of-the-system")
        self.assertEqual(self.rule_in_force(HOME=home), "at-home")
        self.assertEqual(self.rule_in_force(HOME=home, XDG_CONFIG_HOME=config), "configured")
        self.assertEqual(self.rule_in_force(HOME=home, XDG_CONFIG_HOME=config, RESIL_RULES=named), "named")


if __name__ == "__main__":
    main()
