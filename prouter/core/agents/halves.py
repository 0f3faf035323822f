"""What a plugin of the router asks of its other half on an agent: a method over the link, a small request over a pipe.

Belongs here: one call, one request and its whole answer, both bounded in time and size. Does not: requests of clients,
which are relayed (core/dispatch.py), what the core itself calls (link.py).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.link import AgentLink
from prouter.errors import InvalidRequest, MethodNotFound, NotPossible, ProuterError, TimedOut, TooLarge, UpstreamFailed
from prouter.http1.fields import TOKEN, VALUE
from prouter.http1.framing import BodyKind, ChunkDecoder
from prouter.http1.policy import forward_request
from prouter.http1.response import PlainHead
from prouter.model.http import AgentAnswer, ForwardPlan, Headers, RequestHead, ResponseHead
from prouter.model.ids import AgentUid, new_uid
from prouter.model.methods import OWN_METHODS
from prouter.pipe.bind import AgentBinding
from prouter.pipe.upstream import UpstreamPipe
from prouter.pluginkit import context

KEPT_IDLE_SECONDS = 60.0
REPEATABLE = ("GET", "HEAD", "OPTIONS")
"""Sent once more where a kept pipe was closed before a byte of the answer came (pipe-v1.md 4)."""
TARGET = re.compile(r"/[\x21-\x7e]*")
LINE = re.compile(VALUE)
NAME = re.compile(TOKEN)


class Halves:
    """Asks agents of ours."""

    def __init__(self, directory: AgentDirectory) -> None:
        self._directory = directory

    async def call(self, uid: AgentUid, method: str, args: Sequence[Any], timeout_seconds: float | None) -> Any:
        """As model.router_services.Agents.call."""
        if method.startswith(OWN_METHODS):
            raise NotPossible(f"{method!r} is a method of the agent itself: plugins call what plugins offer there")
        link = self._link(uid)
        try:
            return await link.call(method, *args, timeout_seconds=timeout_seconds)
        except MethodNotFound as error:
            what = f"agent {uid!r} has no method {method!r} that takes no stream; is the plugin there that offers it?"
            raise MethodNotFound(what) from error

    async def http(
        self,
        uid: AgentUid,
        head: RequestHead,
        body: bytes,
        *,
        timeout_seconds: float | None,
        max_bytes: int,
    ) -> AgentAnswer:
        """As model.router_services.Agents.http."""
        request = _request(head, body)
        link = self._link(uid)
        seconds = timeout_seconds or link.call_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._asked(uid, head.method, request + body, max_bytes)
        except TimeoutError:
            raise TimedOut(f"agent {uid!r} did not answer {head.method} {head.path} within {seconds:g} s") from None

    async def _asked(self, uid: AgentUid, method: str, data: bytes, max_bytes: int) -> AgentAnswer:
        idle_seconds = KEPT_IDLE_SECONDS if method in REPEATABLE else -1.0
        while True:
            link = self._link(uid)
            line = AgentBinding(link.hello.link).line()
            pipe = await link.pool.take(line, max_idle_seconds=idle_seconds)
            answer = _Whole(pipe, uid, max_bytes)
            try:
                pipe.begin(answer, data, method)
                return await answer.over
            except _Untouched:
                idle_seconds = -1.0
            finally:
                answer.leave()

    def _link(self, uid: AgentUid) -> AgentLink:
        """Raises AgentAway, AgentNotFound, NotPossible."""
        link = self._directory.connected(uid)
        if link.hello.original:
            raise NotPossible(f"agent {uid!r} is an original one, which has no plugins")
        return link


class _Untouched(Exception):
    """A kept pipe was closed already: nobody saw the request."""


class _Whole:
    """A Carrier that keeps an answer until it is whole."""

    def __init__(self, pipe: UpstreamPipe, uid: AgentUid, max_bytes: int) -> None:
        self.over: asyncio.Future[AgentAnswer] = asyncio.get_running_loop().create_future()
        self._pipe = pipe
        self._uid = uid
        self._max_bytes = max_bytes
        self._head: ResponseHead | None = None
        self._body = bytearray()
        self._decoder: ChunkDecoder | None = None

    def leave(self) -> None:
        """The pipe goes back when the answer is whole, else it is cut."""
        whole = self.over.done() and not self.over.cancelled() and self.over.exception() is None
        if whole:
            self._pipe.release(in_step=True)
        else:
            self._pipe.abort()

    def informed(self, head: ResponseHead) -> None:
        """Nothing that a plugin could use."""

    def answered(self, head: ResponseHead) -> None:
        self._head = head
        kind = self._pipe.reader.framing.kind
        if kind is BodyKind.TUNNEL:
            self._end(UpstreamFailed(f"agent {self._uid!r} switched to another protocol, which nobody asked for"))
        self._decoder = ChunkDecoder() if kind is BodyKind.CHUNKED else None

    def passes(self, head: PlainHead) -> None:
        self.answered(head.parsed())

    def carried(self, data: bytes) -> None:
        if self.over.done():
            return
        self._body += self._decoder.feed(data) if self._decoder is not None else data
        if len(self._body) > self._max_bytes:
            self._end(TooLarge(f"the answer of agent {self._uid!r} is longer than {self._max_bytes} bytes"))

    def passed(self) -> None:
        """All is kept until the end."""

    def finished(self) -> None:
        if self._head is not None and not self.over.done():
            self.over.set_result(AgentAnswer(self._head.status, self._head.headers, bytes(self._body)))

    def failed(self, error: ProuterError, *, untouched: bool) -> None:
        if untouched:
            self._end(_Untouched())
        elif isinstance(error, UpstreamFailed):
            self._end(UpstreamFailed(f"agent {self._uid!r} did not answer a plugin's request to its end"))
        else:
            self._end(error)

    def only_waits(self, seconds: float) -> bool:
        return False  # whoever asks has a deadline

    def body_pause(self) -> None:
        """The request is small and written already."""

    def body_resume(self) -> None: ...

    def _end(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_exception(error)


def _request(head: RequestHead, body: bytes) -> bytes:
    """Its head as it is sent. Raises InvalidRequest: parts of it may be a client's."""
    good = NAME.fullmatch(head.method) and TARGET.fullmatch(head.target)
    if not good or not all(NAME.fullmatch(name) and LINE.fullmatch(value) for name, value in head.headers):
        raise InvalidRequest("Invalid request: a verb, target or header for the agent is none")
    length: Headers = (("Content-Length", str(len(body))),) if body or head.method not in REPEATABLE else ()
    identity = ("X-Request-Id", context.request_id.get() or new_uid())
    plan = ForwardPlan(target=head.target, host="agent", drop=_FRAMING, set_headers=(*length, identity))
    return forward_request(RequestHead(head.method, head.target, head.headers), plan)


_FRAMING = frozenset(("content-length", "transfer-encoding", "trailer", "expect", "upgrade", "connection"))
