"""Down the ladder with real clients: over TLS, where the certificate is checked against the name that was asked for; redis-cli;
and programs whose name server goes as well as their server. Who served is told by the servers' own counts."""

import json
import os
import shutil
import subprocess

import nginx
from stage import BARE, EMPTIED, MISBEHAVE, PYTHON, RULED, Stage, main
from test_degrade_names import Named

LADDER = """
match: {%s}
timeout: {connect: 1s, total: 4s}
breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: %s, jitter: 0%%}
degrade:
"""
CANNED = "HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\ncanned"

# Says, and writes down, which server it is and for which name it was asked in the handshake.
NGINX = nginx.configuration("""
    server {
        listen 127.0.0.1:%(port)d ssl;
        ssl_certificate %(folder)s/%(certificate)s.pem;
        ssl_certificate_key %(folder)s/%(certificate)s.key;
        location / { return 200 "%(who)s $ssl_server_name"; }
    }
""", log="""log_format told "%(who)s $ssl_server_name";
    access_log %(folder)s/access.log told;""", pid="%(who)s")

URLLIB = ("import ssl, sys, urllib.request as u\n"
          "print(u.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2])).read().decode(), end='')\n")
HTTPS = ("require('https').get(process.argv[1], {ca: require('fs').readFileSync(process.argv[2])}, a => a.pipe(process.stdout))"
         ".on('error', e => { console.error(e.code); process.exitCode = 1; })")


class OverTls(Stage):
    def setUp(self):
        super().setUp()
        for needed in "openssl", "nginx":
            if not shutil.which(needed):
                self.skipTest(f"{needed} is not installed")
        # Both are trusted: what is refused is refused for its name.
        self.authorities = os.path.join(self.folder, "authorities.pem")
        with open(self.authorities, "w") as authorities:
            for name in "payments.test", "other.test":
                path = os.path.join(self.folder, name)
                subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}",
                                "-addext", f"subjectAltName=DNS:{name}", "-keyout", path + ".key", "-out", path + ".pem"],
                               check=True, capture_output=True)
                with open(path + ".pem") as file:
                    authorities.write(file.read())

    def nginx(self, who, port, certificate="payments.test"):
        config = NGINX % {"folder": self.folder, "who": who, "port": port, "certificate": certificate}
        return self.daemon(["nginx", "-c", self.write(f"{who}.conf", config)], port)

    def served(self):
        """By whom, and for which name, each request was. nginx writes it when it has answered: maybe a little later."""
        path = os.path.join(self.folder, "access.log")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            return file.read().splitlines()

    def assert_served(self, before, *lines):
        self.wait_for(lambda: len(self.served()) >= before + len(lines))
        self.assertEqual(self.served()[before:], list(lines))

    def each_program(self):
        """Each asks once, for the name, and checks the certificate."""
        programs = {
            "curl": lambda url: ["curl", "-sS", "--cacert", self.authorities, url],
            "curl that has the address": lambda url: ["curl", "-sS", "--cacert", self.authorities, "--resolve",
                                                      url.split("/")[2] + ":127.0.0.1", url],
            "wget": lambda url: ["wget", "-nv", "-O-", "--tries=1", "--timeout=20", f"--ca-certificate={self.authorities}", url],
            "urllib": lambda url: [PYTHON, "-c", URLLIB, url, self.authorities],
            "node": lambda url: ["node", "-e", HTTPS, url, self.authorities],
        }
        for name, command in programs.items():
            if shutil.which(command("https://x/")[0]):
                with self.subTest(name):
                    yield command

    def ask(self, command, port, rules, how=RULED):
        return self.run_program(self.with_hosts(command(f"https://payments.test:{port}/")), rules, how)

    def ladder(self, port, backup, recovery="60s"):
        return self.rules(LADDER % (f"port: {port}", recovery) + f"  - host: 127.0.0.1:{backup}\n")

    def test_a_fallback_host_is_asked_for_and_checked_by_the_name_of_the_primary(self):
        """And the primary serves again, once it is there."""
        for command in self.each_program():
            port, backup = self.free_port(), self.free_port()
            there = self.nginx("backup", backup)
            rules = self.ladder(port, backup, "500ms")
            before = len(self.served())
            self.only_with_rules(lambda how: self.ask(command, port, rules, how).out == "backup payments.test")
            self.assert_served(before, "backup payments.test")
            primary = self.nginx("primary", port)
            self.wait_for(lambda: self.ask(command, port, rules).out == "primary payments.test")
            self.wait_for(lambda: self.served()[-1] == "primary payments.test")
            before = len(self.served())
            for _ in range(2):
                self.assertEqual(self.ask(command, port, rules).out, "primary payments.test")
            self.assert_served(before, *["primary payments.test"] * 2)
            for process in primary, there:
                process.terminate()
                process.wait()
        self.assert_nothing_passed_through()

    def test_a_fallback_host_with_the_certificate_of_another_name_is_refused(self):
        """By the program: it never sends its request."""
        for command in self.each_program():
            port, backup = self.free_port(), self.free_port()
            there = self.nginx("backup", backup, "other.test")
            rules = self.ladder(port, backup)
            for how in BARE, EMPTIED, RULED:
                ended = self.ask(command, port, rules, how)
                self.assertFalse(ended.is_good or ended.out, ended)
                why = r"certificate subject|certificate verify failed|certificate.s owner|ERR_TLS_CERT_ALTNAME_INVALID"
                (self.assertRegex if how == RULED else self.assertNotRegex)(ended.err, why, ended)
            there.terminate()
            there.wait()
        self.assertEqual(self.served(), [])
        self.assertEqual({event["rung"] for event in self.events("degraded")}, {"host"})


