"""An answer has its whole time from when the last of the request is sent, though that was just before somebody looked."""

import os
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("RESIL_BUILD") or os.path.join(HERE, "../../build/release"))
RULES = "version: 1\nrules:\n  - name: tested\n    match: {address: 127.0.0.1}\n    timeout: {response: 3s}\n"

# Sends what is taken, which is more than the other end takes, and waits for an answer.
CLIENT = """
import select, socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.setblocking(False)
p = select.poll()
p.register(s, select.POLLIN)
p.poll(0)
s.send(b"x" * 1000000)
p.poll(20000)
try: print(s.recv(100).decode())
except OSError as error: print("errno", error.errno)
"""


def main():
    with tempfile.TemporaryDirectory(prefix="resil-unsent-") as folder, socket.socket() as server:
        rules = os.path.join(folder, "rules.yaml")
        with open(rules, "w") as file:
            file.write(RULES)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        told, tell = os.pipe()
        environment = {**os.environ, "RESIL_RULES": rules, "RESIL_STATE_DIR": os.path.join(folder, "state"),
                       "UNSENT_PIPE": str(tell),
                       "LD_PRELOAD": ":".join([os.path.join(BUILD, "libresil.so"), os.path.join(BUILD, "tests/unsent.so")])}
        client = subprocess.Popen(["/usr/bin/python3", "-c", CLIENT, str(server.getsockname()[1])], env=environment,
                                  pass_fds=[tell], stdout=subprocess.PIPE, text=True)
        os.close(tell)
        connection, _ = server.accept()
        what = os.read(told, 1)
        if what == b"r":
            connection.setblocking(False)
            while what != b"a":
                try:
                    connection.recv(1 << 20)
                except BlockingIOError:
                    pass
                os.set_blocking(told, False)
                try:
                    what = os.read(told, 1) or b"a"
                except BlockingIOError:
                    what = b"r"
            try:
                connection.send(b"an answer")
            except OSError as error:
                print(f"it has been cut off: {error}", file=sys.stderr)
        out, _ = client.communicate(timeout=60)
        if out != "an answer\n":
            print(f"the program got {out!r}", file=sys.stderr)
            return 1
    return 0


sys.exit(main())
