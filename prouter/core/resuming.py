"""Answers that go on where they were when the way to the agent was cut: who reads them sees a pause and nothing else.

Belongs here: one answer over any number of pipes. Does not: which answers (plugin.Relay.resume), how they say how far
they have come (model/frames.py). An agent that knows no frames answers as ever, and the answer is cut with its pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prouter.core.agents.directory import AgentDirectory
from prouter.errors import ProuterError, RemoteProtocolError, TimedOut, UpstreamFailed
from prouter.http1.framing import BodyKind, ChunkDecoder
from prouter.http1.response import PlainHead
from prouter.model.frames import FOLLOWED_HEADER, FRAMES_HEADER, FrameReader
from prouter.model.http import ResponseHead
from prouter.model.services import Tasks
from prouter.pipe.answer import AnswerReader
from prouter.pipe.upstream import Carrier, Upstream, UpstreamPipe

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks whether the agent was forgotten meanwhile."""
FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 2.0
GIVE_UP_SECONDS = 60.0
"""An agent that is linked and does not let the answer go on for so long: then it is cut."""
ANSWER_SECONDS = 15.0
"""For the head by which a pipe goes on."""
OURS = (FRAMES_HEADER.lower(), FOLLOWED_HEADER.lower())
LATER = (429, 502, 503, 504)
"""Not now: the agent may not have noticed yet that the one before is gone."""

Take = Callable[[bool], Awaitable[UpstreamPipe]]
Again = Callable[[int, str | None], bytes]
"""The request's head by which the answer goes on: from which place, and what is followed, as the first answer said."""


@dataclass(frozen=True, slots=True)
class Resuming:
    """What all such answers share."""

    directory: AgentDirectory
    tasks: Tasks

    def opener(self, agent: str, take: Take, again: Again) -> Callable[[bool], Awaitable[Upstream]]:
        """How a relay gets the upstream."""

        async def opened(fresh: bool) -> Upstream:
            return ResumedAnswer(self, agent, await take(fresh), take, again)

        return opened

    async def until_linked(self, agent: str) -> bool:
        """Until the agent has a link; whether that had to be waited for. Raises AgentNotFound, AgentAway when it is
        given up."""
        waited = False
        while self.directory.linked(agent) is None:
            if self.directory.waits_over:
                self.directory.connected(agent)
            self.directory.entry(agent)
            waited = True
            registered = self.directory.registered
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await registered.wait()
        return waited


