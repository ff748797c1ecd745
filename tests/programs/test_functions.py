#!/usr/bin/env python3
"""Declared functions: a library that fails, called in every way, comes through where its rule file says so."""

import json
import os
import subprocess

from stage import BARE, BUILD, EMPTIED, LIBRARY, PYTHON, RESIL, RULED, Stage, main

TESTS = os.path.join(BUILD, "tests")
WAYS = ["lazy", "now", "noplt", "nopie", "norelro", "sysv"]

OPEN = """
  - name: open
    library: libflaky*.so.*
    symbol: flaky_open
    returns: pointer
    args: [string]
    fails_when: {check: {symbol: flaky_status, args: [result], fails_when: "!= 0"}}
    cleanup: {symbol: flaky_close, args: [result]}
    target: arg 1
    retry: {max_retries: 3, base_delay: 1ms}
"""
ASK = """
  - name: ask
    symbol: flaky_ask
    returns: int
    args: [int, int]
    fails_when: {returns: "< 0"}
"""
RETRIED = ASK + "    retry: {max_retries: 3, base_delay: 1ms}\n"
GUARDED = ASK + """    breaker: {failure_threshold: 3, recovery_timeout: 1h, max_recovery_timeout: 1h}
    default: {returns: 0, errno: ECONNREFUSED}
"""
WITH = """
  - name: with
    symbol: flaky_with
    returns: int
    args: [pointer, pointer]
    fails_when: {returns: "< 0"}
"""


class Functions(Stage):
    def declare(self, *functions):
        return self.write("rules.yaml", "version: 1\nfunctions:\n" + "".join(functions))

    def program(self, way="lazy"):
        return os.path.join(TESTS, f"functions_{way}")

    def tell(self, story, *arguments, rules=None, how=RULED, way="lazy", **extra):
        extra.setdefault("RESIL_EARLY", "1")
        ended = self.run_program([self.program(way), story, *arguments], rules, how, **extra)
        self.assertTrue(ended.is_good, ended)
        return ended.out

    def only_under(self, rules, good, story, *arguments, **options):
        """The story is told with exactly these lines; bare and with the rules emptied there are others."""
        for how in BARE, EMPTIED:
            self.assertNotEqual(self.tell(story, *arguments, rules=rules, how=how, **options), good, how)
        self.assertEqual(self.tell(story, *arguments, rules=rules, **options), good)


