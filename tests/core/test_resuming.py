"""An answer that goes on over another pipe: whose that pipe is, and how often it may be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from prouter.core import resuming
from prouter.core.resuming import ResumedAnswer, Resuming
from prouter.errors import LinkClosed, ProuterError
from prouter.http1.framing import BodyKind
from prouter.model.frames import FRAMES_HEADER, frame
from prouter.model.http import ResponseHead
from prouter.pluginkit.tasks import TaskOwner
from prouter.testing import eventually

FRAMED = ResponseHead(200, "OK", ((FRAMES_HEADER, "0"),))
CUT = LinkClosed("the pipe was cut")
GIVE_UP_SECONDS = 0.3


class Pipe:
    """What the answer asks of one, and what became of it."""

    def __init__(self) -> None:
        self.reader = SimpleNamespace(framing=SimpleNamespace(kind=BodyKind.CHUNKED))
        self.carrier: Any = None
        self.released = self.aborted = False

    def begin(self, carrier: Any, head: bytes, method: str) -> None:
        self.carrier = carrier

    def release(self, *, in_step: bool) -> None:
        self.released = True

    def abort(self) -> None:
        self.aborted = True


class Client:
    """Who reads the answer; lets go of it when it is whole, as an exchange does."""

    answer: ResumedAnswer

    def __init__(self) -> None:
        self.body = b""
        self.ended: ProuterError | bool = False

    def answered(self, head: ResponseHead) -> None: ...

    def carried(self, data: bytes) -> None:
        self.body += data

    def finished(self) -> None:
        self.ended = True
        self.answer.release(in_step=True)

    def failed(self, error: ProuterError, *, untouched: bool) -> None:
        self.ended = error


class Follow:
    """An answer that has begun, over pipes that are given out in order."""

    def __init__(self, tasks: TaskOwner) -> None:
        self.pipes: list[Pipe] = [Pipe()]
        self.client = Client()
        directory: Any = SimpleNamespace(linked=lambda agent: object())
        first: Any = self.pipes[0]
        self.answer = self.client.answer = ResumedAnswer(
            Resuming(directory, tasks), "a", first, self._take, lambda place, followed: b"again"
        )
        self.answer.begin(self.client, b"head", "GET")  # type: ignore[arg-type]
        self.pipes[0].carrier.answered(FRAMED)

    async def _take(self, fresh: bool) -> Any:
        self.pipes.append(Pipe())
        return self.pipes[-1]

    async def goes_on(self) -> None:
        """It was cut just now; a pipe is asked to go on, and does."""
        before = len(self.pipes)
        self.pipes[-1].carrier.failed(CUT, untouched=False)
        await eventually(lambda: self.client.ended or (len(self.pipes) > before and self.pipes[-1].carrier))
        if not self.client.ended:
            self.pipes[-1].carrier.answered(FRAMED)


@pytest.fixture
async def follow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Follow]:
    monkeypatch.setattr(resuming, "GIVE_UP_SECONDS", GIVE_UP_SECONDS)
    tasks = TaskOwner("test")
    try:
        yield Follow(tasks)
    finally:
        await tasks.close(5)


async def test_a_pipe_that_was_given_back_is_not_reset_by_who_waited_for_it(follow: Follow) -> None:
    await follow.goes_on()
    pipe = follow.pipes[-1]  # all in the step in which its head came: whoever asked for it has not been told yet
    pipe.carrier.carried(b"%x\r\n%b\r\n0\r\n\r\n" % (len(said := frame(4, b"said")), said))
    pipe.carrier.finished()
    assert pipe.released
    for _ in range(10):
        await asyncio.sleep(0)
    assert not pipe.aborted, "somebody else has it by now"
    assert follow.client.body == b"4\r\nsaid\r\n0\r\n\r\n"


async def test_a_pipe_that_does_not_go_on_is_reset(follow: Follow) -> None:
    follow.pipes[-1].carrier.failed(CUT, untouched=False)
    await eventually(lambda: len(follow.pipes) > 1 and follow.pipes[-1].carrier)
    follow.answer.abort()
    await eventually(lambda: follow.pipes[-1].aborted)


async def test_what_is_silent_for_long_may_be_cut_any_number_of_times(follow: Follow) -> None:
    for _ in range(4):
        await follow.goes_on()
        assert not follow.client.ended
        await asyncio.sleep(GIVE_UP_SECONDS * 1.2)  # it lasts
    assert not follow.client.ended


async def test_what_is_cut_again_and_again_at_one_place_is_given_up(follow: Follow) -> None:
    async with asyncio.timeout(20):
        while not follow.client.ended:
            await follow.goes_on()
    assert follow.client.ended is CUT
