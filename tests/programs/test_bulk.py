"""Large sends to a slow reader: the send timeout is about progress, not about the whole."""

from stage import BARE, PYTHON, Stage, main

SIZE = 40_000_000
RATE = 10_000_000  # the whole takes several times the timeout
RULE = "match: {address: 127.0.0.1}\ntimeout: {send: 1s}\n"


class Bulk(Stage):
    def arrives_whole(self, command_for):
        server = self.server(f"drain --rate {RATE} --body all-of-it")
        ended = self.run_program(command_for(server), self.rules(RULE))
        self.assertTrue(ended.is_good, ended)
        self.assertIn("all-of-it", ended.out, ended)
        self.assertGreaterEqual(server.count("bytes"), SIZE)
        self.assertEqual((server.count("accepted"), server.count("answered")), (1, 1))
        self.assertEqual(self.events("send_timeout"), [])
        self.assert_nothing_passed_through()

    def test_python_sendall(self):
        code = ("import socket, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "size = int(sys.argv[2])\n"
                "s.sendall(b'POST / HTTP/1.0\\r\\nContent-Length: %d\\r\\n\\r\\n' % size + bytes(size))\n"
                "while got := s.recv(1000): print(got)\n")
        self.arrives_whole(lambda server: [PYTHON, "-c", code, str(server.port), str(SIZE)])

    def test_wget_post_file(self):
        body = self.write("body", "")
        with open(body, "wb") as file:
            file.truncate(SIZE)
        self.arrives_whole(lambda server: self.wget(server.url(), "--post-file=" + body))

    def test_the_kernels_own_timeout_would_cut_it(self):
        """What the rule does is more than to set SO_SNDTIMEO: that one bounds a whole call of send."""
        code = ("import socket, struct, sys\n"
                "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "if sys.argv[2] == 'own': s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('ll', 1, 0))\n"
                f"print(s.send(bytes({SIZE})) == {SIZE})\n")
        server = self.server(f"drain --rate {RATE}")
        bare = self.run_program([PYTHON, "-c", code, str(server.port), "own"], how=BARE)
        self.assertEqual(bare.out, "False\n", bare)
        ended = self.run_program([PYTHON, "-c", code, str(server.port), "rule"], self.rules(RULE))
        self.assertEqual(ended.out, "True\n", ended)


if __name__ == "__main__":
    main()
