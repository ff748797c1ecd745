"""Each recipe runs as it is written, and prints what it says; bare, the same programs fail in it first."""

import os
import re
import shutil
import subprocess
import unittest

import yaml

from stage import PYTHON, main
from walk import ROOT, Walk

PYTEST = subprocess.run([PYTHON, "-m", "pytest", "--version"], capture_output=True, check=False).returncode == 0


class Recipes(Walk):
    def test_a_cron_job(self):
        self.walk("recipes.md", "A cron job")

    def test_an_old_daemon(self):
        self.walk("recipes.md", "An old daemon")

    def test_nginx(self):
        if not shutil.which("nginx"):
            self.skipTest("nginx is not installed")
        self.walk("recipes.md", "nginx and its upstreams")

    def test_a_jvm(self):
        if not shutil.which("java"):
            self.skipTest("java is not installed")
        self.walk("recipes.md", "A JVM")

    def test_every_program_of_a_machine(self):
        self.walk("recipes.md", "Every program of a machine")

    @unittest.skipUnless(PYTEST, "pytest is not installed for the machine's python3")
    def test_faults_in_pytest_and_in_ci(self):
        self.walk("recipes.md", "Faults in pytest and in CI")

    def test_what_ci_is_told_to_run_is_what_the_recipe_has_run(self):
        """But for where the package comes from."""
        with open(os.path.join(ROOT, "docs/recipes.md"), encoding="utf-8") as file:
            recipe = file.read().split("\n## Faults in pytest")[1].split("\n## ")[0]
        github, gitlab = re.findall(r"<<'YAML'\n(.*?)^YAML$", recipe, re.M | re.S)
        jobs = yaml.safe_load(github)["jobs"]["faults"]["steps"], yaml.safe_load(gitlab)["faults"]["script"]
        commands = [step["run"] for step in jobs[0] if "run" in step and "apt-get" not in step["run"]], jobs[1][1:]
        files = dict(re.findall(r"cat >(\S+) <<'\w+'\n(.*?)^[A-Z]+$", recipe, re.M | re.S))
        texts = [files[name] for name in ("faults.yaml", "conftest.py", "test_export.py", "faults.sh")]
        mended = re.findall(r"cat >count-export <<'PROGRAM'\n(.*?)^PROGRAM$", recipe, re.M | re.S)[-1]
        for job in commands:
            script = "".join(f"cat >{name} <<'END_OF_FILE'\n{text}END_OF_FILE\n" for name, text in
                             zip(("faults.yaml", "conftest.py", "test_export.py", "faults.sh", "count-export"), [*texts, mended]))
            for program, status in (mended, 0), ("#!/bin/sh\nwget -q --tries=1 -O- \"$1\" | grep -c .\n", 1):
                ended = self.on_machine(script + f"cat >count-export <<'END_OF_FILE'\n{program}END_OF_FILE\nchmod 755 count-export\n"
                                        "trap 'kill $(jobs -p)' EXIT\n" + "\n".join(job) + "\n")
                self.assertEqual(ended.status, status, f"{job}: {ended}")

    def test_no_recipe_is_left_out(self):
        with open(os.path.join(ROOT, "docs/recipes.md"), encoding="utf-8") as file:
            parts = file.read().split("\n## ")[1:]
        with open(__file__, encoding="utf-8") as file:
            walked = re.findall(r'walk\("recipes.md", "(.*)"\)', file.read())
        self.assertEqual([part.split("\n")[0] for part in parts if "```sh" in part], walked)


if __name__ == "__main__":
    main()
