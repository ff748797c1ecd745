"""Names with several addresses: the first one dead, all of them dead, and programs that walk through the list or do not."""

import errno
import socket

from stage import BARE, PYTHON, RULED, Stage, main

HOSTS = "127.0.0.1 many.test\n127.0.0.2 many.test\n127.0.0.3 many.test\n127.0.0.1 localhost\n"

# With a delay that nobody would survive: whoever ends has not waited.
RULE = """
match: {host: many.test}
timeout: {connect: 5s, total: 60s}
retry: {max_retries: 2, base_delay: 50s, max_delay: 50s, jitter: none%s}
"""

QUICK = """
match: {host: many.test}
timeout: {connect: 5s, total: 60s}
retry: {max_retries: 2, base_delay: 10ms, jitter: none%s}
"""

# Connects to the first address only, and says where it came out.
FIRST_ONLY = ["perl", "-MIO::Socket::INET", "-e",
              '$s = IO::Socket::INET->new("many.test:$ARGV[0]") or die "$!"; print $s->peerhost, "\\n"; '
              'print $s "GET / HTTP/1.0\\r\\n\\r\\n"; print while <$s>']

# Walks through the list, as often as it is told.
WALK = """
import socket, sys
for _ in range(int(sys.argv[2])):
    try: print(socket.create_connection(('many.test', int(sys.argv[1]))).getpeername()[0])
    except OSError as e: print(e.errno)
"""


class Addresses(Stage):
    def servers(self, *modes):
        """At 127.0.0.1, 127.0.0.2, ... under one port that is free at all of them."""
        for _ in range(50):
            port = self.free_port()
            try:
                for number in range(1, len(modes) + 1):
                    with socket.socket() as there:
                        there.bind((f"127.0.0.{number}", port))
                break
            except OSError:
                continue
        return [self.server(mode, listen=f"127.0.0.{number}:{port}") for number, mode in enumerate(modes, 1)]

    def first_only(self, server):
        return self.with_hosts([*FIRST_ONLY, str(server.port)], HOSTS)

    def walk(self, server, times=1):
        return self.with_hosts([PYTHON, "-c", WALK, str(server.port), str(times)], HOSTS)

    def tried(self, *names):
        return [(event["event"], event["address"], event["attempt"]) for event in self.events()
                if event["event"] in names]


