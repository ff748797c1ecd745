"""wget --connect-timeout arms an alarm whose handler jumps out of connect: the call never returns to the shim."""

from stage import RULED, Stage, main


class Alarm(Stage):
    def holds_after_a_jump(self, rule, first_mode):
        """The first address is given up by the jump, the second is asked by the same process: it hangs without rules."""
        first, second = self.server(first_mode), self.server("hang")
        rules = self.rules(rule)
        command = ["wget", "--tries=1", "--connect-timeout=1", "--read-timeout=0", "-O-", first.url(), second.url()]

        def story(how):
            ended = self.run_program(command, rules, how, 30 if how == RULED else 4)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return "timed out" in ended.err.split("HTTP request sent")[-1]

        self.only_with_rules(story)
        self.assertEqual(second.count("accepted"), 3)
        (late,) = self.events("response_timeout")
        self.assertEqual(late["target"], f"127.0.0.1:{second.port}")
        self.assert_nothing_passed_through()

    def test_out_of_an_attempt(self):
        self.holds_after_a_jump("match: {address: 127.0.0.1}\ntimeout: {response: 300ms}\nbreaker: {}\n", "blackhole")

    def test_out_of_the_wait_between_two_attempts(self):
        self.holds_after_a_jump("match: {address: 127.0.0.1}\ntimeout: {response: 300ms}\n"
                                "retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: off}\n",
                                "refuse")


if __name__ == "__main__":
    main()
