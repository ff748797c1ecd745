"""psql and a real PostgreSQL on a UNIX socket: it connects without blocking, and waits for a server that is not there yet."""

import glob
import os
import shutil
import subprocess
import unittest

from stage import BARE, RULED, Stage, main
from test_unix import PATIENT

SERVERS = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))


@unittest.skipUnless(SERVERS, "postgresql is not installed")
class Postgres(Stage):
    def setUp(self):
        super().setUp()
        self.programs = os.path.dirname(SERVERS[-1])
        self.data, self.hidden, self.shown = (os.path.join(self.folder, name) for name in ("data", "hidden", "shown"))
        os.mkdir(self.hidden)
        self.as_user = []
        if os.geteuid() == 0:  # as root it does not run
            os.chmod(self.folder, 0o755)
            os.mkdir(self.data)
            for path in self.data, self.hidden:
                shutil.chown(path, "postgres", "postgres")
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        subprocess.run([*self.as_user, f"{self.programs}/initdb", "-D", self.data, "-A", "trust", "-U", "keeper", "-N",
                        "--locale=C"], cwd="/", env=self.environment(how=BARE), stdout=subprocess.DEVNULL, check=True)
        self.serve()

    def serve(self):
        """On a socket that is elsewhere until it comes up: while PostgreSQL starts, it turns down who asks too early."""
        command = [*self.as_user, f"{self.programs}/postgres", "-D", self.data, "-k", self.hidden, "-c", "listen_addresses=",
                   "-c", "fsync=off"]
        server = subprocess.Popen(command, cwd="/", env=self.environment(how=BARE), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end():
            server.terminate()
            server.wait()

        self.addCleanup(end)
        ready = [f"{self.programs}/pg_isready", "-q", "-h", self.hidden]
        self.wait_for(lambda: server.poll() is not None or self.run_program(ready, how=BARE).is_good)
        self.assertIsNone(server.poll(), command)

    def test_psql_waits_for_a_server_that_comes_up_late(self):
        rules = self.rules(PATIENT % f"{self.shown}/.s.PGSQL.*")
        psql = [f"{self.programs}/psql", "-X", "-w", "-h", self.shown, "-U", "keeper", "-d", "postgres", "-Atc", "select 6 * 7"]

        def story(how):
            ended = self.ask_early(psql, rules, how, lambda: os.rename(self.hidden, self.shown))
            os.rename(self.shown, self.hidden)
            if how != RULED:
                self.assertIn("No such file", ended.err)
            return ended.is_good and ended.out == "42\n"

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through("not_parked")


if __name__ == "__main__":
    main()
