"""Each recipe runs as it is written, and prints what it says; bare, the same programs fail in it first."""

import os
import re
import shutil

from stage import main
from walk import ROOT, Walk


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

    def test_no_recipe_is_left_out(self):
        with open(os.path.join(ROOT, "docs/recipes.md"), encoding="utf-8") as file:
            parts = file.read().split("\n## ")[1:]
        with open(__file__, encoding="utf-8") as file:
            walked = re.findall(r'walk\("recipes.md", "(.*)"\)', file.read())
        self.assertEqual([part.split("\n")[0] for part in parts if "```sh" in part], walked)


if __name__ == "__main__":
    main()
