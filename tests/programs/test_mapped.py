"""IPv4 through an IPv6 socket is IPv4: the same rules, the same host, the same traps."""

import socket

from stage import PYTHON, RULED, UNSHARE, Stage, main

CLIENT = """
import socket, sys
try:
    s = socket.socket(socket.AF_INET6, getattr(socket, sys.argv[2]))
    s.connect((sys.argv[3] if len(sys.argv) > 3 else "::ffff:127.0.0.1", int(sys.argv[1])))
    s.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print("got", len(s.recv(100)) > 0)
except OSError as e:
    sys.exit(f"errno {e.errno}")
"""

# A router that says "host unreachable" at once, and takes the address itself when it is told to.
NETWORK = """
set -e
ip link set lo up
unshare --net sleep 60 & router=$!
trap 'kill $router' EXIT
until [ "$(readlink /proc/$router/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add near type veth peer name far netns $router
ip addr add 10.77.0.1/24 dev near
ip link set near up
ip route add 10.78.0.0/24 via 10.77.0.2
inside() { nsenter -t $router -n "$@"; }
inside ip link set lo up
inside ip addr add 10.77.0.2/24 dev far
inside ip link set far up
inside sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
inside ip route add unreachable 10.78.0.1
"$@" & program=$!
until grep -q "again in" "$LOG"; do sleep 0.01; done
inside ip route del unreachable 10.78.0.1
inside ip addr add 10.78.0.1/32 dev lo
inside "$PYTHON" -c 'import socket, time
s = socket.create_server(("10.78.0.1", 80)); c = s.accept()[0]; time.sleep(5)' & server=$!
wait $program
status=$?
kill $server
exit $status
"""

WAITS = """
import select, socket
s = socket.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET)
s.connect(("::ffff:10.78.0.1" if family == "v6" else "10.78.0.1", 80))
poll = select.poll()
poll.register(s, select.POLLIN)
print("events", poll.poll(500))
"""


class Mapped(Stage):
    def test_it_waits_for_a_server_that_comes_up_late(self):
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {total: 30s}\n"
                           "retry: {max_retries: 100, base_delay: 100ms, factor: 1, jitter: none, budget: off}\n")

        def story(how):
            server = self.server("refuse")
            ended = self.ask_early([PYTHON, "-c", CLIENT, str(server.port), "SOCK_STREAM"], rules, how,
                                   lambda: server.mode("answer"))
            return ended.out == "got True\n"

        self.only_with_rules(story)
        self.assertTrue(self.events("retry")[0]["target"].startswith("127.0.0.1:"))

    def test_udp_is_bounded(self):
        rules = self.rules("match: {host: 127.0.0.1, protocol: udp}\ntimeout: {response: 300ms}\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            command = [PYTHON, "-c", CLIENT, str(peer.getsockname()[1]), "SOCK_DGRAM"]
            self.only_with_rules(lambda how: "errno 110" in self.run_program(command, rules, how, 30 if how == RULED else 2).err)

    def test_what_a_router_said_of_an_earlier_attempt_is_not_left_behind(self):
        """An ICMP error stays in the error queue, and the connection that is good then reports POLLERR for ever."""
        rules = self.rules("match: {address: 10.78.0.1}\ntimeout: {connect: 5s, total: 30s}\n"
                           "retry: {max_retries: 100, base_delay: 200ms, factor: 1, jitter: none, budget: off}\n")
        for family in "v4", "v6":
            log = self.write("log", "")
            program = ["env", f"LD_PRELOAD={self.environment(rules)['LD_PRELOAD']}", f"RESIL_RULES={rules}", f"RESIL_LOG={log}",
                       PYTHON, "-c", f"family = '{family}'\n{WAITS}"]
            ended = self.run_program([*UNSHARE, "--net", "sh", "-c", NETWORK, "sh", *program], how="bare", LOG=log, PYTHON=PYTHON)
            self.assertEqual(ended.out, "events []\n", ended)
        self.assertEqual(len(self.events("connected_late")), 2)


if __name__ == "__main__":
    main()
