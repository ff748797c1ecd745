"""Rules speak of names; connect sees an address only. In a mount namespace of its own each test has its /etc/hosts."""

import os

from stage import BARE, BUILD, HANG_S, PYTHON, RULED, Stage, main


class Names(Stage):
    def hangs_unless_the_rule_names(self, url_host, command_for):
        """Which rule applies shows in whether the program is told of a timeout."""
        server = self.server("hang")
        command = self.with_hosts(command_for(server.url(url_host)))
        for host, is_meant in (("payments.test", True), ("*.test", True), ("other.test", False), ("*.payments.test", False)):
            rules = self.rules(f'match: {{host: "{host}"}}\ntimeout: {{response: 500ms}}\n')

            def story(how):
                ended = self.run_program(command, rules, how, 30 if is_meant and how == RULED else HANG_S / 2)
                self.assertFalse(ended.is_good, ended)
                return not ended.has_hung

            if is_meant:
                self.only_with_rules(story)
            else:
                self.assertFalse(story(RULED), f"a rule for {host} should not apply to {url_host}")

    def test_wget_is_recognised_by_the_name_it_looked_up(self):
        self.hangs_unless_the_rule_names("payments.test", self.wget)

    def test_urllib_is_recognised_by_the_name_it_looked_up(self):
        self.hangs_unless_the_rule_names("Payments.TEST", self.urllib)

    def test_events_and_status_speak_of_the_name(self):
        rules = self.rules('match: {host: payments.test, port: 1-65535}\nbreaker: {}\n')
        server = self.server("refuse")
        self.run_program(self.with_hosts(self.wget(server.url("payments.test"))), rules)
        (failed,) = self.events("connect_failed")
        self.assertEqual(failed["target"], f"payments.test:{server.port}")
        self.assertIn(f"payments.test:{server.port}", self.resil("status"))

    def test_a_long_name_is_told_whole_of_a_connection_too(self):
        """A connection keeps the beginning of it only."""
        name = "shard-17.read-only.payments.test"
        rules = self.rules(f"match: {{host: {name}}}\ntimeout: {{response: 300ms}}\n")
        server = self.server("hang")
        self.run_program(self.with_hosts(self.wget(server.url(name)), f"127.0.0.1 {name}\n"), rules)
        (late,) = self.events("response_timeout")
        self.assertEqual(late["target"], f"{name}:{server.port}")

    def test_the_last_name_looked_up_wins_where_an_address_has_several(self):
        rules = self.rules("match: {host: payments.test}\ntimeout: {response: 300ms}\nbreaker: {}\n")
        server = self.server("answer")
        code = ("import socket, sys\n"
                "for name in 'other.test', 'payments.test', 'other.test':\n"
                "    socket.create_connection((name, int(sys.argv[1]))).close()\n")
        ended = self.run_program(self.with_hosts([PYTHON, "-c", code, str(server.port)]), rules)
        self.assertTrue(ended.is_good, ended)
        self.assertIn(f"payments.test:{server.port}", self.resil("status"))
        self.assertNotIn("other.test", self.resil("status"))


LOOKUPS = os.path.join(BUILD, "tests/lookups")

# Answers by the first part of a name: deafN never, lateN after N seconds, failN with SERVFAIL for the first N times, none
# with "no such name", others at once. Writes down each question: type and name. Ends with the program.
NAME_SERVER = r"""
import ctypes, os, re, signal, socket, struct, sys, threading, time
questions, command = sys.argv[1], sys.argv[2:]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
if os.fork():
    s.close()
    os.execvp(command[0], command)
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
null = os.open("/dev/null", os.O_RDWR)
for fd in 0, 1, 2:
    os.dup2(null, fd)
seen = {}
def serve(query, client, first, kind):
    code, addresses = 0, [b"\x7f\0\0\1"] if first != "many" else [b"\x7f\0\0\1", b"\x7f\0\0\2", b"\x7f\0\0\3"]
    if first == "else":
        addresses = [b"\x7f\0\0\5"]
    number = int(re.sub(r"\D", "", first) or 0)
    if first.startswith("late"):
        time.sleep(number)
    if first.startswith("fail") and seen[first, kind] <= number:
        code = 2
    if first.startswith("none"):
        code = 3
    if code or kind != 1:
        addresses = []
    end = query.index(b"\0", 12) + 5
    answer = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0) + query[12:end]
    for address in addresses:
        answer += b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + address
    s.sendto(answer, client)
while True:
    query, client = s.recvfrom(512)
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack("!H", query[at + 1:at + 3])[0]
    with open(questions, "a") as file:
        file.write(f"{kind} {'.'.join(labels)}\n")
    seen[labels[0], kind] = seen.get((labels[0], kind), 0) + 1
    if not labels[0].startswith("deaf"):
        threading.Thread(target=serve, args=(query, client, labels[0], kind), daemon=True).start()
"""


