"""The tutorial runs as it is written, and prints what it says."""

from stage import main
from walk import Walk


class Tutorial(Walk):
    def test_it_runs_as_it_is_written(self):
        self.walk("tutorial.md")


if __name__ == "__main__":
    main()
