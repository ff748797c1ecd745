"""Rules speak of names; connect sees an address only. In a mount namespace of its own each test has its /etc/hosts."""

from stage import HANG_S, RULED, PYTHON, Stage, main


class Names(Stage):
    def hangs_unless_the_rule_names(self, url_host, command_for):
        """Which rule applies shows in whether the program is told of a timeout."""
        server = self.server("hang")
        command = self.with_hosts(command_for(server.url(url_host)))
        for host, is_meant in (("payments.test", True), ("*.test", True), ("other.test", False), ("*.payments.test", False)):
            rules = self.rules(f'match: {{host: "{host}"}}\ntimeout: {{response: 500ms}}\n')

            def story(how):
                ended = self.run_program(command, rules, how, 30 if is_meant and how == RULED else HANG_S / 2)
                self.assertFalse(ended.is_good, ended)
                return not ended.has_hung

            if is_meant:
                self.only_with_rules(story)
            else:
                self.assertFalse(story(RULED), f"a rule for {host} should not apply to {url_host}")

    def test_wget_is_recognised_by_the_name_it_looked_up(self):
        self.hangs_unless_the_rule_names("payments.test", self.wget)

    def test_urllib_is_recognised_by_the_name_it_looked_up(self):
        self.hangs_unless_the_rule_names("Payments.TEST", self.urllib)

    def test_events_and_status_speak_of_the_name(self):
        rules = self.rules('match: {host: payments.test, port: 1-65535}\nbreaker: {}\n')
        server = self.server("refuse")
        self.run_program(self.with_hosts(self.wget(server.url("payments.test"))), rules)
        (failed,) = self.events("connect_failed")
        self.assertEqual(failed["target"], f"payments.test:{server.port}")
        self.assertIn(f"payments.test:{server.port}", self.resil("status"))

    def test_the_last_name_looked_up_wins_where_an_address_has_several(self):
        rules = self.rules("match: {host: payments.test}\ntimeout: {response: 300ms}\nbreaker: {}\n")
        server = self.server("answer")
        code = ("import socket, sys\n"
                "for name in 'other.test', 'payments.test', 'other.test':\n"
                "    socket.create_connection((name, int(sys.argv[1]))).close()\n")
        ended = self.run_program(self.with_hosts([PYTHON, "-c", code, str(server.port)]), rules)
        self.assertTrue(ended.is_good, ended)
        self.assertIn(f"payments.test:{server.port}", self.resil("status"))
        self.assertNotIn("other.test", self.resil("status"))


class Lookups(Stage):
    """A name server that receives and never answers, in a network namespace of its own."""

    def with_silent_resolver(self, command):
        """The command in new mount and network namespaces: loopback up, resolv.conf pointing to a deaf socket."""
        deaf = self.write("deaf.py", "import os, socket, sys\n"
                                     "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                     "s.bind(('127.0.0.1', 53))\n"
                                     "s.set_inheritable(True)\n"
                                     "os.execvp(sys.argv[1], sys.argv[1:])\n")
        return self.in_namespace({"/etc/resolv.conf": "nameserver 127.0.0.1\n", "/etc/nsswitch.conf": "hosts: files dns\n"},
                                 [PYTHON, deaf, *command], "--net", prepare="ip link set lo up")

    def gives_up_in_time(self, command_for, says):
        rules = self.rules('match: {host: "*.test"}\ntimeout: {resolve: 2s}\n')
        command = self.with_silent_resolver(command_for("http://payments.test/"))

        def story(how):
            ended = self.run_program(command, rules, how, HANG_S + 3 if how != RULED else 30)
            if how != RULED:
                self.assertTrue(ended.has_hung, ended)
                return False
            self.assertFalse(ended.is_good, ended)
            return says in ended.err

        self.only_with_rules(story)
        (failed,) = self.events("lookup_failed")
        self.assertEqual(failed["error"], "EAI_AGAIN")
        self.assertLess(failed["duration_ms"], 4000)

    def test_wget_is_told_that_the_resolver_does_not_answer(self):
        self.gives_up_in_time(self.wget, "Temporary failure in name resolution")

    def test_urllib_is_told_that_the_resolver_does_not_answer(self):
        self.gives_up_in_time(self.urllib, "gaierror -3")


if __name__ == "__main__":
    main()
