"""A real server that misbehaves: what stands before it passes on what its clients say, or not, in the words of misbehave."""

import socket
import struct
import threading

from stage import PATIENCE_S

LARGEST = 65536


class Relay:
    """Modes: answer (pass everything on), hold (once `release` has been said), reset (when a client has asked something, at
    most once for each connection) and refuse. A request is what a connection begins with."""

    def __init__(self, mode, behind):
        """`behind` is the port of the real server, which may come up later."""
        self.behind, self.is_closed = behind, False
        self.changed = threading.Condition()
        self.counts = {"accepted": 0, "requests": 0}
        self.released, self.is_up = threading.Event(), False
        self.connections = set()
        # Twice: only a port that was asked for stays with a socket that does not listen any more.
        with socket.create_server(("127.0.0.1", 0)) as first:
            self.port = first.getsockname()[1]
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.mode(mode)

    def mode(self, mode):
        """What an answer has in it (--body) is the real server's affair."""
        self.kind = mode.split()[0]
        self.released.clear()
        if self.kind == "refuse" and self.is_up:
            self.is_up = False
            self.listener.shutdown(socket.SHUT_RDWR)
            self.accepting.join()
        elif self.kind != "refuse" and not self.is_up:
            self.is_up = True
            self.listener.listen(64)
            self.accepting = threading.Thread(target=self.accept, daemon=True)
            self.accepting.start()

    def say(self, command):
        if command == "release":
            self.released.set()
        elif command == "reset-count":
            with self.changed:
                self.counts = dict.fromkeys(self.counts, 0)
        else:
            raise ValueError(command)
        return "ok"

    def count(self, what):
        with self.changed:
            return self.counts[what]

    def wait(self, what, number):
        with self.changed:
            return self.changed.wait_for(lambda: self.counts[what] >= number, PATIENCE_S)

    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def close(self):
        self.mode("refuse")
        self.listener.close()
        with self.changed:
            self.is_closed = True
            for connection in self.connections:
                hang_up(connection)
        self.released.set()

    def counted(self, what):
        with self.changed:
            self.counts[what] += 1
            self.changed.notify_all()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            self.counted("accepted")
            threading.Thread(target=self.serve, args=(client, self.kind), daemon=True).start()

    def serve(self, client, kind):
        with client:
            try:
                asked = client.recv(LARGEST)
            except OSError:
                return
            if not asked:
                return
            self.counted("requests")
            if kind == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if kind == "hold":
                self.released.wait()
            with socket.create_connection(("127.0.0.1", self.behind)) as server:
                server.sendall(asked)
                self.pass_on(client, server)

    def pass_on(self, client, server):
        """Both ways, until either side has said all."""
        with self.changed:
            if self.is_closed:
                return
            self.connections |= {client, server}
        back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
        back.start()
        self.copy(client, server)
        back.join()
        with self.changed:
            self.connections -= {client, server}

    def copy(self, source, target):
        try:
            while some := source.recv(LARGEST):
                target.sendall(some)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # one of them has gone
            hang_up(source)
            hang_up(target)


def hang_up(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side has