class Siblings(Addresses):
    def test_a_program_that_knows_one_address_gets_to_the_next_without_a_wait(self):
        rules = self.rules(RULE % "")
        _, live, _ = self.servers("refuse", "answer --body here-I-am", "refuse")

        def story(how):
            ended = self.run_program(self.first_only(live), rules, how)
            self.assertFalse(ended.has_hung, ended)
            return ended.is_good and "here-I-am" in ended.out and ended.out.startswith("127.0.0.2\n")

        self.only_with_rules(story)
        self.assertEqual(self.tried("sibling", "connected_late"),
                         [("sibling", "127.0.0.1", 1), ("connected_late", "127.0.0.2", 2)])
        self.assertEqual(self.events("retry"), [])

    def test_a_black_hole_takes_its_attempt_and_no_more(self):
        rules = self.rules((RULE % "").replace("connect: 5s", "connect: 300ms"))
        _, live, _ = self.servers("blackhole", "answer --body here-I-am", "refuse")
        ended = self.run_program(self.first_only(live), rules)
        self.assertIn("127.0.0.2\n", ended.out, ended)
        (timeout,) = self.events("connect_timeout")
        self.assertEqual(timeout["address"], "127.0.0.1")

    def test_the_programs_own_timeout_ends_an_attempt_at_a_sibling_too(self):
        rules = self.rules((RULE % "").replace("connect: 5s", "connect: 25s"))
        _, silent, _ = self.servers("refuse", "blackhole", "refuse")
        code = ("import errno, socket, struct, sys\n"
                "s = socket.socket()\n"
                "own = struct.pack('qq', 0, 300000)\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, own)\n"
                "print(errno.errorcode[s.connect_ex((socket.gethostbyname('many.test'), int(sys.argv[1])))])\n"
                "print(s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16) == own)\n")
        ended = self.run_program(self.with_hosts([PYTHON, "-c", code, str(silent.port)], HOSTS), rules)
        self.assertEqual(ended.out, "EINPROGRESS\nTrue\n", ended)
        self.assertEqual(self.events("connect_timeout"), [])

    def test_not_enforced_they_are_recorded_only(self):
        rules = self.rules(RULE % "" + "enforce: 0%\n")
        dead, live, _ = self.servers("refuse", "answer", "refuse")
        for command in self.first_only(live), self.walk(dead, 2):
            said = [self.run_program(command, rules, how) for how in (BARE, RULED)]
            self.assertEqual((said[1].status, said[1].out, said[1].err), (said[0].status, said[0].out, said[0].err))
        events = self.events("sibling")
        self.assertTrue(events and all(event["shadow"] and event["address"] == "127.0.0.1" for event in events), events)
        self.assertEqual(self.events("retry"), [])

    def fallback_is_not_delayed(self, command_for):
        """The program has a fallback of its own: with the first address dead it must not be slower than bare."""
        rules = self.rules(RULE % "")
        _, live, _ = self.servers("refuse", "answer --body here-I-am", "refuse")
        for how in BARE, RULED:
            ended = self.run_program(self.with_hosts(command_for(live.url("many.test")), HOSTS), rules, how)
            self.assertTrue(ended.is_good, ended)
            self.assertIn("here-I-am", ended.out)
        self.assertEqual(self.events("retry"), [])
        self.assertEqual(len(self.events("sibling")), 1)
        self.assert_nothing_passed_through()

    def test_the_fallback_of_wget_is_not_delayed(self):
        self.fallback_is_not_delayed(self.wget)

    def test_the_fallback_of_urllib_is_not_delayed(self):
        self.fallback_is_not_delayed(self.urllib)

    def test_rounds_over_all_addresses_with_a_wait_between(self):
        rules = self.rules(QUICK % "")
        dead = self.servers("refuse", "refuse", "refuse")
        ended = self.run_program(self.first_only(dead[0]), rules)
        self.assertIn("Connection refused", ended.err, ended)
        steps = []
        for number in range(9):
            address, attempt = f"127.0.0.{number % 3 + 1}", number + 1
            steps.append(("sibling" if number % 3 < 2 else "retry" if number < 8 else "connect_failed", address, attempt))
        self.assertEqual(self.tried("sibling", "retry", "connect_failed"), steps)
        (failed,) = self.events("connect_failed")
        self.assertEqual(failed["attempts"], 9)

    def test_the_same_address_only_where_the_rule_says_so(self):
        rules = self.rules(QUICK % ", addresses: same")
        _, live, _ = self.servers("refuse", "answer", "refuse")
        ended = self.run_program(self.first_only(live), rules)
        self.assertIn("Connection refused", ended.err, ended)
        self.assertEqual(self.tried("sibling", "retry", "connect_failed"),
                         [("retry", "127.0.0.1", 1), ("retry", "127.0.0.1", 2), ("connect_failed", "127.0.0.1", 3)])

    def test_without_retries_there_are_no_siblings(self):
        rules = self.rules("match: {host: many.test}\ntimeout: {connect: 5s, total: 60s}\nbreaker: {}\n")
        _, live, _ = self.servers("refuse", "answer", "refuse")
        ended = self.run_program(self.first_only(live), rules)
        self.assertIn("Connection refused", ended.err, ended)
        self.assertEqual(self.events("sibling"), [])

    def test_addresses_under_another_rule_are_left_to_it(self):
        rules = self.rules("version: 1\nrules:\n"
                           "  - {name: other, match: {address: 127.0.0.2}}\n"
                           "  - name: tested\n    " + (RULE % "").strip().replace("\n", "\n    ") + "\n")
        _, _, live = self.servers("refuse", "answer", "answer")
        ended = self.run_program(self.first_only(live), rules)
        self.assertTrue(ended.out.startswith("127.0.0.3\n"), ended)

    def test_a_link_local_sibling_is_on_the_link_that_the_program_has_named(self):
        rules = self.rules(RULE % "")
        code = ("import errno, socket\n"
                "lo = socket.if_nametoindex('lo')\n"
                "live = socket.create_server(('fe80::2', 0, 0, lo), family=socket.AF_INET6)\n"
                "port = live.getsockname()[1]\n"
                "assert len(socket.getaddrinfo('many.test', port, type=socket.SOCK_STREAM)) == 2\n"
                "s = socket.socket(socket.AF_INET6)\n"
                "try:\n"
                "    s.connect(('fe80::1', port, 0, lo))\n"
                "    print(s.getpeername()[0], s.getpeername()[3] == lo)\n"
                "except OSError as e: print(errno.errorcode[e.errno])\n")
        command = self.in_namespace({"/etc/hosts": "fe80::1 many.test\nfe80::2 many.test\n"}, [PYTHON, "-c", code], "--net",
                                    prepare="ip link set lo up && ip addr add fe80::1/64 dev lo nodad && "
                                            "ip addr add fe80::2/64 dev lo nodad")

        def story(how):
            return self.run_program(command, rules, how).out == "fe80::2 True\n"

        self.only_with_rules(story)