class Policy(Functions):
    def test_a_failed_call_is_made_again_and_what_it_returned_is_cleaned_up(self):
        self.only_under(self.declare(OPEN), "status 0, 1 open, 3 calls\n", "open")
        self.assertEqual([event["target"] for event in self.events("function_retry")], ["flaky_open db.internal:5432"] * 2)
        self.assertEqual(len(self.events("function_late")), 1)

    def test_a_call_that_comes_through_leaves_errno_alone(self):
        self.only_under(self.declare(RETRIED), "42 ENOENT\n", "errno")

    def test_a_call_that_fails_for_good_returns_what_the_last_attempt_returned(self):
        rules = self.declare(RETRIED)
        self.only_under(rules, "-1 EIO\n4 calls\n", "ask", "1")
        failed = self.events("function_failed")
        self.assertEqual((failed[0]["attempt"], failed[0]["reason"]), (4, "retries"))

    def test_an_open_circuit_gives_the_default_and_calls_nothing(self):
        good = "-1 EIO\n" * 3 + "0 ECONNREFUSED\n" * 4 + "3 calls\n"
        self.only_under(self.declare(GUARDED), good, "ask", "7")
        self.assertEqual(len(self.events("circuit_open")), 1)
        self.assertEqual(sum(event["count"] for event in self.events("rejected")), 4)

    def test_another_process_finds_the_circuit_open(self):
        rules = self.declare(GUARDED)
        self.tell("ask", "3", rules=rules)
        self.assertEqual(self.tell("ask", "1", rules=rules, way="now"), "0 ECONNREFUSED\n0 calls\n")
        self.assertIn("flaky_ask", self.resil("status"))

    def test_a_circuit_is_steered_by_hand(self):
        rules = self.declare(GUARDED)
        self.tell("ask", "3", rules=rules)
        self.resil("breaker", "close", "ask")
        self.assertEqual(self.tell("ask", "1", rules=rules), "-1 EIO\n1 calls\n")

    def test_the_default_may_be_for_failed_calls_too(self):
        rules = self.declare(ASK + "    default: {returns: 7, when: failed}\n")
        self.only_under(rules, "7 EIO\n7 EIO\n2 calls\n", "ask", "2")
        self.assertEqual(len(self.events("function_failed")), 2)

    def test_each_process_makes_so_many_calls_at_once(self):
        rules = self.declare(WITH + "    limit: {connections: 2}\n    default: {returns: -9}\n")
        self.only_under(rules, "2 through, 4 turned away\n", "crowd")
        self.assertEqual(sum(event["count"] for event in self.events("limit_connections")), 4)

    def test_every_third_call_is_made_to_fail_where_faults_are_armed(self):
        rules = self.declare(ASK + "    faults: {every: 3, returns: -1, errno: EPIPE}\n")
        good = "42 0\n42 0\n-1 EPIPE\n" * 2 + "4 calls\n"
        self.assertNotEqual(self.tell("succeed", "6", rules=rules), good)
        self.only_under(rules, good, "succeed", "6", RESIL_FAULTS="1")
        self.assertEqual(len(self.events("fault")), 2)

    def test_the_table_at_the_end_of_a_run_tells_of_it(self):
        rules = self.declare(ASK + "    faults: {every: 3, returns: -1, errno: EPIPE}\n", """
  - name: never-asked
    symbol: flaky_status
    returns: int
    args: [pointer]
    fails_when: {returns: "< 0"}
    faults: {returns: -1}
""")
        command = [RESIL, "run", "--faults", "--rules", rules, "--", self.program(), "succeed", "6"]
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env=self.environment(how=BARE))
        self.assertEqual(ended.stdout, "42 0\n42 0\n-1 EPIPE\n" * 2 + "4 calls\n")
        table = [line.split()[:3] for line in ended.stderr.splitlines()[-2:]]
        self.assertEqual(table, [["ask", "2", "1"], ["never-asked", "never", "-"]])

    def test_its_fault_is_no_other_ones_by_name(self):
        rules = self.declare(ASK + "    faults: {returns: -1}\n",
                             "faults:\n  - {name: ask, match: {}, error: ECONNREFUSED}\n")
        self.assertIn(':11:12: error: name: the faults of the function on line 4 go by its name "ask"',
                      self.resil("check", rules, expect=1))

    def test_a_fault_is_what_the_rule_deals_with(self):
        rules = self.declare(RETRIED + "    faults: {every: 2, returns: -1, errno: EPIPE}\n")
        self.assertEqual(self.tell("succeed", "6", rules=rules, RESIL_FAULTS="1"), "42 0\n" * 6 + "6 calls\n")
        self.assertGreater(len(self.events("function_retry")), 3)

    def test_what_is_not_enforced_is_recorded_and_changes_nothing(self):
        rules = self.declare(GUARDED + "    retry:\n    enforce: 0%\n")
        bare = self.tell("ask", "7", how=BARE)
        self.assertEqual(self.tell("ask", "7", rules=rules), bare)
        self.assertGreater(len(self.events("rejected")), 0)
        self.assertGreater(len(self.events("function_retry")), 0)

    def test_the_log_speaks_of_functions(self):
        rules = self.declare(RETRIED)
        ended = self.run_program([RESIL, "run", "--rules", rules, "--", self.program(), "ask", "1"], how=BARE)
        self.assertRegex(ended.err, r"libresil: flaky_ask: failed \(attempt 1 of 4\), again in ")
        self.assertRegex(ended.err, r"libresil: flaky_ask: failed \(attempt 4 of 4\), given up after .*: no retries are left")


