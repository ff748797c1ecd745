"""A retried connect is the program's own socket, connected again: all that it did with it before still holds."""

from stage import PYTHON, RULED, Stage, main

RULES = ("match: {address: 127.0.0.1}\ntimeout: {connect: 1s, total: 20s}\n"
         "retry: {max_retries: 100, base_delay: 50ms, factor: 1, jitter: none, budget: off}\n")


class Same(Stage):
    def test_options_name_number_and_registrations_survive(self):
        code = ("import select, socket, sys\n"
                "s = socket.socket()\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n"
                "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes([7]) + bytes(15))\n"
                "s.bind(('127.0.0.1', int(sys.argv[2])))\n"
                "number, epoll = s.fileno(), select.epoll()\n"
                "epoll.register(s, select.EPOLLIN)\n"
                "s.connect(('127.0.0.1', int(sys.argv[1])))\n"
                "s.sendall(b'x')\n"
                "print(epoll.poll(20) == [(number, select.EPOLLIN)], s.recv(1), s.getsockname() == ('127.0.0.1', int(sys.argv[2])),\n"
                "      s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),\n"
                "      s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)[0], s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))\n")
        rules = self.rules(RULES)

        def story(how):
            server = self.server("up-after 700 echo")
            ended = self.run_program([PYTHON, "-c", code, str(server.port), str(self.free_port())], rules, how)
            return ended.out == "True b'x' True 1 1 7 0\n"

        self.only_with_rules(story)
        self.assertTrue(self.events("retry"))


class Mapped(Stage):
    def test_a_rule_for_an_ipv4_address_holds_for_ipv6_sockets_too(self):
        """As the JVM connects."""
        code = ("import socket, sys\n"
                "s = socket.socket(socket.AF_INET6)\n"
                "s.connect(('::ffff:127.0.0.1', int(sys.argv[1])))\n"
                "print(s.getpeername()[0])\n")
        rules = self.rules(RULES)

        def story(how):
            server = self.server("up-after 700 hang")
            return self.run_program([PYTHON, "-c", code, str(server.port)], rules, how).out == "::ffff:127.0.0.1\n"

        self.only_with_rules(story)

    def test_the_jvm(self):
        """keytool is the program in Java that comes with every JVM."""
        rules = self.rules(RULES)

        def story(how):
            port, servers = self.free_port(), []
            command = ["keytool", "-printcert", "-sslserver", f"127.0.0.1:{port}"]
            self.ask_early(command, rules, how, lambda: servers.append(self.server("reset", listen=f"127.0.0.1:{port}")))
            return servers[0].count("accepted") > 0

        self.only_with_rules(story)


if __name__ == "__main__":
    main()
