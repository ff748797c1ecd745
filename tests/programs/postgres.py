"""What the tests of programs that use PostgreSQL share: a real server of their own, on a port of loopback."""

import glob
import os
import shutil
import subprocess
import tempfile
import unittest

from stage import BARE, Stage

POSTGRES = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [""])[-1]
NOBODY = 65534


@unittest.skipUnless(POSTGRES and os.path.exists(os.path.join(POSTGRES, "initdb")), "PostgreSQL is not installed")
class WithPostgres(Stage):
    def setUp(self):
        super().setUp()
        # Its server does not run as root, and wants a folder of its own.
        self.data = tempfile.mkdtemp(prefix="postgres-")
        self.addCleanup(shutil.rmtree, self.data, ignore_errors=True)
        if os.geteuid() == 0:
            os.chown(self.data, NOBODY, NOBODY)
        self.port = self.free_port()
        self.postgres("initdb", "-U", "tester", "-A", "trust", "--no-sync", os.path.join(self.data, "db"))
        self.addCleanup(self.postgres, "pg_ctl", "stop", "-m", "immediate", check=False)

    def postgres(self, command, *arguments, check=True):
        as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run([os.path.join(POSTGRES, command), *arguments], check=check, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                       env=self.environment(how=BARE, PGDATA=os.path.join(self.data, "db")), **as_nobody)

    def begin(self, *settings):
        options = f"-p {self.port} -k '' -h 127.0.0.1 -F" + "".join(f" -c {setting}" for setting in settings)
        self.postgres("pg_ctl", "start", "-w", "-l", os.path.join(self.data, "log"), "-o", options)

    def end(self):
        self.postgres("pg_ctl", "stop", "-w", "-m", "fast")

    def conninfo(self):
        return f"host=127.0.0.1 port={self.port} user=tester dbname=postgres"

    def statements(self, text):
        """How often the server was asked that, where it logs what it is asked (log_statement=all)."""
        with open(os.path.join(self.data, "log"), encoding="utf-8") as file:
            return file.read().count(f"statement: {text}\n")
