"""A dynamic program that does not use libc, as Go links them: its own system calls are not seen, but it is not harmed."""

import os
import unittest

from stage import BARE, BUILD, RESIL, RULED, Stage, main

PROGRAM = os.path.join(BUILD, "tests/freestanding")


@unittest.skipUnless(os.path.exists(PROGRAM), "made for x86-64 only")
class Freestanding(Stage):
    def setUp(self):
        super().setUp()
        self.upstream = self.server("answer --body here-I-am")

    def ask(self, rules, how, **environment):
        return self.run_program([PROGRAM, str(self.upstream.port)], rules, how, **environment)

    def test_it_runs_as_it_does_without_libresil(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s, response: 1s}\nretry: {}\nbreaker: {}\n")
        for early in "0", "1":
            bare, ended = (self.ask(rules, how, RESIL_EARLY=early) for how in (BARE, RULED))
            self.assertTrue(bare.is_good and "here-I-am" in bare.out, bare)
            self.assertEqual((ended.status, ended.out, ended.err), (bare.status, bare.out, bare.err))
        self.assertEqual(self.upstream.count("accepted"), 4)

    def test_libresil_is_in_it(self):
        """Or the other test would prove nothing."""
        bad = self.write("bad.yaml", "version: 1\nrules: [{}\n")
        ended = self.ask(bad, RULED, RESIL_STRICT="1")
        self.assertEqual(ended.status, 78, ended)
        self.assertIn("bad.yaml:", ended.err)
        self.assertEqual(self.upstream.count("accepted"), 0)

    def test_the_user_is_told_that_nothing_is_seen_of_it(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 1s}\n")
        ended = self.run_program([RESIL, "run", "--rules", rules, "--", PROGRAM, str(self.upstream.port)], how=BARE)
        self.assertTrue(ended.is_good and "here-I-am" in ended.out, ended)
        self.assertIn(f"{PROGRAM} does not use libc", ended.err)
        self.assertIn("does not use libc", self.resil("doctor", "--rules", rules, PROGRAM, expect=1))


if __name__ == "__main__":
    main()
