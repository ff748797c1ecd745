"""What bash and zsh complete. The scripts ask resil itself for commands and options, so nothing of it can be left out."""

import os
import re

from stage import BARE, BUILD, RESIL, Stage, main

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
IN_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_resil
printf '%s\\n' "${COMPREPLY[@]}"
"""
# What zsh's own functions would do with the words, without a terminal.
IN_ZSH = """
compadd() { local word; for word in "$@"; do [[ $word == -* && $word != --?* || $word == '' ]] || print -r -- $word; done }
_describe() { local word; for word in ${(P)2}; do print -r -- ${word%%:*}; done }
_files() { print -r -- FILES }
_command_names() { print -r -- PROGRAMS }
_normal() { print -r -- "THE PROGRAM'S OWN: $words" }
compset() { words[CURRENT]=${words[CURRENT]#*=} }
script=$1; shift
words=("$@"); CURRENT=$#
source $script
"""


class Completion(Stage):
    def complete(self, *words):
        """What bash offers behind these words, the last of which has just been begun."""
        ended = self.run_program(["env", "-C", self.folder, "bash", "-c", IN_BASH, "bash", os.path.join(ROOT, "docs/completion/resil.bash"),
                                  *words], how=BARE, PATH=f"{BUILD}:{os.environ['PATH']}")
        self.assertEqual(ended.err, "", ended)
        return ended.out.split()

    def complete_in_zsh(self, *words):
        ended = self.run_program(["zsh", "-f", "-c", IN_ZSH, "zsh", os.path.join(ROOT, "docs/completion/_resil"), *words],
                                 how=BARE, PATH=f"{BUILD}:{os.environ['PATH']}")
        self.assertEqual(ended.err, "", ended)
        return ended.out.strip().split("\n")

    def usages(self):
        overview = self.run_program([RESIL, "help"], how=BARE).out.split("First steps")[0]
        names = re.findall(r"^  ([a-z]+) +\S", overview, re.M)
        return {name: self.run_program([RESIL, name, "--help"], how=BARE).out for name in names if name != "help"}

    def call_something(self):
        port = self.free_port()
        rules = self.rules(f"match: {{address: 127.0.0.1, port: {port}}}\nbreaker: {{}}")
        self.run_program(["perl", "-e", f'socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, {port}, 127, 0, 0, 1))'], rules)
        return port

    def test_bash_knows_every_command_and_every_long_option(self):
        usages = self.usages()
        offered = self.complete("resil", "")
        self.assertEqual(sorted(set(usages) | {"help", "--help", "--version"}), sorted(offered))
        self.assertEqual(self.complete("resil", "expl"), ["explain"])
        for command, usage in usages.items():
            wanted = set(re.findall(r"^ {1,6}(?:-\S, )? *(--[a-z][a-z-]*)", usage, re.M))
            self.assertEqual({word.rstrip("=") for word in self.complete("resil", command, "-")}, wanted, command)
        self.assertEqual(self.complete("resil", "log", "--si"), ["--since="])

    def test_bash_knows_what_stands_behind_options(self):
        self.write("mine.yaml", "")
        before = os.path.join(self.folder, "mi")
        for words in (["run", "--rules", "=", before], ["explain", "-r", before], ["check", before], ["run", "--log", "=", before],
                      ["report", "-o", before]):
            self.assertIn(os.path.join(self.folder, "mine.yaml"), self.complete("resil", *words), words)
        self.assertEqual(self.complete("resil", "run", "--log", "=", "st"), ["stderr"])
        self.assertEqual(self.complete("resil", "log", "--event", "=", "circuit_o"), ["circuit_open"])
        self.assertIn("wget", self.complete("resil", "run", "wge"))
        self.assertIn("wget", self.complete("resil", "run", "--strict", "--rules", "=", "x", "--", "wge"))

    def test_behind_the_program_bash_leaves_it_to_the_program(self):
        self.write("mine.yaml", "")
        before = os.path.join(self.folder, "mi")
        self.assertEqual(self.complete("resil", "run", "--", "cat", before), [os.path.join(self.folder, "mine.yaml")])
        self.assertEqual(self.complete("resil", "run", "-r", "x", "cat", "--r"), [])

    def test_bash_knows_the_circuits(self):
        self.assertEqual(self.complete("resil", "breaker", ""), ["open", "close", "reset", "auto"])
        self.assertEqual(self.complete("resil", "breaker", "open", "127"), [])
        self.call_something()
        self.assertEqual(self.complete("resil", "breaker", "open", "127"), ["127.0.0.1"])
        self.assertEqual(self.complete("resil", "breaker", "open", "te"), ["tested"])

    def test_bash_knows_the_faults(self):
        self.assertEqual(self.complete("resil", "fault", ""), ["list", "on", "off", "auto"])
        port = self.free_port()
        rules = self.rules(f"version: 1\nrules: []\nfaults: [{{name: flaky, match: {{address: 127.0.0.1, port: {port}}}, "
                           "error: ECONNREFUSED}]\n")
        self.run_program(["perl", "-e", f'socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, {port}, 127, 0, 0, 1))'], rules,
                         RESIL_FAULTS="1")
        self.assertEqual(self.complete("resil", "fault", "off", "fl"), ["flaky"])
        self.assertEqual(self.complete_in_zsh("resil", "fault", "off", ""), ["flaky"])

    def test_zsh_knows_the_same(self):
        usages = self.usages()
        self.assertEqual(set(self.complete_in_zsh("resil", "")), set(usages) | {"help"})
        for command, usage in usages.items():
            wanted = set(re.findall(r"^ {1,6}(?:-\S, )? *(--[a-z][a-z-]*)", usage, re.M))
            self.assertEqual({word.rstrip("=") for word in self.complete_in_zsh("resil", command, "-")}, wanted, command)
        self.assertEqual(self.complete_in_zsh("resil", "run", "--rules=x"), ["FILES"])
        self.assertEqual(self.complete_in_zsh("resil", "run", "-r", "x"), ["FILES"])
        self.assertEqual(self.complete_in_zsh("resil", "report", "--output=x"), ["FILES"])
        self.assertEqual(self.complete_in_zsh("resil", "run", "--", "w"), ["PROGRAMS"])
        self.assertEqual(self.complete_in_zsh("resil", "run", "--strict", "--", "wget", "-"), ["THE PROGRAM'S OWN: wget -"])
        self.assertIn("circuit_open", self.complete_in_zsh("resil", "log", "--event=c"))
        port = self.call_something()
        self.assertEqual(self.complete_in_zsh("resil", "breaker", "open", ""), [f"127.0.0.1:{port}", "tested"])


if __name__ == "__main__":
    main()