class Credits(Addresses):
    def attempts_of_calls(self):
        return [event["attempt"] for event in self.events("connect_failed")]

    def test_a_walk_through_the_list_pays_for_the_retries_once(self):
        rules = self.rules(QUICK % "")
        dead = self.servers("refuse", "refuse", "refuse")
        ended = self.run_program(self.walk(dead[0], 2), rules)
        self.assertEqual(ended.out, f"{errno.ECONNREFUSED}\n" * 2, ended)
        self.assertEqual(self.attempts_of_calls(), [9, 1, 1, 9, 1, 1])
        (host,) = self.reports()[0]["hosts"]
        self.assertEqual(host["single_attempts"], 4)

    def test_it_does_so_where_siblings_are_not_tried(self):
        rules = self.rules(QUICK % ", addresses: same")
        dead = self.servers("refuse", "refuse", "refuse")
        self.run_program(self.walk(dead[0], 2), rules)
        self.assertEqual(self.attempts_of_calls(), [3, 1, 1, 3, 1, 1])

    def test_a_program_that_tries_the_same_address_twice_pays_once(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 5s, total: 60s}\n"
                           "retry: {max_retries: 2, base_delay: 10ms, jitter: none}\n")
        server = self.server("refuse")
        code = 'for (1, 2) { socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1)) and die }'
        ended = self.run_program(["perl", "-e", code, str(server.port)], rules)
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(self.attempts_of_calls(), [3, 1])

    def test_credits_end_with_total(self):
        rules = self.rules((QUICK % "").replace("total: 60s", "total: 200ms"))
        dead = self.servers("refuse", "refuse", "refuse")
        code = ("import socket, sys, time\n"
                "for _ in range(2):\n"
                "    socket.socket().connect_ex((socket.gethostbyname('many.test'), int(sys.argv[1])))\n"
                "    time.sleep(0.5)\n")
        self.run_program(self.with_hosts([PYTHON, "-c", code, str(dead[0].port)], HOSTS), rules)
        self.assertEqual(self.attempts_of_calls(), [9, 9])