class Lookups(Stage):
    """A name server that does what it is told by the name, in a network namespace of its own."""

    def with_name_server(self, command, services="files dns", search=""):
        server = self.write("name_server.py", NAME_SERVER)
        return self.in_namespace(
            {"/etc/resolv.conf": f"nameserver 127.0.0.1\n{search}\n", "/etc/nsswitch.conf": f"hosts: {services}\n",
             "/etc/hosts": "127.0.0.1 here.test\n127.0.0.1 localhost\n"},
            [PYTHON, server, self.questions_path(), *command], "--net", prepare="ip link set lo up")

    def questions_path(self):
        return os.path.join(self.folder, "questions")

    def questions(self):
        """What the name server was asked, since the last time."""
        if not os.path.exists(self.questions_path()):
            return []
        with open(self.questions_path()) as file:
            questions = file.read().splitlines()
        os.remove(self.questions_path())
        return questions

    def lookups(self, how, *arguments, rules="timeout: {resolve: 300ms}", search="", seconds=30, **extra):
        """What the program `lookups` says under that policy for the names in .test and .slow."""
        file = self.rules('match: {host: ["*.test", "*.slow"]}\n' + rules + "\n")
        ended = self.run_program(self.with_name_server([LOOKUPS, *arguments], search=search), file, how, seconds, **extra)
        return "hangs" if ended.has_hung else ended.out

    def gives_up_in_time(self, name, time_out, command_for, says, is_late=False):
        rules = self.rules(f'match: {{host: "*.test"}}\ntimeout: {{resolve: {time_out}}}\n')
        command = self.with_name_server(command_for(f"http://{name}/"))

        def story(how):
            ended = self.run_program(command, rules, how, HANG_S + 3 if how != RULED and not is_late else 30)
            if how != RULED:
                self.assertTrue(is_late or ended.has_hung, ended)
                self.assertNotIn(says, ended.err)
                return False
            self.assertFalse(ended.is_good, ended)
            return says in ended.err

        self.only_with_rules(story)
        (failed,) = self.events("lookup_failed")
        self.assertEqual(failed["error"], "EAI_AGAIN")
        self.assertEqual(failed["target"].split(":")[0], name)

    def getent(self, url):
        return ["getent", "ahosts", url.split("/")[2]]

    def test_wget_is_told_that_the_resolver_does_not_answer(self):
        self.gives_up_in_time("deaf.test", "2s", self.wget, "Temporary failure in name resolution")

    def test_urllib_is_told_that_the_resolver_does_not_answer(self):
        self.gives_up_in_time("deaf.test", "2s", self.urllib, "gaierror -3")

    def test_wget_is_told_so_in_less_than_a_second(self):
        """The answer comes after a second, which the resolver's own settings would have waited for."""
        self.gives_up_in_time("late1.test", "300ms", self.wget, "Temporary failure in name resolution", is_late=True)

    def test_urllib_is_told_so_in_less_than_a_second(self):
        self.gives_up_in_time("late1.test", "300ms", self.urllib, "gaierror -3", is_late=True)

    def test_getent_is_told_so_in_less_than_a_second(self):
        rules = self.rules('match: {host: "*.test"}\ntimeout: {resolve: 300ms}\n')
        command = self.with_name_server(self.getent("http://late1.test/"))
        self.only_with_rules(lambda how: self.run_program(command, rules, how).status == 2)
        self.assertEqual(self.questions()[-2:], ["1 late1.test", "28 late1.test"], "asked once, and not once more")

    def test_a_healthy_resolver_behind_a_fine_timeout_changes_nothing(self):
        rules = self.rules('match: {host: "*.test"}\ntimeout: {resolve: 20500ms}\nretry: {retry_on: [resolve]}\n')
        for command in (self.getent("http://many.test/"), self.getent("http://here.test/"), self.getent("http://none.test/"),
                        [LOOKUPS, "host", "many.test"], [LOOKUPS, "host", "none.test"], [LOOKUPS, "small", "many.test"]):
            said = []
            for how in BARE, RULED:
                ended = self.run_program(self.with_name_server(command), rules, how)
                said.append((ended.status, ended.out, ended.err, sorted(self.questions())))
            self.assertEqual(said[0], said[1], command)
        self.assertEqual(self.events("lookup_retry") + self.events("lookup_failed"), [])

    def test_fifty_threads_at_once(self):
        """Eight have helpers, the others are bounded by the resolver's settings."""
        self.assertEqual(self.lookups(RULED, "threads", "many.test", "50", rules="timeout: {resolve: 20500ms}"),
                         "50 good 0 EAI_AGAIN\n")
        self.only_with_rules(lambda how: self.lookups(how, "threads", "deaf.test", "50", seconds=HANG_S if how != RULED else 30)
                             == "0 good 50 EAI_AGAIN\n")

    def test_answers_that_come_at_the_deadline(self):
        """A healthy name server, and a time that is about what it takes: who comes last frees the answer."""
        rules = self.rules('match: {host: "*.test"}\ntimeout: {resolve: 1ms}\n')
        ended = self.run_program(self.with_name_server([LOOKUPS, "race", "many.test", "6"]), rules)
        self.assertEqual(ended.status, 0, ended)

    def test_signals_do_not_interrupt_a_lookup(self):
        self.only_with_rules(lambda how: self.lookups(how, "timer", "deaf.test", seconds=HANG_S if how != RULED else 30)
                             == "EAI_AGAIN fired\n")

    def test_leaving_a_lookup_by_siglongjmp_leaves_the_threads_settings(self):
        """The resolver's for the whole seconds, the helper for the others."""
        for time_out in "2s", "2500ms":
            for how in BARE, RULED:
                self.assertEqual(self.lookups(how, "jump", "deaf.test", "here.test", rules=f"timeout: {{resolve: {time_out}}}"),
                                 "good\n5 2 set\n", (how, time_out))

    def test_a_cancelled_lookup_leaves_the_shim_working(self):
        for how in BARE, RULED:
            self.assertEqual(self.lookups(how, "cancel", "deaf.test", "many.test", rules="timeout: {resolve: 20500ms}"),
                             "cancelled\ngood\n", how)

    def test_a_fork_child_of_a_program_that_left_a_lookup_looks_up(self):
        def story(how):
            said = self.lookups(how, "fork", "deaf.test", "many.test", rules="timeout: {resolve: 1500ms}",
                                seconds=HANG_S if how != RULED else 30)
            return said == "good EAI_AGAIN\n" * 2

        self.only_with_rules(story)

    def test_gethostbyname_is_told_in_its_own_way(self):
        expected = ("gethostbyname TRY_AGAIN\ngethostbyname2 TRY_AGAIN\ngethostbyname_r TRY_AGAIN\nEAGAIN\n"
                    "gethostbyname2_r TRY_AGAIN\nEAGAIN\n")
        for time_out in "300ms", "1s":
            self.only_with_rules(lambda how: self.lookups(how, "host", "deaf.test", rules=f"timeout: {{resolve: {time_out}}}",
                                                          seconds=HANG_S if how != RULED else 30) == expected)

    def test_perl_gets_the_answer_that_comes_at_the_third_time(self):
        self.comes_at_last(["perl", "-e", 'my $a = gethostbyname($ARGV[0]) or exit 1; print join(".", unpack("C4", $a)), "\n"',
                            "fail2.test"])

    def test_python_gets_the_answer_that_comes_at_the_third_time(self):
        self.comes_at_last([PYTHON, "-c", "import socket, sys\nprint(socket.gethostbyname(sys.argv[1]))", "fail2.test"])

    def test_the_old_gethostbyname_gets_the_answer_that_comes_at_the_third_time(self):
        self.comes_at_last([PYTHON, "-c", "import ctypes, sys\n"
                            "libc = ctypes.CDLL(None)\n"
                            "libc.gethostbyname.restype = ctypes.c_void_p\n"
                            "if not libc.gethostbyname(sys.argv[1].encode()): sys.exit(1)\n"
                            "print('127.0.0.1')", "fail2.test"])

    def comes_at_last(self, command):
        for time_out in "20s", "20500ms":
            rules = self.rules(f'match: {{host: "*.test"}}\ntimeout: {{resolve: {time_out}}}\n'
                               'retry: {max_retries: 5, base_delay: 10ms, retry_on: [resolve]}\n')
            self.only_with_rules(lambda how: self.run_program(self.with_name_server(command), rules, how).out == "127.0.0.1\n")
            self.assertTrue(self.events("lookup_retry"))

    def test_what_the_program_has_changed_of_its_resolver_holds_for_the_helper(self):
        for mode in "settings", "server":
            said = []
            for how in BARE, RULED:
                said.append((self.lookups(how, mode, "none.test", rules="timeout: {resolve: 20500ms}", search="search other.test"),
                             sorted(self.questions())))
            self.assertEqual(said[0], said[1], mode)
            self.assertEqual(said[0][1], [] if mode == "server" else
                             ["1 none.test", "1 none.test.deep.test", "28 none.test", "28 none.test.deep.test"])

    def test_a_lookup_before_main(self):
        def story(how):
            return self.lookups(how, "host", "none.test", LOOK_UP_BEFORE_MAIN="late1.test").startswith("EAI_AGAIN")

        self.only_with_rules(story)

    def test_each_thread_connects_to_the_name_that_it_looked_up(self):
        """Both names have the same address; the first thread has looked up something else meanwhile."""
        self.lookups(RULED, "names", "one.test", "two.test", rules="breaker: {}")
        self.assertEqual(sorted(event["target"] for event in self.events("connect_failed")), ["one.test:9", "two.test:9"])

    def test_what_gethostbyname_found_is_known_to_connect(self):
        rules = self.rules('match: {host: "*.test"}\nbreaker: {}\n')
        server = self.server("refuse")
        code = 'use Socket; socket(S, PF_INET, SOCK_STREAM, 0); connect(S, pack_sockaddr_in($ARGV[0], scalar gethostbyname("payments.test")))'
        self.run_program(self.with_hosts(["perl", "-e", code, str(server.port)]), rules)
        (failed,) = self.events("connect_failed")
        self.assertEqual(failed["target"], f"payments.test:{server.port}")


