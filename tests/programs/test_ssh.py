"""ssh connects blocking, unless ConnectTimeout is set; once connected it waits in poll, so only connects are tested."""

from stage import HANG_S, RULED, Stage, main


class Ssh(Stage):
    def ssh(self, port):
        return ["ssh", "-F", "none", "-p", str(port), "-o", "BatchMode=yes", "127.0.0.1", "true"]

    def test_it_waits_for_a_server_that_comes_up_late(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 5s, total: 30s}\n"
                           "retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: off}\n")

        def story(how):
            server = self.server("refuse")
            ended = self.ask_early(self.ssh(server.port), rules, how, lambda: server.mode("close --at-accept"))
            self.assertFalse(ended.has_hung, ended)
            return server.count("accepted") == 1

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def test_it_is_told_of_a_black_hole(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 300ms}\n")
        server = self.server("blackhole")

        def story(how):
            ended = self.run_program(self.ssh(server.port), rules, how, 30 if how == RULED else HANG_S / 2)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return "Connection timed out" in ended.err

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connect_timeout")), 1)
        self.assert_nothing_passed_through()

    def test_an_open_circuit_rejects_it(self):
        rules = self.rules("match: {address: 127.0.0.1}\nbreaker: {failure_threshold: 1, recovery_timeout: 60s}\n")

        def story(how):
            server = self.server("refuse")
            self.open_circuit(server.port, rules, how)
            server.mode("close --at-accept")
            ended = self.run_program(self.ssh(server.port), rules, how)
            return "Connection refused" in ended.err and server.count("accepted") == 0

        self.only_with_rules(story)
        self.assertEqual(len(self.events("rejected")), 1)
        self.assert_nothing_passed_through()


if __name__ == "__main__":
    main()
