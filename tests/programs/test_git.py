"""git over its own protocol: git connects and waits blocking, in one process for each command."""

import os
import subprocess

from stage import BARE, EMPTIED, HANG_S, RULED, Stage, main

PATIENT = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, total: 30s}
retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: off}
breaker: {failure_threshold: 255, failure_rate: off}
"""


class Git(Stage):
    def repository(self):
        """A bare one with a commit, where git daemon finds it."""
        work, base = os.path.join(self.folder, "work"), os.path.join(self.folder, "base")
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
        for command in (["git", *identity, "init", "-q", work],
                        ["git", *identity, "-C", work, "commit", "-q", "--allow-empty", "-m", "first"],
                        ["git", "clone", "-q", "--bare", work, os.path.join(base, "tested.git")]):
            subprocess.run(command, check=True, env=self.environment(how=BARE))
        return base

    def clone(self, port, name):
        return ["git", "clone", "-q", f"git://127.0.0.1:{port}/tested.git", os.path.join(self.folder, name)]

    def test_clone_waits_for_a_daemon_that_comes_up_late(self):
        base, rules = self.repository(), self.rules(PATIENT)

        def story(how):
            port = self.free_port()
            ended = self.ask_early(self.clone(port, how.replace(" ", "-")), rules, how, lambda: self.daemon(
                ["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", "--export-all",
                 f"--base-path={base}"], port))
            if how != RULED:
                self.assertIn("Connection refused", ended.err)
                return ended.is_good
            self.assertTrue(ended.is_good, ended)
            return os.path.exists(os.path.join(self.folder, how.replace(" ", "-"), ".git/refs/heads/main"))

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def test_clone_is_told_that_no_answer_comes(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 300ms}\n")
        server = self.server("hang")

        def story(how):
            ended = self.run_program(self.clone(server.port, how.replace(" ", "-")), rules, how, 30 if how == RULED else HANG_S / 2)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return "timed out" in ended.err

        self.only_with_rules(story)
        self.assertEqual(server.count("accepted"), len((BARE, EMPTIED, RULED)))
        self.assertEqual(len(self.events("response_timeout")), 1)
        self.assert_nothing_passed_through()


if __name__ == "__main__":
    main()