class Modules(Stage):
    """A name service module that connects, as libnss_resolve and libnss_mdns do."""

    RULES = ('version: 1\nrules:\n  - name: names\n    match: {host: "*.slow"}\n    timeout: {resolve: %s}\n'
             "    retry: {retry_on: [resolve]}\n"
             "  - name: connections\n    match: {address: 127.0.0.0/8}\n    timeout: {connect: 200ms, total: 60s}\n"
             "    retry: {max_retries: 2, base_delay: 20s, max_delay: 20s, jitter: none}\n    breaker: {}\n")

    def module(self, how, port, *command, resolve="30s", seconds=15, more=""):
        rules = self.write("rules.yaml", self.RULES % resolve + more)
        command = self.in_namespace({"/etc/nsswitch.conf": "hosts: files slowtest\n"}, list(command))
        return self.run_program(command, rules, how, seconds, SLOWTEST_PORT=str(port), RESIL_EARLY="1",
                                LD_LIBRARY_PATH=os.path.join(BUILD, "tests"))

    def test_rules_leave_a_modules_own_connections_alone(self):
        """Its connect is refused, and neither retried nor counted; nor when it is the program's thread that looks up."""
        server = self.server("refuse")
        long_to_read = "".join(f"  - name: h{i}\n    match: {{host: h{i}.test}}\n    breaker: {{}}\n" for i in range(2000))
        for resolve in "30s", "off":
            for more in "", long_to_read: # in which the first thread still reads as the others look up
                for how in BARE, RULED:
                    ended = self.module(how, server.port, LOOKUPS, "threads", "payments.slow", "20",
                                        resolve=resolve, more=more)
                    self.assertEqual(ended.out, "20 good 0 EAI_AGAIN\n", (how, resolve, ended))
        self.assertEqual(self.events(), [])
        self.assertIn("80  a call from inside a lookup", self.resil("status"))

    def test_a_lookup_that_a_coroutine_left_is_over_when_its_stack_is_gone(self):
        silent, server = self.server("blackhole"), self.server("echo")
        for how in BARE, RULED:
            ended = self.module(how, silent.port, LOOKUPS, "gone", "payments.slow", str(server.port), resolve="off")
            self.assertEqual(ended.out, "connected\n", (how, ended))
        (host,) = [host for report in self.reports() for host in report["hosts"] if host["calls"]]
        self.assertEqual(host["target"], f"127.0.0.1:{server.port}")

    def test_a_module_that_hangs_is_bounded(self):
        server = self.server("blackhole")

        def story(how):
            ended = self.module(how, server.port, LOOKUPS, "host", "payments.slow", resolve="300ms",
                                seconds=HANG_S if how != RULED else 30)
            return ended.out.count("TRY_AGAIN") == 4

        self.only_with_rules(story)
        self.assertEqual(len(self.events("lookup_failed")), 4)
        self.assertEqual(self.events("connect_timeout"), [])


if __name__ == "__main__":
    main()
