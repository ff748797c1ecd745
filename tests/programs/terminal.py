"""A terminal with a command in it, and what somebody in front of it sees. `pyte` is None where that is not installed."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from stage import PATIENCE_S, RESIL

try:
    import pyte
except ImportError:
    pyte = None


class Terminal:
    """A terminal with a command of resil in it."""

    def __init__(self, environment, *arguments, columns=80, lines=24):
        self.screen, self.bytes, self.status = pyte.Screen(columns, lines), b"", None
        self.stream = pyte.ByteStream(self.screen)
        master, slave = pty.openpty()
        self.resize_to = lambda c, l: fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", l, c, 0, 0))
        self.resize_to(columns, lines)
        self.fd = master
        self.process = subprocess.Popen([RESIL, *arguments], env=environment, stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)

    def read(self, seconds=0.05):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                got = os.read(self.fd, 65536)
            except OSError:  # it has gone
                got = b""
            self.bytes += got
            self.stream.feed(got)

    def until(self, condition):
        """Until it holds of the text on the screen; gives that text."""
        end = time.monotonic() + PATIENCE_S
        while not condition(self.text()):
            assert time.monotonic() < end, "what was waited for did not come:\n" + self.text()
            self.read()
        return self.text()

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def text(self):
        return "\n".join(self.screen.display)

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        self.resize_to(columns, lines)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self.fd)