class RedisCli(Stage):
    def redis(self, who, port):
        process = self.daemon(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no",
                               "--dir", self.folder], port)
        self.wait_for(lambda: self.bare(port, "SET", "who", who) == "OK")
        return process

    def bare(self, port, *words):
        return self.run_program(["redis-cli", "-p", str(port), *words], how=BARE).out.strip()

    def served(self, port):
        """How often that server was asked who it is."""
        for line in self.bare(port, "INFO", "commandstats").splitlines():
            if line.startswith("cmdstat_get:calls="):
                return int(line.split("=")[1].split(",")[0])
        return 0

    def test_it_goes_down_and_comes_up_again(self):
        """Primary, fallback host, canned answer, and the primary: it asks once, or many times on one connection."""
        if not shutil.which("redis-server") or not shutil.which("redis-cli"):
            self.skipTest("redis is not installed")
        port, backup_port = self.free_port(), self.free_port()
        primary, backup = self.redis("primary", port), self.redis("backup", backup_port)
        rules = self.rules(LADDER % (f"address: 127.0.0.1, port: {port}", "500ms") +
                           f"  - host: 127.0.0.1:{backup_port}\n"
                           '  - respond: {text: "$6\\r\\ncanned\\r\\n", when: request}\n')

        def said(how=RULED, times=3):
            return self.run_program(["redis-cli", "-p", str(port), "-r", str(times), "GET", "who"], rules, how).out.split()

        for how in BARE, EMPTIED, RULED:
            self.assertEqual(said(how), ["primary"] * 3)
        self.assertEqual((self.served(port), self.served(backup_port)), (9, 0))
        primary.terminate()
        primary.wait()
        self.only_with_rules(lambda how: said(how) == ["backup"] * 3)
        self.assertEqual(said(times=1), ["backup"])
        self.assertEqual(self.served(backup_port), 4)
        backup.terminate()
        backup.wait()
        self.only_with_rules(lambda how: said(how) == ["canned"] * 3)
        self.assertEqual(said(times=1), ["canned"])
        self.redis("backup", backup_port)
        self.wait_for(lambda: said(times=1) == ["backup"])
        self.redis("primary", port)
        self.wait_for(lambda: said(times=1) == ["primary"])
        self.assertEqual(self.served(port), 1)
        before = self.served(backup_port)
        self.assertEqual(said(), ["primary"] * 3)
        self.assertEqual((self.served(port), self.served(backup_port)), (4, before))
        self.assertEqual({event["rung"] for event in self.events("degraded")}, {"host", "respond"})
        self.assert_nothing_passed_through()


