"""What the tests of faults share: a program with faults armed, and what it met."""

import socket
import threading

from stage import BARE, EMPTIED, PYTHON, RULED, Stage

UNARMED = "with faults that are not armed"

# Connects, sends, and reads until the end, in one call each; says how many bytes it got and how that ended.
READER = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
got = 0
try:
    s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    while True:
        part = s.recv(65536)
        if not part: break
        got += len(part)
    print("end", got)
except OSError as e:
    print(type(e).__name__, e.errno, got)
    sys.exit(1)
"""


class FaultStage(Stage):
    def faults(self, *faults, rules="[]"):
        """A rule file with these faults, each the body of one (`name` and `match` may be left out)."""
        text = f"version: 1\nrules: {rules}\nfaults:\n"
        for number, fault in enumerate(faults):
            parts = fault if "match:" in fault else "match: {address: 127.0.0.0/8}, " + fault
            text += f"  - {{name: fault-{number}, {parts}}}\n"
        return self.write("faults.yaml", text)

    def faulty(self, command, rules, how=RULED, **extra):
        """The program, with its faults armed."""
        if how != UNARMED:
            extra.setdefault("RESIL_FAULTS", "1")
        return self.run_program(command, rules, RULED if how == UNARMED else how, **extra)

    def start_faulty(self, command, rules, how=RULED):
        """The same of a program that goes on running."""
        armed = {} if how == UNARMED else {"RESIL_FAULTS": "1"}
        return self.start(command, rules, RULED if how == UNARMED else how, **armed)

    def only_when_armed(self, story):
        """`story(how)` tells whether the program met the fault. It does only with it, and only where it is armed."""
        for how in BARE, EMPTIED, UNARMED:
            self.assertFalse(story(how), f"{how} there should have been no fault")
        self.assertTrue(story(RULED), "there should have been a fault")

    def fired(self, name="fault-0"):
        return [event for event in self.events("fault") if event["fault"] == name]

    def reader(self, port):
        return [PYTHON, "-c", READER, str(port)]


class DatagramStage(FaultStage):
    def peer(self):
        """Answers each datagram with itself, and keeps what came."""
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind(("127.0.0.1", 0))
        self.came = []

        def serve():
            while True:
                try:
                    data, sender = peer.recvfrom(65536)
                    self.came.append(data)
                    peer.sendto(data, sender)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        self.addCleanup(peer.close)
        return str(peer.getsockname()[1])

    def udp(self, fault):
        return self.faults(f"match: {{address: 127.0.0.1, protocol: udp}}, {fault}")

    def loses_what_it_sends(self, code):
        """The program sends 200 datagrams, 490 bytes in all, and believes that all of them were sent."""
        rules = self.udp("loss: 30%, on: [send]")
        ended = self.faulty([PYTHON, "-c", code, self.peer()], rules, RESIL_SEED="1")
        self.assertEqual(ended.out, "490\n")
        lost = len(self.fired())
        self.assertTrue(34 <= lost <= 86, lost)  # 60 +- 4 sigma
        self.wait_for(lambda: len(self.came) >= 200 - lost)
        self.assertEqual(len(self.came), 200 - lost)
