"""C clients on libuv and on libevent, which most C programs with a loop stand on. libevent can wait in epoll, poll or
select."""

import os
import urllib.parse

import loops
from stage import BUILD, main


class Uv(loops.Program):
    program = os.path.join(BUILD, "tests", "loop_uv")
    timed_out = "ETIMEDOUT"
    refused = "connect: econnrefused"
    waits = ("epoll_wait", "epoll_pwait", "epoll_pwait2")

    def command(self, url, count=1):
        at = urllib.parse.urlsplit(url)
        return [self.program, at.hostname, str(at.port), str(count)]


class Event(Uv):
    program = os.path.join(BUILD, "tests", "loop_event")


class EventPoll(Event):
    settings = {"EVENT_NOEPOLL": "1"}
    waits = ("poll", "ppoll")


class EventSelect(Event):
    settings = {"EVENT_NOEPOLL": "1", "EVENT_NOPOLL": "1"}
    waits = ("select", "pselect6")


class Many:
    def test_200_at_once_survive_it(self):
        self.many_survive_a_restart(lambda url: self.command(url, 200), 200)


class UvRestart(Many, loops.Restart, Uv):
    pass


class EventRestart(Many, loops.Restart, Event):
    pass


class EventPollRestart(Many, loops.Restart, EventPoll):
    pass


class EventSelectRestart(Many, loops.Restart, EventSelect):
    pass


class UvBlackHole(loops.BlackHole, Uv):
    pass


class EventBlackHole(loops.BlackHole, Event):
    pass


class EventPollBlackHole(loops.BlackHole, EventPoll):
    pass


class EventSelectBlackHole(loops.BlackHole, EventSelect):
    pass


class UvSilence(loops.Silence, Uv):
    pass


class EventSilence(loops.Silence, Event):
    pass


class UvCircuit(loops.Circuit, Uv):
    pass


class EventCircuit(loops.Circuit, Event):
    pass


class UvShadow(loops.Shadow, Uv):
    pass


if __name__ == "__main__":
    main()