# In the namespace: switches servers and the name server off and on, and prints what the program said and how many requests
# each server has answered for it.
DRIVER = r"""
import json, os, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from stage import PATIENCE_S, Server
folder, library, is_ruled, command = sys.argv[2], sys.argv[3], sys.argv[4] == "ruled", sys.argv[5:]
primary, backup = Server("answer --body fullll", "127.0.0.7:8000"), Server("answer --body backup", "127.0.0.9:8001")
deaf = os.path.join(folder, "deaf")
def ask():
    return subprocess.run(command, env={**os.environ, **({"LD_PRELOAD": library} if library else {})}, text=True,
                          stdout=subprocess.PIPE, timeout=PATIENCE_S).stdout.strip()
def answered():
    return primary.count("answered"), backup.count("answered")
told = {}
def tell(step, wanted=None):
    before, until = answered(), time.monotonic() + (PATIENCE_S if is_ruled else 0)
    said = ask()
    while wanted and said != wanted and time.monotonic() < until:
        before = answered()
        said = ask()
    told[step] = said, *(after - was for was, after in zip(before, answered()))
tell("all is well")
primary.mode("refuse")
tell("no primary")
open(deaf, "w").close()
tell("nor a name server")
backup.mode("refuse")
tell("nor a backup")
tell("still")
backup.mode("answer --body backup")
tell("a backup", "backup")
primary.mode("answer --body fullll")
tell("a primary", "fullll")
os.remove(deaf)
tell("a name server")
print(json.dumps(told))
primary.close()
backup.close()
"""


class WholeLadder(Named):
    """A fallback host, the last good answer of the name server, a canned answer: a program goes down, with its name server
    switched off as well, and comes up again."""

    url = "http://api.test:8000/"

    def test_wget(self):
        self.goes_down_and_comes_up(["wget", "-qO-", "--tries=1", "--timeout=20", self.url])

    def test_wget_that_blocks(self):
        self.goes_down_and_comes_up(["wget", "-qO-", "--tries=1", "--timeout=0", self.url])

    def test_urllib(self):
        self.goes_down_and_comes_up(self.urllib(self.url))

    def goes_down_and_comes_up(self, command):
        rules = self.rules(LADDER % ("host: api.test", "500ms") + "  - host: 127.0.0.9:8001\n"
                           "  - stale: {after: 300ms}\n" + f'  - respond: {{text: "{CANNED}"}}\n')
        well, nothing = ["fullll", 1, 0], ["", 0, 0]
        for how in BARE, EMPTIED, RULED:
            self.state = os.path.join(self.folder, how)
            self.write("address", "127.0.0.7")
            within = self.within(rules, how)
            ended = self.run_program(
                self.with_name_server([PYTHON, "-c", DRIVER, os.path.dirname(os.path.abspath(__file__)), self.folder,
                                       within["library"], "ruled" if how == RULED else "not", *command]), how=BARE, seconds=120,
                **within)
            self.assertTrue(ended.is_good, ended)
            told = json.loads(ended.out)
            if how != RULED:
                self.assertEqual(told, {
                    "all is well": well, "no primary": nothing, "nor a name server": nothing, "nor a backup": nothing,
                    "still": nothing, "a backup": nothing, "a primary": nothing, "a name server": well}, ended)
                continue
            self.assertEqual(told, {
                "all is well": well, "no primary": ["backup", 0, 1], "nor a name server": ["backup", 0, 1],
                "nor a backup": ["canned", 0, 0], "still": ["canned", 0, 0], "a backup": ["backup", 0, 1],
                "a primary": well, "a name server": well}, ended)
            self.assertEqual({event["rung"] for event in self.events("degraded")}, {"host", "stale", "respond"})
            self.assert_nothing_passed_through()


class Told(Named):
    def test_a_program_can_ask_who_answered_its_lookup(self):
        """With libresil and without: it is linked with nothing of ours."""
        ask = os.path.join(os.path.dirname(MISBEHAVE), "tests/ask_resil")
        rules = self.rules('match: {host: "*.test"}\ntimeout: {resolve: 4s}\ndegrade:\n  - stale: {after: 300ms}\n'
                           "  - addresses: 127.0.0.7\n")
        # The pause is what makes the answer older than a millisecond, the least age that is told.
        script = '"$1" lookup api.test; touch "$2/fail"; sleep 0.01; "$1" lookup api.test; "$1" lookup new.test; rm "$2/fail"'
        for how, expected in (
                (BARE, r"absent\n" * 3), (EMPTIED, r"no decision\n" * 3),
                (RULED, r"tested: rung 0 number 0 error 0 lookup 1 age 0\n"
                        r"tested: rung 2 number 1 error -3 lookup 1 age [1-9]\d*\n"
                        r"tested: rung 4 number 2 error -3 lookup 1 age 0\n")):
            ended = self.run_program(self.with_name_server(["sh", "-c", script, "sh", ask, self.folder]), rules, how)
            self.assertRegex(ended.out, f"^{expected}$", ended)


if __name__ == "__main__":
    main()
