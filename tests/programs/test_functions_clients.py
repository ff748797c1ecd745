#!/usr/bin/env python3
"""Real client libraries under the starters that declare their functions: PostgreSQL, curl, Redis, OpenSSL, LDAP."""

import ctypes.util
import glob
import json
import os
import shutil
import socket
import subprocess
import threading
import unittest

from faults import UNARMED, FaultStage
from postgres import WithPostgres
from stage import BARE, BUILD, EMPTIED, PYTHON, RULED, Stage, main

RULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../rules")


def has_pycurl():
    return subprocess.run([PYTHON, "-c", "import pycurl"], stderr=subprocess.DEVNULL, check=False).returncode == 0


class Clients(Stage):
    def environment(self, rules=None, how=RULED, **extra):
        extra.setdefault("RESIL_EARLY", "1")
        return super().environment(rules, how, **extra)

    def starter(self, name, *changes):
        """As it is, but for times that would make a test long."""
        with open(os.path.join(RULES, name), encoding="utf-8") as file:
            text = file.read()
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        return self.write(name, text)

    def ask_too_early(self, command, rules, how, come_up):
        """The server comes up after two retries; where there are none, when the program has given up."""
        before = len(self.events("function_retry")) if how == RULED else 0
        process = self.start(command, rules, how)
        if how == RULED:
            self.wait_for(lambda: len(self.events("function_retry")) >= before + 2 or process.poll() is not None)
            come_up()
            return self.finish(process)
        ended = self.finish(process)
        come_up()
        return ended


class Libpq(Clients, WithPostgres):
    def client(self, *before):
        return [*before, os.path.join(BUILD, "tests/libpq_client"), self.conninfo()]

    def survives(self, rules, how, *before):
        """Connects before, while and after the server restarts."""
        self.begin()
        retries = len(self.events("function_retry")) if how == RULED else 0
        with subprocess.Popen(self.client(*before), env=self.environment(rules, how), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True) as process:
            def ask():
                process.stdin.write("\n")
                process.stdin.flush()

            def answer():
                return process.stdout.readline().strip()

            ask()
            answers = [answer()]
            self.end()
            ask()
            if how == RULED:
                self.wait_for(lambda: len(self.events("function_retry")) >= retries + 2)
                self.begin()
                answers.append(answer())
            else:
                answers.append(answer())
                self.begin()
            process.stdin.close()
            process.stdin = None
            process.stdout.read()
            status = process.wait()
        self.end()
        self.assertEqual(answers[0], "42", answers)
        return answers[1] == "42" and status == 0

    def test_a_client_survives_a_restart(self):
        rules = self.starter("libpq.yaml")
        self.only_with_rules(lambda how: self.survives(rules, how))
        target = f"PQconnectdb 127.0.0.1:{self.port}"
        self.assertIn(target, {event["target"] for event in self.events("function_late")})

    @unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
    def test_and_no_connection_is_lost_meanwhile(self):
        """valgrind finds a PGconn that nobody has: with the rule's cleanup taken out it does."""
        valgrind = ["valgrind", "-q", "--leak-check=full", "--errors-for-leak-kinds=definite", "--error-exitcode=9"]
        self.assertTrue(self.survives(self.starter("libpq.yaml"), RULED, *valgrind))
        leaking = self.starter("libpq.yaml", ("cleanup: {symbol: PQfinish, args: [result]}", "# no cleanup"))
        self.assertFalse(self.survives(leaking, RULED, *valgrind))


