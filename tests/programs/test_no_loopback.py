"""Where a socket cannot reach loopback nothing can be kept silent by it, and nothing can stand in: no loopback is up, the
socket is bound to another device, or it is an IPv6 socket only and loopback has no IPv6."""

import os
import shutil

from stage import BARE, MISBEHAVE, PYTHON, RULED, Stage, main

# Another machine, at 10.79.0.2 and fd79::2, whose server begins to listen when there is a file `come-up`.
NETWORK = """
unshare --net sleep 300 & machine=$!
trap 'kill $machine $server' EXIT
until [ "$(readlink /proc/$machine/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
set -e
inside() { nsenter -t $machine -n "$@"; }
ip link add other type veth peer name far netns $machine
ip addr add 10.79.0.1/24 dev other
ip addr add fd79::1/64 dev other nodad
ip link set other up
inside ip link set lo up
inside ip addr add 10.79.0.2/24 dev far
inside ip addr add fd79::2/64 dev far nodad
inside ip link set far up
folder=$1 misbehave=$2; shift 2
nsenter -t $machine -n sh -c 'until [ -e "$1" ]; do sleep 0.02; done; exec "$2" --listen "$3" answer --body here-I-am >/dev/null' \\
    sh "$folder/come-up" "$misbehave" "$LISTEN" & server=$!
set +e
LD_PRELOAD=$library "$@"
status=$?
ip neigh >"$folder/neighbours"
exit $status
"""

PATIENT = """
match: {address: [10.79.0.2, "fd79::2"]}
timeout: {connect: 5s, total: 30s}
retry: {max_retries: 100, base_delay: 50ms, factor: 1, jitter: none, budget: off}
"""

ASYNCIO = """
import asyncio, socket, sys
async def main():
    s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
    s.setblocking(False)
    if sys.argv[2] == "bound":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"other")
    await asyncio.get_running_loop().sock_connect(s, (sys.argv[1], 8001))
    reader, writer = await asyncio.open_connection(sock=s)
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print((await reader.read()).decode())
asyncio.run(main())
"""

NODE = "require('http').get(process.argv[1], a => a.pipe(process.stdout)).on('error', e => { console.error(e.code); process.exit(1) })"


class Apart(Stage):
    """The program is on a machine of its own; `prepare` says what becomes of its loopback."""

    UP = "ip link set lo up"

    def on_machine(self, command, rules, how, prepare, listen="10.79.0.2:8001"):
        for name in "come-up", "neighbours":
            if os.path.exists(os.path.join(self.folder, name)):
                os.remove(os.path.join(self.folder, name))
        command = self.in_namespace({}, ["sh", "-c", NETWORK, "sh", self.folder, MISBEHAVE, *command], "--net", prepare=prepare)
        return self.ask_late(command, how, dict(self.within(rules, how), LISTEN=listen))

    def ask_late(self, command, how, environment):
        """As Stage.ask_early, where only the program on the machine is preloaded."""
        before = len(self.events("retry")) if how == RULED else 0
        process = self.start(command, how=BARE, **environment)
        if how == RULED:
            self.wait_for(lambda: len(self.events("retry")) >= before + 2 or process.poll() is not None)
            self.write("come-up", "")
        return self.finish(process)


class Withheld(Apart):
    def waits_for_it(self, command, prepare, listen="10.79.0.2:8001"):
        rules = self.rules(PATIENT)

        def story(how):
            ended = self.on_machine(command, rules, how, prepare, listen)
            return ended.is_good and "here-I-am" in ended.out

        self.only_with_rules(story)
        self.assertEqual(len(self.events("connected_late")), 1)
        self.assertEqual(self.events("connect_failed"), [])
        self.assertGreaterEqual(sum(report["passed_through"]["not_parked"] for report in self.reports()), 2)
        self.assert_nothing_passed_through("not_parked")
        # The network was not asked where loopback is.
        with open(os.path.join(self.folder, "neighbours")) as file:
            neighbours = file.read().split()
        self.assertIn("fd79::2" if "[" in listen else "10.79.0.2", neighbours)
        self.assertFalse({"127.0.0.1", "::1"} & set(neighbours), neighbours)

    def test_curl_without_loopback(self):
        self.waits_for_it(["curl", "-sS", "http://10.79.0.2:8001/"], "true")

    def test_curl_over_ipv6_without_loopback(self):
        self.waits_for_it(["curl", "-sS", "http://[fd79::2]:8001/"], "true", "[fd79::2]:8001")

    def test_asyncio_without_loopback(self):
        self.waits_for_it([PYTHON, "-c", ASYNCIO, "10.79.0.2", "free"], "true")

    def test_node_without_loopback(self):
        if not shutil.which("node"):
            self.skipTest("node is not installed")
        self.waits_for_it(["node", "-e", NODE, "http://10.79.0.2:8001/"], "true")

    def test_curl_bound_to_a_device(self):
        self.waits_for_it(["curl", "-sS", "--interface", "if!other", "http://10.79.0.2:8001/"], self.UP)

    def test_curl_over_ipv6_bound_to_a_device(self):
        self.waits_for_it(["curl", "-sS", "--interface", "if!other", "http://[fd79::2]:8001/"], self.UP, "[fd79::2]:8001")

    def test_asyncio_bound_to_a_device(self):
        self.waits_for_it([PYTHON, "-c", ASYNCIO, "10.79.0.2", "bound"], self.UP)


class StandIn(Apart):
    CODE = ("import socket, sys\ns = socket.socket(socket.AF_INET6)\n"
            "s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, sys.argv[1] == 'only')\ns.settimeout(float(sys.argv[2]) or None)\n"
            "try:\n    s.connect(('fd79::2', 8001)); s.sendall(b'x'); print(s.recv(100).decode())\n"
            "except OSError as e: print(e.errno)\n")

    def test_a_socket_for_ipv6_only_gets_none_where_loopback_has_no_ipv6(self):
        """Any other one is answered by way of IPv4."""
        rules = self.rules("match: {address: fd79::2}\ntimeout: {connect: 2s}\nbreaker: {}\ndegrade:\n  - respond: {text: canned}\n")
        prepare = self.UP + " && echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6"
        for timeout in "0", "5":
            for kind, expected in ("only", "111"), ("both", "canned"):
                ended = self.on_machine([PYTHON, "-c", self.CODE, kind, timeout], rules, RULED, prepare)
                self.assertEqual(ended.out.strip(), expected, ended)
            self.assertEqual(self.on_machine([PYTHON, "-c", self.CODE, "both", timeout], rules, BARE, prepare).out.strip(), "111")
        self.assertEqual({event["reason"] for event in self.events("rung_skipped")}, {"no_loopback"})


if __name__ == "__main__":
    main()
