"""R6: a guardian died, and the agent has no means to look for what it left: it looks again until it has."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from prouter.agent.guard import running
from prouter.agent.guard.running import GuardedTree


class Closed:
    """A connection that is none any more."""

    transport = SimpleNamespace(abort=lambda: None)

    def is_closing(self) -> bool:
        return True


async def test_the_job_ends_once_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOOK_SECONDS", 0.001)
    looks: list[Any] = [OSError(errno.EMFILE, "too many"), RuntimeError("no thread"), [os.getpid()], ()]
    monkeypatch.setattr(running, "LOOKS", 1)

    async def end_rest() -> Collection[int]:
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    writer: Any = Closed()
    tree = GuardedTree(1, 1, "", writer, end_hard=lambda *guardian: None, end_rest=end_rest)
    reader = asyncio.StreamReader()
    reader.feed_eof()
    async with asyncio.timeout(10):
        following = asyncio.ensure_future(tree.follow(reader))
        assert await tree.last_output(3) == ""
        assert (await tree.wait()).reason == "agent-lost"
        await following
    assert not looks
