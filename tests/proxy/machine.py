"""The exchange machine without sockets: a client's connection and pipes on stand-ins whose every byte a test moves.

Belongs here: both ends as the kernel would show them, a loop that goes a turn at a time, a job that answers by a
script. Does not: what must come of it (test_exchange_machine.py, test_tunnel_machine.py).
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import replace
from typing import Any, cast

from aiohttp import web
from hypothesis import HealthCheck, settings

from prouter.http1.framing import BodyWatch, request_framing
from prouter.http1.request import HeadLimits, parse_request_head
from prouter.model.access import Peer
from prouter.model.http import AnswerPolicy, ForwardPlan, Reply, ResponseHead
from prouter.model.traffic import Traffic
from prouter.pipe.upstream import UpstreamPipe
from prouter.web.again import Alike
from prouter.web.connection import ClientConnection
from prouter.web.limits import WebLimits
from prouter.web.outcomes import Forward, Incoming, Lasting, Outcome, Serve
from prouter.web.tunnel import Tunnel
from prouter.web.unread import unread

MORE = int(os.environ.get("PROUTER_EXAMPLES", "0"))
EXAMPLES = settings(
    max_examples=MORE or 100, derandomize=not MORE, deadline=None, suppress_health_check=list(HealthCheck)
)
"""The same ones at each run; PROUTER_EXAMPLES=5000 looks for new ones."""
HIGH, LOW = 400, 100
"""Bytes written and not taken at which a protocol is told to pause, and to go on."""
HELD = 200
QUIET = 20
"""Turns of the loop in which nothing arrives anywhere, after which nothing will: a request to aiohttp needs some."""
FIN, RESET = "fin", "reset"
WAYS = ("", "open", "decide", "change", "change later")
"""Pipes, decisions or changes of answers that somebody has to wait for; `change` is one that nobody waits for."""


class _Socket:
    """Shows whether a close would be a reset."""

    lingers = False
    family = None

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if isinstance(value, bytes):
            self.lingers = struct.unpack("ii", value) == (1, 0)

    def fileno(self) -> int:
        return 5


class End(asyncio.Transport):
    """Our end of a connection; the other one is the test, which sends, takes and ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.socket = _Socket()
        self.protocol: Any = None
        self.taken = bytearray()
        """All that arrived at the other end."""
        self.stalled = False
        """The other end does not read."""
        self.ended = ""
        """How our end closed, as the other one sees it: FIN or RESET."""
        self.half = False
        self.most_unsent = 0
        self._unsent = bytearray()
        self._inbox: deque[bytes | str] = deque()
        self._reading = True
        self._closing = self._lost = self._told = False

    # --- the test's side ---

    def send(self, data: bytes | str) -> None:
        """Bytes, FIN or RESET; ours once it is delivered."""
        if data:
            self._inbox.append(data)

    @property
    def waiting(self) -> bool:
        return bool(self._inbox) and self._reading and not self._closing

    def deliver(self) -> None:
        """The next thing sent. Called by the loop."""
        if not self.waiting:
            return
        data = self._inbox.popleft()
        if isinstance(data, bytes):
            self.protocol.data_received(data)
        elif data == FIN:
            if not self.protocol.eof_received():
                self.close()
        else:
            self._unsent.clear()
            self._gone(ConnectionResetError("reset by peer"))

    def stall(self, stalled: bool) -> None:
        self.stalled = stalled
        if not stalled:
            self._flush()

    def take(self, count: int) -> None:
        """A little of what is written, while stalled."""
        self.taken += self._unsent[:count]
        del self._unsent[:count]

    # --- asyncio's side ---

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5), "socket": self.socket}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._told, "written behind our own FIN"
        if self._lost or self.ended:
            return
        self._unsent += data
        self._flush()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def _flush(self) -> None:
        if not self.stalled:
            self.taken += self._unsent
            self._unsent.clear()
        self.most_unsent = max(self.most_unsent, len(self._unsent))
        if len(self._unsent) > HIGH and not self._slow:
            self._slow = True
            self.protocol.pause_writing()
        elif len(self._unsent) <= LOW and self._slow:
            self._slow = False
            self.protocol.resume_writing()
        if not self._unsent:
            self.half = self._told
            if self._closing:
                self._gone(None)

    _slow = False

    def write_eof(self) -> None:
        self._told = True
        self._flush()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._flush()

    def abort(self) -> None:
        self._closing = True
        self._unsent.clear()
        self._gone(None)

    def _gone(self, error: Exception | None) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            unread = any(isinstance(data, bytes) for data in self._inbox)  # the kernel resets then
            self.ended = RESET if self.socket.lingers or unread or error is not None else FIN
            self.loop.call_soon(self.protocol.connection_lost, error)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """HIGH and LOW stay."""

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class JobEnd:
    """The job's side of one pipe: reads requests by the strict parser, and answers by what `script` says.

    `script(job, number of the request, number of the attempt, whole)` is asked when a head is there (whole: False) and
    when its body is; it calls `send` and `end`.
    """

    def __init__(self, machine: Machine, transport: End) -> None:
        self.machine, self.transport = machine, transport
        self.requests: list[tuple[str, str, bytes, bool]] = []
        """Verb, target, body as it was framed, whether it is whole; the last one may grow."""
        self.ended = False
        self.bound = False
        self._read = 0
        self._watch: BodyWatch | None = None
        self.switched = False
        """To another protocol: what comes is no HTTP any more."""

    def look(self) -> None:
        """Read what arrived."""
        data = self.transport.taken
        while not (self.ended or self.switched):
            if not self.bound:
                end = data.find(b"\n")
                if end < 0:
                    return
                self.bound, self._read = True, end + 1
                self.transport.send(b"ok\n")
            elif self._watch is None:
                end = data.find(b"\r\n\r\n", self._read)
                if end < 0:
                    return
                head = parse_request_head(bytes(data[self._read : end + 4]), HeadLimits(header_count=200))
                self._read = end + 4
                self._watch = BodyWatch(request_framing(head))
                self.requests.append((head.method, head.target, b"", self._watch.complete))
                self.machine.asked(self, head.target)
                self.machine.script(self, head.target, self.machine.attempts[head.target], False)
            else:
                method, target, body, _ = self.requests[-1]
                taken = self._watch.feed(bytes(data[self._read :]))
                body += data[self._read : self._read + taken]
                self._read += taken
                self.requests[-1] = (method, target, body, self._watch.complete)
                if not self._watch.complete:
                    return
                self._watch = None
                self.machine.script(self, target, self.machine.attempts[target], True)

    @property
    def unread(self) -> bytes:
        """What came behind the last request's head, once the protocol was switched."""
        return bytes(self.transport.taken[self._read :])

    def send(self, *parts: bytes | str) -> None:
        for part in parts:
            self.transport.send(part)

    def end(self, how: str) -> None:
        self.transport.send(how)
        self.ended = True


