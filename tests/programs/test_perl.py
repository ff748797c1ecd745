"""perl's IO::Socket::INET without a Timeout: it connects and reads blocking. (With one it connects non-blocking.)"""

from stage import HANG_S, RULED, Stage, main

PATIENT = """
match: {address: 127.0.0.1}
timeout: {connect: 5s, total: 30s}
retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: off}
"""

CLIENT = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$ARGV[0]", Proto => "tcp") or die "connect: $!\\n";
print $s "GET / HTTP/1.0\\r\\n\\r\\n";
my $n = sysread($s, my $answer, 1000);
defined $n or die "read: $!\\n";
print $answer;
"""


class Perl(Stage):
    def client(self, port):
        return ["perl", "-e", CLIENT, str(port)]

    def test_it_waits_for_a_server_that_comes_up_late(self):
        rules = self.rules(PATIENT)

        def story(how):
            server = self.server("refuse")
            ended = self.ask_early(self.client(server.port), rules, how, lambda: server.mode("answer --body here-I-am"))
            self.assertEqual(server.count("accepted"), 1 if how == RULED else 0)
            return "200" in ended.out

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assert_nothing_passed_through()

    def is_told(self, mode, says, event):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {connect: 300ms, response: 300ms}\n")
        server = self.server(mode)

        def story(how):
            ended = self.run_program(self.client(server.port), rules, how, 30 if how == RULED else HANG_S / 2)
            self.assertEqual(ended.has_hung, how != RULED, ended)
            return says in ended.err

        self.only_with_rules(story)
        self.assertEqual(len(self.events(event)), 1)
        self.assert_nothing_passed_through()

    def test_it_is_told_of_a_black_hole(self):
        self.is_told("blackhole", "connect: Connection timed out", "connect_timeout")

    def test_it_is_told_that_no_answer_comes(self):
        self.is_told("hang", "read: Connection timed out", "response_timeout")


if __name__ == "__main__":
    main()
