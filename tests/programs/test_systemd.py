"""Services of a real systemd: `resil enable --unit` gives them the rules, sandboxed as they may be, and `disable` takes them
back. systemd runs as pid 1 of a copy of this machine."""

import os
import unittest

from booted import Booted
from stage import main

# Prints what two connects that nobody answers come to, the first one without blocking, and what a third one reads; then stays.
SERVICE = r"""
cat >/usr/local/bin/old <<'PROGRAM'
#!/usr/bin/python3
import asyncio, signal, socket
def number(call):
    try: call()
    except OSError as error: return error.errno
print(number(lambda: asyncio.run(asyncio.open_connection("127.0.0.1", 9))), number(lambda: socket.create_connection(("127.0.0.1", 9))), end=" ")
try: print(socket.create_connection(("127.0.0.1", 10)).recv(100).decode(), flush=True)
except OSError as error: print(error.errno, flush=True)
signal.pause()
PROGRAM
chmod 755 /usr/local/bin/old
cat >/etc/systemd/system/old.service <<'UNIT'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/local/bin/old
StandardOutput=append:/run/said
StandardError=journal
UNIT
mkdir -p /etc/resil
cat >/etc/resil/old.yaml <<'RULES'
version: 1
rules:
  - name: opens
    match: {port: 9}
    retry: {max_retries: 1, base_delay: 1ms}
    breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: 1h, max_recovery_timeout: 1h, error: EHOSTDOWN}
  - name: canned
    match: {port: 10}
    degrade: [{respond: {text: canned}}]
functions:
  - {name: parent, library: libc.so.6, symbol: getppid, returns: int, args: [], fails_when: {returns: -1}, retry: {max_retries: 1}}
RULES
# With these lines in its unit: what it says.
runs_with() {
    mkdir -p /run/systemd/system/old.service.d
    { echo '[Service]'; printf '%s\n' "$@"; } >/run/systemd/system/old.service.d/sandbox.conf
    rm -rf /run/said /dev/shm/resil-*
    systemctl daemon-reload && systemctl restart old || return
    for try in $(seq 400); do grep -q . /run/said && break; sleep 0.02; done
    cat /run/said
}
state() { resil status --json | python3 -c 'import json, sys; print(*(h["state"] for f in json.load(sys.stdin)["rule_files"] for h in f["hosts"] if h["rule"] == "opens"))'; }
"""
BARE_SAYS, RULED_SAYS = "111 111 111", "111 112 canned"

SANDBOXES = [
    ["ProtectSystem=strict"], ["PrivateTmp=yes"], ["MemoryDenyWriteExecute=yes"], ["RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"],
    ["SystemCallFilter=@system-service"], ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"],
    ["PrivateDevices=yes"], ["PrivateUsers=yes"], ["ProcSubset=pid", "ProtectProc=invisible"], ["NoNewPrivileges=yes", "CapabilityBoundingSet="],
    ["RestrictNamespaces=yes", "LockPersonality=yes", "RestrictRealtime=yes", "SystemCallArchitectures=native"], ["PrivateIPC=yes"],
]


