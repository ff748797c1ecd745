"""`resil doctor`: what of a program can be reached, and whether it works here at all."""

import glob
import json
import os
import shutil
import subprocess

from stage import BARE, BUILD, LIBRARY, PYTHON, RESIL, Stage, main

RULE = """
match: {address: 127.0.0.1}
timeout: {connect: 1s}
retry: {max_retries: 1, base_delay: 1ms}
"""

REFUSED = ["perl", "-e", 'print "said by the program\\n"; socket(S, 2, 1, 0); '
                         'connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1))']


class Doctor(Stage):
    def setUp(self):
        super().setUp()
        self.rule_file = self.rules(RULE)

    def diagnose(self, *arguments, expect=0, **environment):
        ended = self.run_program([RESIL, "doctor", "--json", "--rules", self.rule_file, *arguments], how=BARE,
                                 **environment)
        self.assertEqual(ended.status, expect, ended)
        return json.loads(ended.out)

    def found(self, diagnosis, about, result=None):
        return [finding["text"] for finding in diagnosis["findings"]
                if finding["about"] == about and result in (None, finding["result"])]

    def call(self, diagnosis, name):
        (call,) = [call for call in diagnosis["calls"] if call["name"] == name]
        return call

    def compile(self, name, source, *options):
        path = os.path.join(self.folder, name)
        subprocess.run(["cc", "-o", path, "-x", "c", "-", "-x", "none", *options], input=source, text=True, check=True)
        return path

    def test_a_program_that_can_be_reached(self):
        diagnosis = self.diagnose("wget")
        self.assertFalse(diagnosis["is_bad"])
        self.assertEqual(diagnosis["library"], LIBRARY)
        self.assertTrue(self.found(diagnosis, "program", "good"))
        self.assertIn("1 of 1 rule may be for wget", self.found(diagnosis, "rules", "good")[0])
        self.assertIn(diagnosis["file"], self.call(diagnosis, "connections")["functions"]["connect"])
        self.assertEqual(self.call(diagnosis, "connections")["covered"], "yes")
        self.assertIn("select", self.call(diagnosis, "waits")["functions"])

    def test_the_probe_proves_that_it_works(self):
        (text,) = self.found(self.diagnose("wget"), "probe", "good")
        self.assertIn("got what its rule said", text)
        # The probe leaves nothing behind, and nobody's state knows of it.
        self.assertEqual([host for report in self.reports() for host in report["hosts"]], [])

    def test_the_probe_fails_where_it_does_not_work(self):
        """A library that is not ours stands in its place; and one that is switched off."""
        other = os.path.join(self.folder, "libresil.so")
        subprocess.run(["cc", "-shared", "-o", other, "-x", "c", "/dev/null"], check=True)
        diagnosis = self.diagnose("wget", expect=1, RESIL_LIBRARY=other)
        self.assertTrue(self.found(diagnosis, "probe", "bad"), diagnosis)
        diagnosis = self.diagnose("wget", expect=1, RESIL_DISABLE="1")
        self.assertTrue(self.found(diagnosis, "probe", "bad"))
        self.assertTrue(self.found(diagnosis, "settings", "bad"))

    def test_a_static_program(self):
        path = self.compile("static", "int main(void) { return 0; }", "-static")
        diagnosis = self.diagnose(path, expect=1)
        self.assertTrue(self.found(diagnosis, "static", "bad"))

    def test_a_script_whose_interpreter_is_missing(self):
        for line, said in ("/nowhere/python", "not there: /nowhere/python"), ("/usr/bin/env nowhere3", "in no folder of PATH"):
            path = self.write("script", f"#!{line}\n")
            os.chmod(path, 0o755)
            self.assertIn(said, self.found(self.diagnose(path, expect=1), "interpreter", "bad")[0])

    def test_a_library_that_is_another_one(self):
        zlib, = glob.glob("/usr/lib/*-linux-gnu/libz.so.1")
        self.assertIn("no libresil.so", self.found(self.diagnose("true", expect=1, RESIL_LIBRARY=zlib), "library", "bad")[0])
        ended = self.run_program([RESIL, "run", "--rules", self.rule_file, "--", "printenv", "LD_PRELOAD"], how=BARE,
                                 RESIL_LIBRARY=zlib)
        self.assertEqual((ended.status, ended.out), (1, ""), ended)
        self.assertIn(f"{zlib} is no libresil.so", ended.err)

    def test_a_script_is_judged_by_what_runs_it(self):
        path = self.write("script", f"#!{PYTHON}\n")
        os.chmod(path, 0o755)
        diagnosis = self.diagnose(path)
        self.assertEqual((diagnosis["program"], diagnosis["file"]), (path, PYTHON))
        self.assertIn("may be for python3", self.found(diagnosis, "rules", "good")[0])

    def test_a_program_that_is_made_for_musl(self):
        path = self.compile("musl", "int main(void) { return 0; }", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")
        self.assertTrue(self.found(self.diagnose(path, expect=1), "musl", "bad"))

    def test_a_program_that_gets_privileges(self):
        if os.geteuid() == 0:
            path = os.path.join(self.folder, "privileged")
            shutil.copy("/bin/true", path)
            os.chown(path, 1, 1)
            os.chmod(path, 0o4755)
        else:
            path = "/bin/su"
        self.assertTrue(self.found(self.diagnose(path, expect=1), "privileges", "bad"))

    def test_a_program_with_a_connect_of_its_own(self):
        """The loader takes the program's before ours: the program itself proves it."""
        path = self.compile("own", "int connect(int fd, const void *a, unsigned n) { return -7; }\n"
                                   "int main(void) { return connect(0, 0, 0) == -7; }", "-rdynamic")
        (text,) = self.found(self.diagnose(path, expect=1), "own_function", "bad")
        self.assertIn("connect", text)
        self.assertEqual(self.run_program([path], self.rule_file).status, 1)

    def test_libraries_are_found_as_the_loader_finds_them(self):
        """By RUNPATH; the library connects, not the program. Neither is run."""
        ran = os.path.join(self.folder, "ran")
        inner = (f'#include <stdio.h>\n__attribute__((constructor)) static void c(void) {{ fclose(fopen("{ran}", "w")); }}\n'
                 "int connect(int, const void *, unsigned);\nint reach(void) { return connect(-1, 0, 0); }\n")
        self.compile("libinner.so", inner, "-shared", "-fPIC")
        path = self.compile("outer", "int reach(void);\nint main(void) { return reach() == 0; }", f"-L{self.folder}",
                            "-linner", "-Wl,-rpath,$ORIGIN")
        diagnosis = self.diagnose(path)
        self.assertEqual(self.call(diagnosis, "connections")["functions"]["connect"],
                         [os.path.join(self.folder, "libinner.so")])
        self.assertFalse(os.path.exists(ran))
        os.remove(os.path.join(self.folder, "libinner.so"))
        self.assertIn("libinner.so is not found", self.found(self.diagnose(path, expect=1), "libraries", "bad")[0])

    def test_raw_system_calls_and_functions_by_name_are_said(self):
        path = self.compile("raw", "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <unistd.h>\n"
                                   'int main(void) { return dlsym(RTLD_DEFAULT, "connect") && syscall(39) < 0; }')
        diagnosis = self.diagnose(path)
        self.assertEqual(self.call(diagnosis, "raw calls")["functions"], {"syscall": [path]})
        self.assertEqual(self.call(diagnosis, "functions by name")["covered"], "partly")

    def test_every_hook_has_its_place(self):
        """What libresil stands in front of is in the table: a program that imports all of it shows all of it."""
        names = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
        names = sorted({line.split()[-1].split("@")[0] for line in names.splitlines()} - {"resil_degraded", "resil_last"})
        source = "".join(f"extern void {name}(void);\n" for name in names)
        source += "void *all[] = {" + ", ".join(names) + "};\nint main(void) { return 0; }\n"
        path = self.compile("all", source, "-fno-builtin", "-w")
        shown = {name for call in self.diagnose(path)["calls"] for name in call["functions"]}
        self.assertLessEqual(set(names), shown)

    def test_bad_rules(self):
        self.rule_file = self.write("bad.yaml", "version: 1\nrules:\n  - name: a\n    match: {port: 80}\n    retyr: {}\n")
        self.assertIn("no rules are in force", self.found(self.diagnose("wget", expect=1), "rules", "bad")[0])

    def test_rules_for_other_programs_only(self):
        self.rule_file = self.rules("match: {program: other}\ntimeout: {connect: 1s}\n")
        self.assertIn("none of 1 rule is for", self.found(self.diagnose("wget", expect=1), "rules", "bad")[0])

    def test_a_script_may_start_another_program(self):
        """One that version managers put in the way of the program, say: rules are asked for by the name of what it starts."""
        self.rules("match: {program: curl}\ntimeout: {connect: 1s}\n")
        path = self.write("curl", "#!/bin/sh\nexec /usr/bin/curl \"$@\"\n")
        os.chmod(path, 0o755)
        said = self.found(self.diagnose(path), "rules", "note")[0]
        self.assertIn("none of 1 rule is for a program called", said)
        self.assertIn("should it start another program, ask about that one", said)

    def test_a_file_of_functions_or_faults_alone_is_good(self):
        for text in ("functions:\n  - {name: f, symbol: f, returns: int, args: [], fails_when: {returns: 1}, retry: {}}\n",
                     "faults:\n  - {name: f, match: {}, error: EPIPE, on: [send]}\n"):
            self.rule_file = self.write("other.yaml", "version: 1\n" + text)
            self.assertEqual(self.found(self.diagnose("wget"), "rules", "bad"), [])

    def test_a_state_folder_that_cannot_be_used(self):
        for folder, why in ("/proc/nowhere", "cannot be made"), (self.write("file", ""), "not a folder"):
            diagnosis = self.diagnose("wget", expect=1, RESIL_STATE_DIR=folder)
            self.assertIn(why, self.found(diagnosis, "state", "bad")[0])
        os.mkdir(self.state)
        os.chmod(self.state, 0o777)
        self.assertIn("written by others", self.found(self.diagnose("wget", expect=1), "state", "bad")[0])

    def test_run_says_of_a_state_folder_that_it_cannot_be_used(self):
        ended = self.run_program([RESIL, "run", "--rules", self.rule_file, "--", "true"], how=BARE,
                                 RESIL_STATE_DIR="/proc/nowhere")
        self.assertTrue(ended.is_good, ended)
        self.assertIn("resil run: the state folder /proc/nowhere cannot be made", ended.err)
        ended = self.run_program([RESIL, "run", "--rules", self.rule_file, "--", "true"], how=BARE)
        self.assertNotIn("state folder", ended.err)

    def test_run_says_that_connections_may_be_waited_for(self):
        """As long as waits are not covered."""
        covered = self.call(self.diagnose("curl"), "waits")["covered"]
        for command, waits in (["curl", "--version"], True), (["cat", "/dev/null"], False):
            ended = self.run_program([RESIL, "run", "--rules", self.rule_file, "--", *command], how=BARE)
            self.assertEqual(" can wait for its connections" in ended.err, waits and covered != "yes", ended)

    def test_another_preload_and_a_missing_one(self):
        other = os.path.join(self.folder, "other.so")
        subprocess.run(["cc", "-shared", "-o", other, "-x", "c", "/dev/null"], check=True)
        diagnosis = self.diagnose("wget", LD_PRELOAD=other)
        self.assertIn("goes before it", self.found(diagnosis, "preload", "note")[0])
        self.assertTrue(self.found(diagnosis, "probe", "good"))

    def test_what_is_wrong_with_the_settings(self):
        diagnosis = self.diagnose("wget", expect=1, RESIL_SEED="abc", RESIL_LOG="stdout")
        self.assertEqual(len(self.found(diagnosis, "settings", "bad")), 2)

    def test_run_counts_what_was_done_and_who_called(self):
        port = str(self.free_port())
        diagnosis = self.diagnose("--run", "--", *REFUSED, port, RESIL_LOG="off")
        run = diagnosis["run"]
        self.assertEqual((run["status"], run["signal"], run["processes"]), (0, None, 1))
        self.assertTrue(any("perl" in path for path in run["bound"]["connect"]), run["bound"])
        (report,) = run["rule_files"]
        (host,) = report["hosts"]
        self.assertEqual((host["target"], host["calls"], host["retries"]), (f"127.0.0.1:{port}", 1, 1))
        self.assertEqual(set(report["passed_through"].values()), {0})
        # Its state was its own.
        self.assertEqual([host for report in self.reports() for host in report["hosts"]], [])

    def test_run_names_why_calls_passed_through(self):
        path = os.path.join(self.folder, "datagrams")
        self.rule_file = self.rules(f"match: {{unix: {path}}}\ntimeout: {{response: 5s}}\n")
        code = ("import socket, sys\nserver, s = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))\n"
                "server.bind(sys.argv[1])\ns.setblocking(False)\ns.connect(sys.argv[1])\n")
        diagnosis = self.diagnose("--run", PYTHON, "-c", code, path)
        self.assertEqual(diagnosis["run"]["rule_files"][0]["passed_through"]["non_blocking"], 1)

    def test_run_finds_a_program_that_makes_its_own_calls(self):
        """Its file may be dynamic and it may import what it does not use."""
        path = self.compile("raw", "#include <unistd.h>\nint main(void) { return syscall(39) < 0; }", "-w")
        diagnosis = self.diagnose("--run", path, expect=1)
        self.assertIn("bound none of its functions", self.found(diagnosis, "run", "bad")[0])

    def test_what_of_the_declared_functions_it_can_reach(self):
        psql = sorted(glob.glob("/usr/lib/postgresql/*/bin/psql"))
        if not psql:
            self.skipTest("psql is not installed")
        functions = {"good": ("libpq.so.5", "PQconnectdbParams"), "misspelt": ("libpq.so.5", "PQconectdbParams"),
                     "private": ("libpq.so.5", "no_such_thing_at_all"), "later": ("libhiredis.so.*", "redisConnect"),
                     "unasked": ("libpq.so.5", "PQoidStatus"), "nowhere": (None, "no_such_thing_at_all")}
        text = "version: 1\nfunctions:\n"
        for name, (library, symbol) in functions.items():
            text += f"  - {{name: {name}, symbol: {symbol}, returns: pointer, args: [pointer, pointer, int], "
            text += f"library: {library}, " if library else ""
            text += "fails_when: {returns: null}, retry: }\n"
        self.rule_file = self.write("functions.yaml", text)
        diagnosis = self.diagnose(psql[-1], expect=1)
        self.assertEqual(self.found(diagnosis, "functions", "good"),
                         ["good: PQconnectdbParams of libpq.so.5 is called by psql"])
        self.assertEqual(self.found(diagnosis, "functions", "bad"),
                         ["misspelt: libpq.so.5 has no function PQconectdbParams (did you mean PQconnectdbParams?)",
                          "private: libpq.so.5 has no function no_such_thing_at_all"])
        notes = self.found(diagnosis, "functions", "note")
        self.assertIn("libhiredis.so.* is none of the libraries that it starts with", notes[0])
        self.assertIn("PQoidStatus of libpq.so.5 is called by none of its files by name", notes[1])
        self.assertIn("no file that it starts with has a function no_such_thing_at_all", notes[2])
        command = [RESIL, "run", "--rules", self.rule_file, "--log", "off", "--", psql[-1], "--version"]
        ended = self.run_program(command, how=BARE)
        self.assertIn("psql (PostgreSQL)", ended.out)
        self.assertEqual(ended.err.splitlines()[1:], [  # the first tells of warnings
            "resil run: function misspelt: libpq.so.5 has no function PQconectdbParams (did you mean PQconnectdbParams?)",
            "resil run: function private: libpq.so.5 has no function no_such_thing_at_all"])

    def test_the_report_for_people(self):
        ended = self.run_program([RESIL, "doctor", "--rules", self.rule_file, "--run", *REFUSED, str(self.free_port())],
                                 how=BARE, RESIL_LOG="off")
        self.assertEqual((ended.status, ended.err), (0, ""), ended)
        self.assertTrue(ended.out.startswith("said by the program\ngood  "), ended)
        self.assertIn("retries 1", ended.out)
        without_paths = [line for line in ended.out.splitlines() if "/" not in line]
        self.assertLessEqual(max(map(len, without_paths)), 80)

    def test_what_could_not_run(self):
        self.resil("doctor", expect=2)
        self.resil("doctor", "no-such-program", expect=2)
        self.assertEqual(self.run_program([RESIL, "doctor", "wget"], how=BARE, RESIL_LIBRARY="/nowhere").status, 2)

    def test_nothing_is_left_in_the_temporary_folder(self):
        temporary = os.path.join(self.folder, "temporary")
        os.mkdir(temporary)
        self.diagnose("--run", *REFUSED, str(self.free_port()), TMPDIR=temporary)
        self.assertEqual(os.listdir(temporary), [])


if __name__ == "__main__":
    main()