class Machine:
    """A ConnectionHome, a Dispatcher, a pool of pipes and the client; everything moves by `turn` and `deliver`."""

    draining = False
    way = ""
    """What is not there at once: one of WAYS."""
    host = "job"
    """What jobs are told; what was decided holds until it is another."""
    stalled_jobs = False
    """Jobs do not read, until all comes to its end."""
    policy = AnswerPolicy()

    def __init__(self, script: Callable[[JobEnd, str, int, bool], None]) -> None:
        self.loop = asyncio.SelectorEventLoop()
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.script = script
        self.errors: list[Any] = []
        self.attempts: dict[str, int] = {}
        self.limits = WebLimits(held_bytes=HELD)
        self.dispatcher = self
        self.traffic = Traffic()
        self.alike = Alike(4, HeadLimits())
        self.alike.seen_before(b"GET /job/x HTTP/1.1\r\nHost: x\r\n\r\n", Peer("127.0.0.1", 5, False))
        self.jobs: list[JobEnd] = []
        self.idle: list[UpstreamPipe] = []
        self.lost_pipes: set[UpstreamPipe] = set()
        self.connections_lost = 0
        self.by_heart = 0
        """Requests that took the way of those alike."""
        self.served: list[tuple[str, str, bytes]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.client = End(self.loop)
        self.run(self._connect)

    def _connect(self) -> None:
        connection = ClientConnection(cast("Any", self))
        self.connection: ClientConnection | Tunnel = connection
        self.client.set_protocol(connection)
        connection.connection_made(self.client)

    def drain(self) -> None:
        """The endpoint ends, which has no time for tunnels."""
        self.draining = True
        if not self.connections_lost:
            self.run(self._end)

    def _end(self) -> None:
        if not self.connection.drain():
            self.connection.hang_up()
        self.connection.go_away()

    # --- time ---

    def run(self, call: Callable[..., object], *arguments: object) -> None:
        """In the loop, as a callback."""
        self.loop.call_soon(call, *arguments)
        self.turn()

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        for job in self.jobs:
            job.look()

    def ends(self) -> list[End]:
        """All that something can be delivered to."""
        return [end for end in self.all_ends() if end.waiting]

    def all_ends(self) -> list[End]:
        return [self.client, *(job.transport for job in self.jobs)]

    def settle(self) -> None:
        """Everybody reads, and until nothing moves any more."""
        self.stalled_jobs = False
        for end in self.all_ends():
            self.loop.call_soon(end.stall, False)
        self.rest()

    def rest(self) -> None:
        """Until nothing moves any more."""
        quiet = arrived = 0
        for _ in range(20_000):
            waiting = self.ends()
            if waiting:
                self.run(waiting[0].deliver)
            else:
                self.turn()
            before, arrived = arrived, sum(len(end.taken) for end in self.all_ends())
            quiet = 0 if self.ends() or arrived != before else quiet + 1
            if quiet > QUIET:
                return
        raise AssertionError("it does not come to rest")

    def close(self) -> None:
        self.run(self.client.abort)
        for job in self.jobs:
            self.run(job.transport.abort)
        self.turn()
        for task in self.tasks:
            task.cancel()
        for _ in range(3):
            self.turn()
        self.loop.close()

    # --- ConnectionHome ---

    def admit(self, connection: ClientConnection, descriptor: int) -> bool:
        return True

    def turn_away(self, connection: ClientConnection) -> None:
        raise AssertionError

    def go_on(self, work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        task = self.loop.create_task(work, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # --- Dispatcher ---

    async def dispatch(self, incoming: Incoming) -> Outcome:
        target = incoming.head.target
        await self._turns("decide")
        if target.startswith("/api/"):
            return Reply.text(target)
        if target.startswith("/serve/"):
            return Serve(self._serve)
        if not target.startswith("/job/"):
            return Reply.text("nothing here", status=404)
        plan = ForwardPlan(target, self.host, set_headers=(("X-Request-Id", incoming.request_id),), answer=self.policy)
        if self.way.startswith("change"):
            return Forward(self._open, plan, change_answer=self._changed)
        if self.way == "long":
            return Forward(self._open, plan)
        host = self.host
        holds = lambda: self.host == host  # noqa: E731 -- what is a method elsewhere
        take = lambda: self._take() if holds() else None  # noqa: E731
        return Forward(self._open, plan, lasting=lambda: Lasting("/job", holds, take, unread=unread(frozenset())))

    async def _changed(self, head: ResponseHead) -> ResponseHead:
        await self._turns("change later")
        return replace(head, headers=(*head.headers, ("X-Changed", "yes")))

    async def _turns(self, way: str) -> None:
        for _ in range(3 if self.way == way else 0):
            await asyncio.sleep(0)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.served.append((request.method, request.path_qs, body))
        return web.Response(text=request.path_qs)

    async def _open(self, fresh: bool) -> UpstreamPipe:
        if self.idle and not fresh:
            return self.idle.pop()
        await self._turns("open")
        transport = End(self.loop)
        transport.stalled = self.stalled_jobs
        pipe = UpstreamPipe(transport, b"", b"job x http 1\n", self)
        self.jobs.append(JobEnd(self, transport))
        return pipe

    def _take(self) -> UpstreamPipe | None:
        self.by_heart += 1
        return self.idle.pop() if self.idle else None

    # --- PipeHome ---

    def returned(self, pipe: UpstreamPipe) -> None:
        self.idle.append(pipe)

    def replaced(self, connection: ClientConnection, tunnel: Tunnel) -> None:
        self.connection = tunnel

    def lost(self, which: UpstreamPipe | ClientConnection | Tunnel) -> None:
        if isinstance(which, ClientConnection | Tunnel):
            self.connections_lost += 1
        else:
            self.lost_pipes.add(which)
            if which in self.idle:
                self.idle.remove(which)

    def asked(self, job: JobEnd, target: str) -> None:
        self.attempts[target] = self.attempts.get(target, 0) + 1
