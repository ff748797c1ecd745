"""node waits in epoll, by libuv: its http module and its fetch, which keeps connections open."""

import loops
from stage import main

HTTP = """
const http = require('http');
for (let i = 0; i < Number(process.argv[2]); i++)
    http.get(process.argv[1], {agent: false}, answer => answer.pipe(process.stdout))
        .on('error', e => { console.error(e.code, e.syscall); process.exitCode = 1; });
"""

FETCH = """
async function ask() {
    try { console.log(await (await fetch(process.argv[1])).text()); }
    catch (e) { console.error(e.cause.code, e.cause.syscall); process.exitCode = 1; }
}
for (let i = 0; i < Number(process.argv[2]); i++) ask();
"""


class Http(loops.Program):
    program = "node"
    timed_out = "ETIMEDOUT"
    refused = "econnrefused connect"
    waits = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
    code = HTTP

    def command(self, url, count=1):
        return ["node", "-e", self.code, url, str(count)]


class Fetch(Http):
    code = FETCH


class HttpRestart(loops.Restart, Http):
    def test_200_at_once_survive_it(self):
        self.many_survive_a_restart(lambda url: self.command(url, 200), 200)


class FetchRestart(loops.Restart, Fetch):
    def test_200_at_once_survive_it(self):
        self.many_survive_a_restart(lambda url: self.command(url, 200), 200)


class HttpBlackHole(loops.BlackHole, Http):
    timed_out = "ETIMEDOUT connect"


class FetchBlackHole(loops.BlackHole, Fetch):
    timed_out = "ETIMEDOUT connect"


class HttpSilence(loops.Silence, Http):
    timed_out = "ETIMEDOUT read"


class FetchSilence(loops.Silence, Fetch):
    timed_out = "ETIMEDOUT read"

    def test_an_idle_connection_is_kept(self):
        """fetch keeps it for 4 s: both requests go over one, with more than the rule's timeouts between them."""
        code = """(async () => {
            const ask = async () => console.log(await (await fetch(process.argv[1])).text());
            await ask();
            setTimeout(ask, 1500);
        })()"""
        server = self.server("answer --body here-I-am --keep-alive")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 300ms, recv: 300ms, send: 300ms}\n")
        ended = self.run_program(["node", "-e", code, server.url()], rules)
        self.assertEqual((ended.status, ended.out.count("here-I-am")), (0, 2), ended)
        self.assertEqual((server.count("accepted"), server.count("answered")), (1, 2))
        self.assert_answered(2)
        self.assert_nothing_passed_through()

    def test_a_slow_upload_is_never_cut(self):
        code = """fetch(process.argv[1], {method: 'PUT', body: Buffer.alloc(8000000)})
            .then(answer => answer.text()).then(console.log)"""
        server = self.server("drain --rate 1000000 --body all-of-it")
        rules = self.rules("match: {address: 127.0.0.1}\ntimeout: {response: 1s, send: 1s}\n")
        ended = self.run_program(["node", "-e", code, server.url()], rules)
        self.assertEqual((ended.status, ended.out), (0, "all-of-it\n"), ended)
        self.assertEqual(self.events("response_timeout") + self.events("send_timeout"), [])
        self.assert_answered(1)
        self.assert_nothing_passed_through()


class HttpCircuit(loops.Circuit, Http):
    pass


class FetchCircuit(loops.Circuit, Fetch):
    pass


class HttpShadow(loops.Shadow, Http):
    pass


if __name__ == "__main__":
    main()