class Circuit(Addresses):
    """One address failing is the address's affair: only when all have failed the name has."""

    BREAKING = """
match: {host: many.test}
timeout: {connect: 2s, total: 20s}
%s
breaker: {failure_threshold: 3, failure_rate: %s, recovery_timeout: 60s, max_recovery_timeout: 60s}
"""
    RATE = "{ratio: 30%, minimum_calls: 4, window: 60s}"

    def dead_first_address_is_harmless(self, retry):
        rules = self.rules(self.BREAKING % (retry, self.RATE))
        _, live, _ = self.servers("refuse", "answer", "refuse")
        ended = self.run_program(self.walk(live, 12), rules)
        self.assertEqual(ended.out, "127.0.0.2\n" * 12, ended)
        self.assertEqual(self.events("circuit_open"), [])

    def test_a_dead_first_address_never_opens_it_without_retries(self):
        self.dead_first_address_is_harmless("retry: off")

    def test_a_dead_first_address_never_opens_it_with_siblings(self):
        self.dead_first_address_is_harmless("retry: {max_retries: 1, base_delay: 10ms}")

    def test_a_dead_first_address_never_opens_it_where_it_is_retried_alone(self):
        self.dead_first_address_is_harmless("retry: {max_retries: 1, base_delay: 10ms, addresses: same}")

    def walks_until_it_opens(self, retry):
        rules = self.rules(self.BREAKING % (retry, "off"))
        dead = self.servers("refuse", "refuse", "refuse")
        for number in range(3):
            self.assertEqual(self.events("circuit_open"), [], f"after {number} walks")
            self.run_program(self.walk(dead[0]), rules)
        self.assertEqual(len(self.events("circuit_open")), 1)
        before = len(self.events("rejected"))
        self.run_program(self.walk(dead[0]), rules)
        self.assertEqual(len(self.events("rejected")), before + 3)

    def test_three_walks_through_dead_addresses_open_it_without_retries(self):
        self.walks_until_it_opens("retry: off")

    def test_three_walks_through_dead_addresses_open_it_with_siblings(self):
        self.walks_until_it_opens("retry: {max_retries: 1, base_delay: 10ms}")

    def test_what_nobody_goes_beyond_is_the_name(self):
        """A program that only ever uses the first address gets its protection too, if later."""
        rules = self.rules((self.BREAKING % ("retry: off", "off")).replace("connect: 2s", "connect: 50ms"))
        dead = self.servers("refuse", "refuse", "refuse")

        def has_opened():
            self.run_program(self.first_only(dead[0]), rules)
            return self.events("circuit_open")

        self.assertFalse(has_opened())
        self.wait_for(has_opened)

    def test_a_probe_at_a_dead_address_leaves_it_to_the_next_one(self):
        rules = self.rules((self.BREAKING % ("retry: off", "off")).replace("60s", "300ms"))
        servers = self.servers("refuse", "refuse", "refuse")
        for _ in range(3):
            self.run_program(self.walk(servers[0]), rules)
        self.assertEqual(len(self.events("circuit_open")), 1)
        servers[1].mode("answer")
        self.wait_for(lambda: "probe due" in self.resil("status"))
        ended = self.run_program(self.walk(servers[0]), rules)
        self.assertEqual(ended.out, "127.0.0.2\n", ended)
        self.assertEqual((len(self.events("circuit_reopened")), len(self.events("circuit_closed"))), (0, 1))


class Doubt(Stage):
    """An address has two names, and this thread has looked up neither."""

    CODE = ("import socket, sys, threading\n"
            "def look_up():\n"
            "    for name in 'a.test', 'b.test': socket.gethostbyname(name)\n"
            "thread = threading.Thread(target=look_up)\n"
            "thread.start(); thread.join()\n"
            "print(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))))\n")

    HOSTS = "127.0.0.1 a.test b.test\n"

    def test_it_is_rejected_only_if_the_circuits_of_all_its_names_are_open(self):
        rules = self.rules('match: {host: "*.test"}\n'
                           "breaker: {failure_threshold: 1, recovery_timeout: 60s, max_recovery_timeout: 60s}\n")
        server = self.server("refuse")
        connect = "import socket, sys; socket.socket().connect_ex((socket.gethostbyname(sys.argv[1]), int(sys.argv[2])))"
        for name, expected in ("b.test", 0), ("a.test", errno.ECONNREFUSED):
            server.mode("refuse")
            self.run_program(self.with_hosts([PYTHON, "-c", connect, name, str(server.port)], self.HOSTS), rules)
            self.assertEqual(self.events("circuit_open")[-1]["target"], f"{name}:{server.port}")
            server.mode("answer")
            ended = self.run_program(self.with_hosts([PYTHON, "-c", self.CODE, str(server.port)], self.HOSTS), rules)
            self.assertEqual(ended.out, f"{expected}\n", ended)


if __name__ == "__main__":
    main()
