"""psql and a real PostgreSQL: libpq connects without blocking and waits in poll, and meets the faults of its connection there."""

import shutil
import time
import unittest

from faults import FaultStage
from postgres import WithPostgres
from stage import RULED, main

LONG = "select repeat('x', 200000)"
RESET = "server closed the connection unexpectedly"  # what libpq makes of ECONNRESET


@unittest.skipUnless(shutil.which("psql"), "psql is not installed")
class Psql(FaultStage, WithPostgres):
    def setUp(self):
        super().setUp()
        self.begin("log_statement=all")

    def psql(self, statement="select 42"):
        return ["psql", "-X", "-w", "-At", "-c", statement, self.conninfo()]

    def is_late(self, fault, least):
        """It gets what it asked for, `least` seconds later than it would."""
        rules = self.faults(fault)

        def story(how):
            before = len(self.fired())
            began = time.monotonic()
            ended = self.faulty(self.psql(), rules, how)
            seconds = time.monotonic() - began
            self.assertEqual((ended.status, ended.out), (0, "42\n"), ended)
            has_fired = len(self.fired()) > before
            self.assertFalse(has_fired and seconds < least, "it says so, and was not late")
            return has_fired

        self.only_when_armed(story)
        self.assert_nothing_passed_through()

    def breaks(self, fault, said, asked):
        """It says that its connection broke, the server having been asked so often; without the fault it gets everything."""
        rules = self.faults(fault)

        def story(how):
            before = self.statements(LONG)
            ended = self.faulty(self.psql(LONG), rules, how)
            if how != RULED:
                self.assertEqual((ended.status, len(ended.out)), (0, 200_001), ended)
                return False
            self.assertEqual((ended.status, ended.out), (2, ""), ended)
            self.assertIn(said, ended.err)
            self.assertEqual(self.statements(LONG) - before, asked)
            return len(self.fired()) == 1

        self.only_when_armed(story)
        self.assert_nothing_passed_through()

    def test_its_connect_takes_longer(self):
        self.is_late("on: [connect], latency: 400ms", 0.4)

    def test_its_answers_come_later(self):
        self.is_late("on: [recv], latency: 400ms", 0.4)

    def test_its_requests_leave_later(self):
        self.is_late("on: [send], nth: 1, per: connection, latency: 400ms", 0.4)

    def test_it_is_told_of_a_reset_before_it_could_ask(self):
        self.breaks("on: [recv], error: ECONNRESET", RESET, 0)

    def test_it_is_told_of_any_other_error_by_its_name(self):
        self.breaks("on: [recv], error: ETIMEDOUT", "could not receive data from server: Connection timed out", 0)

    def test_its_answer_is_cut_off_by_a_reset(self):
        self.breaks("reset: {after_bytes: 50000}", RESET, 1)


if __name__ == "__main__":
    main()