class Binding(Functions):
    def test_it_is_bound_however_the_program_was_linked(self):
        rules = self.declare(OPEN)
        for way in WAYS:
            with self.subTest(way):
                self.only_under(rules, "status 0, 1 open, 3 calls\n", "open", way=way)

    def test_every_type_comes_through_unchanged(self):
        rules = self.declare("""
  - name: mixed
    symbol: flaky_mixed
    returns: double
    args: [char, short, int, long, float, double, uint8, ulong, string, int]
    fails_when: {check: {symbol: flaky_calls, args: [], fails_when: "< 2"}}
    retry: {max_retries: 1, base_delay: 1ms}
""")
        bare = self.tell("mixed", how=BARE)
        self.assertEqual(bare, "253.75\n")
        self.assertEqual(self.tell("mixed", rules=rules), bare)
        self.assertEqual(len(self.events("function_retry")), 1)

    def test_a_library_that_is_loaded_later_is_bound_and_bound_again(self):
        self.only_under(self.declare(RETRIED), "42\n42\n", "plug-in", TESTS)

    def test_dlsym_gives_the_function_that_is_declared(self):
        """RTLD_DEFAULT and RTLD_NEXT mean something else for each caller: they are answered by the loader alone."""
        good = "by handle 42\nby default -1\nby next -1\nnot found, and told\n"
        self.only_under(self.declare(RETRIED), good, "look-up")

    def test_each_version_of_a_function_stays_what_it_is(self):
        declared = [f"""
  - name: {symbol}
    symbol: versions_{symbol}
    returns: int
    args: []
    fails_when: {{returns: -1}}
    retry: {{max_retries: 1, base_delay: 1ms}}
""" for symbol in ("answer", "chosen")]
        rules = self.declare(*declared)
        for way in "lazy", "now":
            def story(how):
                ended = self.run_program([os.path.join(TESTS, f"functions_versions_{way}")], rules, how, RESIL_EARLY="1")
                return ended.out == "1 2 3 1\n"

            with self.subTest(way):
                self.only_with_rules(story)

    def test_a_library_of_another_name_is_left_alone(self):
        rules = self.declare(OPEN.replace("libflaky", "libother"))
        self.assertEqual(self.tell("open", rules=rules), self.tell("open", how=BARE))

    def test_ctypes_is_covered(self):
        code = ("import ctypes, sys\n"
                "flaky = ctypes.CDLL(sys.argv[1])\n"
                "flaky.flaky_fail(2)\n"
                "print(flaky.flaky_ask(20, 22))\n")
        rules = self.declare(RETRIED)

        def story(how):
            command = [PYTHON, "-c", code, os.path.join(TESTS, "libflaky.so.1")]
            return self.run_program(command, rules, how, RESIL_EARLY="1").out == "42\n"

        self.only_with_rules(story)

    def test_without_early_rules_it_is_bound_at_the_first_connect(self):
        self.only_under(self.declare(RETRIED), "-1 before\n42 after\n", "late", RESIL_EARLY="0")

    def test_a_reload_binds_and_unbinds(self):
        rules = self.declare(RETRIED)
        with subprocess.Popen([self.program(), "follow"], env=self.environment(rules, RESIL_EARLY="1"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as process:
            def ask():
                process.stdin.write("\n")
                process.stdin.flush()
                return process.stdout.readline()

            self.assertEqual(ask(), "42\n")
            self.write("rules.yaml", "version: 1\nrules: []\n")
            self.wait_for(lambda: ask() == "-1\n")
            self.declare(RETRIED)
            self.wait_for(lambda: ask() == "42\n")
            process.stdin.close()
            self.assertEqual(process.wait(), 0)

    def test_where_no_memory_may_become_executable_it_passes_through_and_says_so(self):
        rules = self.declare(RETRIED)
        self.assertEqual(self.tell("late", "refused", rules=rules, RESIL_EARLY="0"), "-1 before\n-1 after\n")
        self.assertEqual([event["reason"] for event in self.events("function_unbound")], ["no_memory"])

    def test_where_memory_that_was_written_to_may_not_become_executable_it_is_bound_all_the_same(self):
        rules = self.declare(RETRIED)
        said = self.tell("late", "written", rules=rules, RESIL_EARLY="0")
        if "cannot refuse" in said:
            self.skipTest("the kernel has no PR_SET_MDWE")
        self.assertEqual(said, "-1 before\n42 after\n")

    def test_a_check_that_is_nowhere_leaves_the_function_alone_and_says_so(self):
        rules = self.declare(OPEN.replace("flaky_status", "flaky_state"))
        self.assertEqual(self.tell("open", rules=rules), self.tell("open", how=BARE))
        self.assertEqual([event["reason"] for event in self.events("function_unbound")], ["no_check"])


class Safety(Functions):
    def calls_of(self, target):
        """How many were under policy."""
        return sum(host["calls"] for report in self.reports() for host in report["hosts"] if host["target"] == target)

    def test_a_function_that_comes_back_to_itself_is_one_call(self):
        rules = self.declare(WITH + "    retry: {max_retries: 2, base_delay: 1ms}\n", RETRIED)
        self.assertEqual(self.tell("recurse", rules=rules), self.tell("recurse", how=BARE))

    def test_what_is_called_back_is_called_for_each_attempt(self):
        self.only_under(self.declare(WITH + "    retry: {max_retries: 2, base_delay: 1ms}\n"), "-1 after 3\n", "back")

    def test_longjmp_out_of_it(self):
        rules = self.declare(WITH + "    breaker:\n    limit: {connections: 50000}\n    default: {returns: -9}\n", RETRIED)
        self.only_under(rules, "10000 jumps, then 42\n", "jump", "10000")
        self.assertEqual(self.calls_of("flaky_with"), 10000)

    def test_a_thread_that_ends_inside_it(self):
        rules = self.declare(WITH + "    breaker:\n    default: {returns: -9}\n", RETRIED)
        self.only_under(rules, "left with 7, then 42\n", "exit")
        self.assertEqual(self.calls_of("flaky_with"), 100)

    def test_a_thread_is_not_cancelled_while_it_waits_for_its_turn(self):
        rules = self.declare(ASK + "    limit: {rate: 1/s, wait: 5s}\n    default: {returns: -9}\n")
        self.assertEqual(self.tell("cancel", rules=rules), "cancelled after 2\n")

    def test_a_coroutine_that_is_given_up_inside_it(self):
        self.only_under(self.declare(WITH + "    breaker:\n    default: {returns: -9}\n", RETRIED), "42\n", "give-up")

    def test_an_exception_passes_through_it(self):
        rules = self.declare(WITH + "    breaker:\n    default: {returns: -9}\n", RETRIED)

        def story(how):
            ended = self.run_program([os.path.join(TESTS, "functions_throw")], rules, how, RESIL_EARLY="1")
            return ended.out == "caught 1000, noticed 1000, then 42\n"

        self.only_with_rules(story)
        self.assertEqual(self.calls_of("flaky_with"), 1000)

    def test_calls_before_main_and_at_the_end(self):
        rules = self.declare(RETRIED)
        self.only_under(rules, "2 before main\n", "early", FUNCTIONS_ASK_EARLY="1")
        self.only_under(rules, "42 at the end\n", "end")

    def test_a_fork_child_goes_on_under_the_rules(self):
        self.only_under(self.declare(RETRIED), "42 in the child\n42 in the parent\n", "fork")

    def test_a_fork_child_does_not_wait_for_a_lock_that_no_thread_of_it_has(self):
        rules = self.declare(RETRIED)
        self.assertEqual(self.tell("fork-among", "locked", rules=rules, RESIL_EARLY="0"), "-1 in the child\nstatus 0\n")
        (report,) = self.reports()
        self.assertEqual(report["passed_through"]["unbound"], 1)

    def test_a_library_that_a_fork_child_loads_is_bound(self):
        loaded = self.tell("plug-in", TESTS, rules=self.declare(RETRIED))
        self.assertEqual(self.tell("fork-among", TESTS, rules=self.declare(RETRIED)), loaded + "status 0\n")

    def test_a_signal_during_the_wait_is_handled_and_the_call_goes_on(self):
        rules = self.declare(ASK + "    retry: {max_retries: 1, base_delay: 200ms, jitter: none}\n")
        self.only_under(rules, "42, 1 handled\n", "interrupt")

    def test_a_thousand_rounds_of_loading_and_unloading_in_four_threads(self):
        rules = self.declare(RETRIED)
        self.assertEqual(self.tell("rounds", TESTS, rules=rules), "0 of 4000 went wrong\n")
        self.assertEqual(self.calls_of("flaky_ask"), 8000)


class Tools(Functions):
    def test_explain_tells_what_is_declared(self):
        rules = self.declare(OPEN)
        said = self.resil("explain", "--rules", rules, "--function", "libflaky.so.1:flaky_open")
        self.assertIn('gets function "open"', said)
        self.assertIn("flaky_status(result) != 0", said)
        self.assertIn("retry.max_retries", said)
        report = json.loads(self.resil("explain", "--json", "--rules", rules, "--function", "flaky_open"))
        self.assertEqual(report["values"]["retry.max_retries"], "3")

    def test_explain_tells_of_faults(self):
        rules = self.declare(ASK + "    faults: {every: 3, returns: -1, errno: EPIPE}\n")
        self.assertIn("-1, errno EPIPE; every 3, where faults are armed",
                      " ".join(self.resil("explain", "--rules", rules, "--function", "flaky_ask").split()))

    def test_check_refuses_what_nobody_may_stand_in_front_of(self):
        exported = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True)
        hooked = [line.split()[-1] for line in exported.stdout.splitlines()]
        self.assertGreater(len(hooked), 50)
        refused = [*hooked, "fork", "vfork", "_Fork", "clone", "forkpty", "daemon", "setjmp", "_setjmp", "__sigsetjmp", "longjmp",
                   "siglongjmp", "swapcontext", "exit", "_exit", "abort", "pthread_exit", "malloc", "calloc", "realloc", "free",
                   "posix_memalign", "mmap", "mmap64", "munmap", "mprotect", "dlopen", "dlmopen", "dlsym", "dlvsym", "dlclose",
                   "execl", "printf"]
        for begin in range(0, len(refused), 20):  # no more errors are told at once
            symbols = refused[begin:begin + 20]
            rules = self.declare(*(f"  - {{name: f{number}, symbol: {symbol}, returns: int, args: [], fails_when: "
                                   "{returns: -1}, retry: }\n" for number, symbol in enumerate(symbols)))
            said = self.resil("check", rules, expect=1)
            for symbol in symbols:
                self.assertIn(f"symbol: {symbol} cannot be wrapped: ", said)

    def test_explain_says_when_none_is_meant(self):
        rules = self.declare(OPEN)
        self.resil("explain", "--rules", rules, "--function", "libother.so.1:flaky_open", expect=1)
        self.resil("explain", "--rules", rules, "--function", "flaky_close", expect=1)

    def test_check_lists_functions_and_warns_of_slips(self):
        rules = self.declare(RETRIED, """
  - name: connect
    symbol: PQconnectdb
    returns: int
    args: [string]
    fails_when: {returns: 0}
    retry:
""")
        said = self.resil("check", rules)
        self.assertRegex(said, r"ask +flaky_ask +< 0")
        self.assertIn("half of the pointer would be lost", said)


if __name__ == "__main__":
    main()