class ResumedAnswer:
    """An Upstream for the exchange, a Carrier for one pipe after the other."""

    def __init__(self, shared: Resuming, agent: str, pipe: UpstreamPipe, take: Take, again: Again) -> None:
        self._shared = shared
        self._agent = agent
        self._pipe: UpstreamPipe | None = pipe
        self._take = take
        self._again = again
        self._carrier: Carrier | None = None
        self._first = pipe.reader
        self._paused: tuple[str, ...] = ()
        self._frames: FrameReader | None = None
        """Of the pipe that is read; None: the answer is not in frames."""
        self._decoder = ChunkDecoder()
        self._place = 0
        """Behind what was passed on."""
        self._followed: str | None = None
        self._stuck_at = -1
        """Where it was when it was cut last; how long to pause before it is asked again, and until when."""
        self._pause = 0.0
        self._until = 0.0
        self._went_on_at = 0.0
        self._going_on: asyncio.Future[None] | None = None
        """A pipe was asked to go on, and has not answered yet."""
        self._task: asyncio.Task[None] | None = None

    # --- the exchange asks (Upstream) ---

    @property
    def reader(self) -> AnswerReader:
        """Of the first pipe: the others' heads are nobody's business."""
        return self._first

    def begin(self, carrier: Carrier, head: bytes, method: str, *, plain: bool = False) -> None:
        assert self._pipe is not None
        self._carrier = carrier
        self._pipe.begin(self, head, method)
        self._first = self._pipe.reader

    def write(self, data: bytes) -> None:
        if self._pipe is not None:
            self._pipe.write(data)

    def write_eof(self) -> None:
        if self._pipe is not None:
            self._pipe.write_eof()

    def tunnel(self, carrier: Carrier) -> None:
        """Nothing that is followed switches protocols."""
        self.abort()

    def pause_reading(self, reason: str) -> None:
        self._paused += (reason,)
        if self._pipe is not None:
            self._pipe.pause_reading(reason)

    def resume_reading(self, reason: str) -> None:
        self._paused = tuple(other for other in self._paused if other != reason)
        if self._pipe is not None:
            self._pipe.resume_reading(reason)

    def release(self, *, in_step: bool) -> None:
        pipe = self._leave()
        if pipe is not None:
            pipe.release(in_step=in_step)

    def abort(self) -> None:
        pipe = self._leave()
        if pipe is not None:
            pipe.abort()

    def _leave(self) -> UpstreamPipe | None:
        self._carrier = None
        if self._task is not None:
            self._task.cancel()
        pipe, self._pipe = self._pipe, None
        return pipe

    # --- the pipe tells (Carrier) ---

    def informed(self, head: ResponseHead) -> None:
        if self._carrier is not None and self._going_on is None:
            self._carrier.informed(head)

    def answered(self, head: ResponseHead) -> None:
        pipe, carrier = self._pipe, self._carrier
        if pipe is None or carrier is None:
            return
        place = head.get(FRAMES_HEADER)
        framed = head.status == 200 and place is not None and pipe.reader.framing.kind is BodyKind.CHUNKED
        if self._going_on is not None:
            self._went_on(head, framed)
            return
        if framed:
            assert place is not None
            self._frames, self._place = FrameReader(), int(place) if place.isdecimal() else 0
            self._followed = head.get(FOLLOWED_HEADER)
        carrier.answered(_without_ours(head))

    def passes(self, head: PlainHead) -> None:
        """Not asked for."""

    def carried(self, data: bytes) -> None:
        carrier = self._carrier
        if carrier is None or self._going_on is not None:  # of a refusal to go on
            return
        if self._frames is None:
            carrier.carried(data)
            return
        try:
            for after, body in self._frames.feed(self._decoder.feed(data)):
                self._place = after
                if body:
                    carrier.carried(b"%x\r\n%b\r\n" % (len(body), body))
        except RemoteProtocolError as error:
            self.abort()
            carrier.failed(UpstreamFailed(error.detail), untouched=False)

    def passed(self) -> None:
        if self._carrier is not None and self._going_on is None:
            self._carrier.passed()

    def finished(self) -> None:
        carrier = self._carrier
        if carrier is None or self._going_on is not None:
            return
        if self._frames is not None:
            if self._frames.amid:
                if self._pipe is not None:
                    self._pipe.abort()
                self.failed(UpstreamFailed("an answer in frames ended amid one"), untouched=False)
                return
            carrier.carried(b"0\r\n\r\n")
        carrier.finished()

    def failed(self, error: ProuterError, *, untouched: bool) -> None:
        carrier = self._carrier
        if carrier is None:
            return
        if self._going_on is not None:
            if not self._going_on.done():
                self._going_on.set_exception(error)
        elif self._frames is None:
            carrier.failed(error, untouched=untouched)
        elif self._frames.whole:
            self._pipe = None
            self.finished()
        else:
            self._pipe = None
            self._shared.tasks.start(f"following on agent {self._agent}", self._go_on(error))

    def only_waits(self, seconds: float) -> bool:
        return self._carrier is not None and self._carrier.only_waits(seconds)

    def body_pause(self) -> None:
        if self._carrier is not None:
            self._carrier.body_pause()

    def body_resume(self) -> None:
        if self._carrier is not None:
            self._carrier.body_resume()

    # --- over another pipe ---

    async def _go_on(self, why: ProuterError) -> None:
        task = self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        lasted = loop.time() - self._went_on_at >= GIVE_UP_SECONDS  # a job may say nothing for days
        if self._place != self._stuck_at or lasted:
            self._stuck_at, self._pause, self._until = self._place, 0.0, loop.time() + GIVE_UP_SECONDS
        try:
            while self._carrier is not None:
                if await self._shared.until_linked(self._agent):
                    self._pause, self._until = 0.0, loop.time() + GIVE_UP_SECONDS
                elif loop.time() > self._until:
                    break
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter, no secret
                self._pause = min(max(self._pause * 2, FIRST_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
                try:
                    await self._try()
                    self._went_on_at = loop.time()
                    return
                except _Refused as refused:
                    why = refused.why
                    break
                except ProuterError as error:
                    why = error
        except ProuterError as error:
            why = error
        except Exception:
            log.exception("an answer that was followed on agent %s does not go on", self._agent)
            why = UpstreamFailed("what was followed does not go on")
        finally:
            if self._task is task:
                self._task = None
        if self._carrier is not None:
            self._carrier.failed(why, untouched=False)

    async def _try(self) -> None:
        """Until another pipe goes on. Raises ProuterError where it may the next time, _Refused where it will not."""
        pipe = await self._take(True)
        going_on = self._going_on = asyncio.get_running_loop().create_future()
        self._pipe = pipe
        for reason in self._paused:
            if reason != "client":  # its head is read whoever waits
                pipe.pause_reading(reason)
        try:
            pipe.begin(self, self._again(self._place, self._followed), "GET")
            async with asyncio.timeout(ANSWER_SECONDS):
                await going_on
        except BaseException as error:
            if not going_on.done() or going_on.cancelled() or going_on.exception() is not None:
                self._pipe = None
                pipe.abort()  # else it answers, or has answered whole and is somebody else's
            if isinstance(error, TimeoutError):
                raise TimedOut(f"agent {self._agent!r} does not let go on what was followed") from None
            raise
        finally:
            if self._going_on is going_on:
                self._going_on = None

    def _went_on(self, head: ResponseHead, framed: bool) -> None:
        assert self._going_on is not None
        if self._going_on.done():
            return
        if framed:
            self._going_on.set_result(None)
            self._going_on = None  # what comes behind the head, in the same bytes, is the answer's already
            self._frames, self._decoder = FrameReader(), ChunkDecoder()
            for reason in self._paused:
                if self._pipe is not None:
                    self._pipe.pause_reading(reason)
            return
        why = UpstreamFailed(f"what was followed does not go on: the agent answers {head.status}")
        self._going_on.set_exception(why if head.status in LATER else _Refused(why))


class _Refused(Exception):
    """It will not go on, however often it is asked."""

    def __init__(self, why: UpstreamFailed) -> None:
        self.why = why
        super().__init__(why.detail)


def _without_ours(head: ResponseHead) -> ResponseHead:
    if head.get(FRAMES_HEADER) is None:
        return head
    return dataclasses.replace(head, headers=tuple(field for field in head.headers if field[0].lower() not in OURS))
