"""What `cmake --install` puts in place works from there."""

import os
import subprocess

from stage import BARE, BUILD, Stage, main


class Install(Stage):
    def setUp(self):
        super().setUp()
        self.prefix = os.path.join(self.folder, "prefix")
        subprocess.run(["cmake", "--install", BUILD, "--prefix", self.prefix], check=True, stdout=subprocess.DEVNULL)
        self.tool = os.path.join(self.prefix, "bin/resil")

    def test_the_starters_and_the_schema_are_there(self):
        rules = os.path.join(self.prefix, "share/resil/rules")
        names = os.listdir(rules)
        self.assertIn("rules.schema.json", names)
        starters = [name for name in names if name.endswith(".yaml")]
        self.assertGreaterEqual(len(starters), 5)
        for name in starters:
            ended = self.run_program([self.tool, "check", os.path.join(rules, name)], how=BARE)
            self.assertEqual(ended.status, 0, ended)

    def test_programs_find_the_header(self):
        header = os.path.join(self.prefix, "include/resil.h")
        code = self.write("ask.c", "#include <resil.h>\nint main(void) { return resil_degraded ? resil_degraded(0) : 0; }\n")
        for compiler in ["cc", "-std=c99", "-pedantic"], ["c++", "-xc++"]:
            ended = self.run_program([*compiler, "-Wall", "-Wextra", "-Werror", "-I", os.path.dirname(header), "-o",
                                      os.path.join(self.folder, "ask"), code], how=BARE)
            self.assertEqual(ended.status, 0, ended)
            self.assertEqual(self.run_program([os.path.join(self.folder, "ask")], how=BARE).status, 0)

    def test_the_installed_tool_finds_the_installed_library(self):
        server = self.server("up-after 500 answer --body here-I-am")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {total: 20s}\n"
                           "retry: {max_retries: 60, base_delay: 50ms, factor: 1, jitter: none}\n")
        ended = self.run_program([self.tool, "run", "--rules", rules, "--", *self.wget(server.url())], how=BARE)
        self.assertIn("here-I-am", ended.out, ended)
        self.assertIn(self.prefix, self.run_program([self.tool, "doctor", "wget"], how=BARE).out.replace("\n      ", ""))


if __name__ == "__main__":
    main()