class Services(Booted):
    def test_a_service_runs_under_the_rules_until_it_is_disabled(self):
        ended = self.on_booted(SERVICE + r"""
runs_with
resil enable --unit old --rules /etc/resil/old.yaml >&2 || exit 1
runs_with
grep -c libresil.so "/proc/$(systemctl show -P MainPID old)/maps" >&2 || exit 2
state; journalctl --sync; journalctl --no-pager -o cat -u old | grep -o 'circuit open after 1 failure'
systemctl show -P DropInPaths old >&2
printf 'version: 1\nrules: []\n' >/etc/resil/old.yaml; runs_with
resil disable --unit old >&2 || exit 3
runs_with; ls /etc/systemd/system | grep old
""")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out.splitlines(), [BARE_SAYS, RULED_SAYS, "open", "circuit open after 1 failure", BARE_SAYS, BARE_SAYS,
                                                  "old.service"], ended)
        self.assertIn("/etc/systemd/system/old.service.d/50-libresil.conf", ended.err)

    def test_sandboxing_does_not_keep_libresil_from_working(self):
        told = "\n".join(f"runs_with {' '.join(repr(line) for line in lines)}; state" for lines in [*SANDBOXES, sum(SANDBOXES, [])])
        ended = self.on_booted(SERVICE + "resil enable --unit old --rules /etc/resil/old.yaml >&2 || exit 1\n" + told)
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out.splitlines(), [RULED_SAYS, "open"] * (len(SANDBOXES) + 1), ended)

    def test_the_state_of_a_user_for_the_moment_is_theirs_and_goes_with_the_service(self):
        ended = self.on_booted(SERVICE + """
resil enable --unit old --rules /etc/resil/old.yaml >&2 || exit 1
runs_with DynamicUser=yes
user=$(systemctl show -P UID old); [ "$user" != 0 ] || exit 2
state; eval "$(resil status | sed -n "s/^User $user (old) has state there: //p")" | grep -o 'open, probe in'
systemctl stop old; ls /dev/shm
""")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out.splitlines(), [RULED_SAYS, "", "open, probe in"], ended)

    def test_a_service_that_may_not_leave_state_anywhere_keeps_it_to_itself(self):
        # And a folder of its own, which systemd makes and which it may write.
        ways = {"InaccessiblePaths=/dev/shm": "open", "ReadOnlyPaths=/dev/shm": "open", "TemporaryFileSystem=/dev": "open", "LimitFSIZE=1000": ""}
        told = "".join(f"""
runs_with {way}; state; journalctl --sync; journalctl --no-pager -o cat -u old | grep -o 'private memory instead' | sort -u
runs_with {way} RuntimeDirectory=resil Environment=RESIL_STATE_DIR=/run/resil; RESIL_STATE_DIR=/run/resil state
""" for way in ways)
        ended = self.on_booted(SERVICE + "resil enable --unit old --rules /etc/resil/old.yaml >&2 || exit 1\n" + told)
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out.splitlines(), [line for shared in ways.values() for line in
                                                  (RULED_SAYS, "", "private memory instead", RULED_SAYS, shared)], ended)

    @unittest.skipUnless(os.path.exists("/lib/systemd/system/nginx.service"), "nginx is not installed as a service")
    def test_nginx_s_own_unit(self):
        """As the recipe says. Its workers run as another user, on the state that root has opened."""
        ended = self.on_booted(r"""
cat >/etc/nginx/conf.d/shop.conf <<'CONF'
server { listen 127.0.0.1:8090; location / { proxy_pass http://127.0.0.1:8083; } }
CONF
mkdir -p /etc/resil; printf '%s\n' 'version: 1' 'rules:' '  - name: shop' '    match: {program: nginx, address: 127.0.0.1, port: 8083}' \
    '    timeout: {connect: 1s, total: 20s}' '    retry: {max_retries: 90, base_delay: 50ms, factor: 1, jitter: none}' >/etc/resil/nginx.yaml
ask() {
    read -r _ < <(misbehave --listen 127.0.0.1:8083 up-after 500 answer --body the-shop); server=$!
    curl -s http://127.0.0.1:8090/ | grep -o 'the-shop\|502 Bad Gateway' | head -n 1
    kill $server; wait $server
}
rm -f /etc/nginx/sites-enabled/default
systemctl start nginx || exit 1
ask
resil enable --unit nginx --rules /etc/resil/nginx.yaml >&2 && systemctl daemon-reload && systemctl restart nginx || exit 2
ask
resil log --event connected_late | grep -o 'nginx.*connected at attempt' >&2 || exit 3 # as root, as which nginx was started
systemctl reload nginx || exit 4
ask
resil disable --unit nginx >&2 && systemctl daemon-reload && systemctl restart nginx || exit 5
ask
""")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out.splitlines(), ["502 Bad Gateway", "the-shop", "the-shop", "502 Bad Gateway"], ended)


if __name__ == "__main__":
    main()
