"""Each recipe runs as it is written, and prints what it says; bare, the same programs fail in it first."""

import shutil

from stage import main
from walk import Walk


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


if __name__ == "__main__":
    main()