class Queries(Clients, FaultStage, WithPostgres):
    """Six queries of a program, the database being well: what comes of them, and how many of them get to the server."""

    QUERY = """version: 1
functions:
  - name: query
    library: libpq.so.*
    symbol: PQexec
    returns: pointer
    args: [pointer, string]
    fails_when: {returns: null}
    faults: {every: 3, returns: null}
"""

    def ask_six_times(self, rules, how):
        armed = {} if how == UNARMED else {"RESIL_FAULTS": "1"}
        before = self.statements("select 42")
        client = [os.path.join(BUILD, "tests/libpq_client"), self.conninfo()]
        with subprocess.Popen(client, env=self.environment(rules, RULED if how == UNARMED else how, **armed),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            out, _ = process.communicate("\n" * 6)
        return ["good" if line == "42" else "failed" for line in out.splitlines()], self.statements("select 42") - before

    def test_every_third_of_them_is_made_to_fail(self):
        self.begin("log_statement=all")
        rules = self.write("rules.yaml", self.QUERY)

        def story(how):
            answers, asked = self.ask_six_times(rules, how)
            if how != RULED:
                self.assertEqual((answers, asked), (["good"] * 6, 6))
            return (answers, asked) == (["good", "good", "failed"] * 2, 4)

        self.only_when_armed(story)
        self.assertEqual([event["target"] for event in self.fired("query")], ["PQexec"] * 2)

    def test_it_is_switched_within_one_call_and_counted_by_where_it_was_made(self):
        self.begin()
        rules = self.write("rules.yaml", self.QUERY.replace("every: 3, ", ""))
        client = [os.path.join(BUILD, "tests/libpq_client"), self.conninfo()]
        with subprocess.Popen(client, env=self.environment(rules), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True) as process:
            def ask():
                process.stdin.write("\n")
                process.stdin.flush()
                return process.stdout.readline().strip()

            self.assertEqual(ask(), "42")
            self.resil("fault", "on", "query")
            self.assertEqual([ask(), ask()], ["", ""])  # libpq has nothing to say of it
            self.resil("fault", "auto", "query")
            self.assertEqual(ask(), "42")
            process.stdin.close()
        listed, = json.loads(self.resil("fault", "list", "--json"))["faults"]
        self.assertEqual((listed["name"], listed["what"], listed["fired"]), ("query", "PQexec returns null", 2))
        self.assertRegex(listed["sites"][0]["site"], r"^libpq_client\+0x[0-9a-f]+")
        self.assertEqual(self.fired("query")[0]["site"], listed["sites"][0]["site"])
        self.assertIn('fault="query"} 2', self.resil("metrics"))

    def test_a_function_that_its_library_does_not_have_is_told_once_it_is_loaded(self):
        rules = self.write("rules.yaml", self.QUERY.replace("PQexec", "PQexek"))
        program = ("import ctypes, sys\nprint('before', flush=True)\nsys.stdin.readline()\n"
                   "pq = ctypes.CDLL('libpq.so.5')\nprint(pq.PQlibVersion() > 0, pq.PQisthreadsafe(), flush=True)\n"
                   "sys.stdin.readline()\n")
        for how, told in (BARE, 0), (EMPTIED, 0), (RULED, 1):
            with subprocess.Popen([PYTHON, "-c", program], env=self.environment(rules, how, RESIL_EARLY="1"), text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                self.assertEqual(process.stdout.readline(), "before\n")
                self.assertEqual(self.events("function_unbound"), [])
                process.stdin.write("\n")
                process.stdin.flush()
                self.assertEqual(process.stdout.readline(), "True 1\n")
                unbound = [(event["target"], event["reason"]) for event in self.events("function_unbound")]
                self.assertEqual(unbound, [("libpq.so.*:PQexek", "no_symbol")] * told)

    def test_one_that_is_made_to_fail_is_made_again_where_the_rule_says_so(self):
        self.begin("log_statement=all")
        rules = self.write("rules.yaml", self.QUERY + "    retry: {max_retries: 2, base_delay: 1ms}\n")

        def story(how):
            self.assertEqual(self.ask_six_times(rules, how), (["good"] * 6, 6))
            return len(self.events("function_late")) == 2

        self.only_when_armed(story)


class Fractions(Clients):
    """libm, as python calls it and as it is found by dlsym: functions that return doubles and floats."""

    PROGRAM = ("import ctypes, math\n"
               "single = ctypes.CDLL('libm.so.6').cbrtf\n"
               "single.restype, single.argtypes = ctypes.c_float, [ctypes.c_float]\n"
               "print(*(math.cbrt(n) for n in (-8, 8, -1, 1, 64)), *(single(n) for n in (-8, 1)))\n")

    def calculate(self, more, rules=None, how=RULED, **extra):
        text = "version: 1\nfunctions:\n"
        for name, kind in ("cbrt", "double"), ("cbrtf", "float"):
            text += f"  - {{name: {name}, library: libm.so.6, symbol: {name}, returns: {kind}, args: [{kind}], {more}}}\n"
        rules = self.write("rules.yaml", text)
        ended = self.run_program([PYTHON, "-c", self.PROGRAM], rules, how, **extra)
        self.assertTrue(ended.is_good, ended)
        return ended.out

    def only_under(self, more, good, **extra):
        for how in BARE, EMPTIED:
            self.assertEqual(self.calculate(more, how=how, **extra), "-2.0 2.0 -1.0 1.0 4.0 -2.0 1.0\n")
        self.assertEqual(self.calculate(more, **extra), good)

    def test_what_is_less_than_0_is_a_failure_and_gets_the_default(self):
        self.only_under('fails_when: {returns: "< -0.5"}, default: {returns: 1.5, when: failed}',
                        "1.5 2.0 1.5 1.0 4.0 1.5 1.0\n")
        self.assertEqual(len(self.events("function_failed")), 3)

    def test_a_fault_makes_every_other_one_fail(self):
        more = "fails_when: {returns: -0.25}, faults: {every: 2, returns: -0.25}"
        self.assertEqual(self.calculate(more), self.calculate(more, how=BARE))
        self.only_under(more, "-2.0 -0.25 -1.0 -0.25 4.0 -2.0 -0.25\n", RESIL_FAULTS="1")

    def test_it_is_told_as_it_was_written(self):
        self.calculate('fails_when: {returns: [0.1, -1e-9]}, default: {returns: -0.25, when: failed}', how=BARE)
        for symbol in "cbrt", "cbrtf":
            said = self.resil("explain", "--rules", os.path.join(self.folder, "rules.yaml"), "--function", symbol)
            self.assertIn("[0.1, -1e-9]", said)
            self.assertIn("-0.25, for rejected and failed calls", said)


@unittest.skipUnless(has_pycurl(), "pycurl is not installed")
class Curl(Clients):
    CLIENT = """
import pycurl, sys
from io import BytesIO
for time in range(int(sys.argv[2])):
    body, handle = BytesIO(), pycurl.Curl()
    handle.setopt(handle.URL, sys.argv[1])
    handle.setopt(handle.WRITEDATA, body)
    try:
        handle.perform()
        print(body.getvalue().decode().strip())
    except pycurl.error as error:
        print("error", error.args[0])
    handle.close()
"""

    def client(self, server, times=1):
        return [PYTHON, "-c", self.CLIENT, server.url(), str(times)]

    def test_a_transfer_is_made_again_until_the_server_is_there(self):
        rules = self.starter("libcurl.yaml", ("max_retries: 3", "max_retries: 20"), ("base_delay: 200ms", "base_delay: 50ms"))

        def story(how):
            server = self.server("refuse")
            ended = self.ask_too_early(self.client(server), rules, how, lambda: server.mode("answer"))
            return ended.out == "misbehave\n"

        self.only_with_rules(story)

    def test_its_circuit_opens_and_another_process_sees_it(self):
        rules = self.starter("libcurl.yaml", ("max_retries: 3", "max_retries: 0"), ("recovery_timeout: 5s", "recovery_timeout: 60s"))

        def story(how):
            server = self.server("reset --at-accept")  # not among what libcurl.yaml retries or counts
            server.mode("refuse")
            self.run_program(self.client(server, 5), rules, how)
            server.mode("answer")
            ended = self.run_program(self.client(server, 2), rules, how)
            if how != RULED:
                self.assertEqual(server.count("requests"), 2, ended)
            return ended.out == "error 7\nerror 7\n" and server.count("accepted") == 0

        self.only_with_rules(story)
        self.assertEqual(len(self.events("circuit_open")), 1)
        self.assertEqual(sum(event["count"] for event in self.events("rejected")), 2)


HIREDIS = (sorted(glob.glob("/usr/lib/*/libhiredis.so.*")) or [None])[0]


@unittest.skipUnless(HIREDIS and shutil.which("redis-server"), "hiredis or Redis is not installed")
class Hiredis(Clients):
    CLIENT = """
import ctypes, itertools, sys
hiredis = ctypes.CDLL(sys.argv[1])
hiredis.redisConnect.restype = hiredis.redisCommandArgv.restype = ctypes.c_void_p
hiredis.redisConnect.argtypes = [ctypes.c_char_p, ctypes.c_int]
hiredis.redisCommandArgv.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
context = hiredis.redisConnect(b"127.0.0.1", int(sys.argv[2]))
command = (ctypes.c_char_p * 1)(b"PING")
for line in itertools.chain(["first"], sys.stdin):
    print("pong" if hiredis.redisCommandArgv(context, 1, command, None) else "failed", flush=True)
"""

    def redis(self, port):
        return self.daemon(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder], port)

    def test_connecting_waits_for_a_server_that_comes_up_late(self):
        rules = self.starter("hiredis.yaml", ("max_retries: 6", "max_retries: 20"), ("max_retries: 4", "max_retries: 0"))

        def story(how):
            port = self.free_port()
            ended = self.ask_too_early([PYTHON, "-c", self.CLIENT, HIREDIS, str(port)], rules, how, lambda: self.redis(port))
            return ended.out == "pong\n"

        self.only_with_rules(story)
        self.assertTrue(all(event["target"].startswith("redisConnect 127.0.0.1:") for event in self.events("function_late")))

    def test_a_command_survives_a_restart(self):
        rules = self.starter("hiredis.yaml")

        def story(how):
            port = self.free_port()
            server = self.redis(port)
            with subprocess.Popen([PYTHON, "-c", self.CLIENT, HIREDIS, str(port)], env=self.environment(rules, how),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                self.assertEqual(process.stdout.readline(), "pong\n")
                server.terminate()
                server.wait()
                self.redis(port)
                process.stdin.write("again\n")
                process.stdin.close()
                return process.stdout.readline() == "pong\n"

        self.only_with_rules(story)


@unittest.skipUnless(ctypes.util.find_library("ssl"), "OpenSSL is not installed")
class Tls(Clients):
    """A server that takes connections and drops them at the handshake, and bans whoever goes on asking."""

    CLIENT = """
import ctypes, socket, sys
ssl = ctypes.CDLL("libssl.so.3")
ssl.TLS_client_method.restype = ssl.SSL_CTX_new.restype = ssl.SSL_new.restype = ctypes.c_void_p
ssl.SSL_CTX_new.argtypes = ssl.SSL_new.argtypes = ssl.SSL_connect.argtypes = ssl.SSL_free.argtypes = [ctypes.c_void_p]
ssl.SSL_set_fd.argtypes = [ctypes.c_void_p, ctypes.c_int]
context = ssl.SSL_CTX_new(ssl.TLS_client_method())
for time in range(20):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        connection.settimeout(None)
        tls = ssl.SSL_new(context)
        ssl.SSL_set_fd(tls, connection.fileno())
        if ssl.SSL_connect(tls) == 1:
            sys.exit("connected")
        ssl.SSL_free(tls)
"""

    def test_handshakes_are_not_begun_with_a_server_that_drops_them(self):
        rules = self.starter("openssl.yaml", ("recovery_timeout: 5s", "recovery_timeout: 60s"))

        def story(how):
            server = self.server("close")
            ended = self.run_program([PYTHON, "-c", self.CLIENT, str(server.port)], rules, how)
            self.assertTrue(ended.is_good, ended)
            self.assertEqual(server.count("accepted"), 20)
            begun = server.count("requests")
            if how != RULED:
                self.assertEqual(begun, 20)
            return begun == 5

        self.only_with_rules(story)


LDAP = (sorted(glob.glob("/usr/lib/*/libldap*.so.*")) or [None])[0]


class Directory:
    """Says yes to whoever binds."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(4096)
                # SEQUENCE { INTEGER message, BindResponse { success, "", "" } }
                connection.sendall(b"\x30\x0c\x02\x01" + request[4:5] + b"\x61\x07\x0a\x01\x00\x04\x00\x04\x00")
                connection.recv(4096)


@unittest.skipUnless(LDAP, "OpenLDAP is not installed")
class Ldap(Clients):
    CLIENT = """
import ctypes, sys
ldap = ctypes.CDLL(sys.argv[1])
handle = ctypes.c_void_p()
ldap.ldap_initialize(ctypes.byref(handle), sys.argv[2].encode())
ldap.ldap_set_option(handle, 0x11, ctypes.byref(ctypes.c_int(3)))
print(ldap.ldap_simple_bind_s(handle, b"cn=tester", b"secret"))
"""

    def test_a_bind_waits_for_a_directory_that_comes_up_late(self):
        rules = self.starter("libldap.yaml", ("max_retries: 5\n", "max_retries: 20\n"))

        def story(how):
            port = self.free_port()
            directories = []
            command = [PYTHON, "-c", self.CLIENT, LDAP, f"ldap://127.0.0.1:{port}"]
            ended = self.ask_too_early(command, rules, how, lambda: directories.append(Directory(port)))
            directories[0].listener.close()
            return ended.out == "0\n"

        self.only_with_rules(story)


class Starters(Clients):
    def test_each_of_them_is_good(self):
        names = ["libpq.yaml", "libcurl.yaml", "hiredis.yaml", "openssl.yaml", "libldap.yaml"]
        files = json.loads(self.resil("check", "--json", *(os.path.join(RULES, name) for name in names)))["files"]
        self.assertEqual([(report["errors"], report["warnings"]) for report in files], [(0, 0)] * len(names))
        self.assertTrue(all(report["functions"] for report in files))


if __name__ == "__main__":
    main()
