"""Clients that call without end while something breaks, each call with a deadline, and what came of their calls.

Belongs here: what a client is promised of one call (a result, or an error that says whether to retry; an end in time).
Does not: what breaks, and when.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

ROOM = 3.0
"""A deadline of a test is so many times what is promised: the machine may be busy."""


class Kept(Exception):
    """A promise of a call was not kept."""


class Calls:
    """Counts outcomes; `broken` are promises that were not kept, in words. Its session keeps connections.

    `never_refused`: nothing that is asked about is lost, so every error is to say that asking again is right.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, *, never_refused: bool = False) -> None:
        self.session = session
        self.url = url
        self._never_refused = never_refused
        self.outcomes: Counter[tuple[str, int]] = Counter()
        self.broken: list[str] = []
        self.slowest: dict[str, float] = {}

    async def __call__(
        self, name: str, verb: str, path: str, *, seconds: float, retry: bool = False, **options: Any
    ) -> tuple[int, bytes]:
        """Status and body. `retry`: until it is no error that may be retried; a call that was cut has the status 0."""
        while True:
            status, body = await self._once(name, verb, path, seconds, options)
            if not retry or not may_be_retried(status, body):
                return status, body
            await asyncio.sleep(0.02)

    def slowest_of_others(self) -> float:
        """Seconds; of the calls that are to end within 2 s."""
        return max(self.slowest[name] for name in self.slowest.keys() - {"wait", "proxied"})

    async def _once(
        self, name: str, verb: str, path: str, seconds: float, options: dict[str, Any]
    ) -> tuple[int, bytes]:
        begun = time.monotonic()
        status, body = 0, b""
        if isinstance(options.get("data"), bytes):
            options = options | {"data": io.BytesIO(options["data"])}
        try:
            async with (
                asyncio.timeout(seconds * ROOM),
                self.session.request(verb, self.url + path, **options) as answer,
            ):
                body = await answer.read()
                status = answer.status
        except TimeoutError:
            self.broken.append(f"{name} had not ended after {seconds * ROOM:g} s")
        except aiohttp.ClientError:
            pass  # cut, and visibly so
        self.outcomes[name, status] += 1
        self.slowest[name] = max(self.slowest.get(name, 0.0), time.monotonic() - begun)
        if status >= 400:
            self._look_at(name, status, body)
        return status, body

    def _look_at(self, name: str, status: int, body: bytes) -> None:
        """An error says whether to ask again; that it is right to where it is not the client's own."""
        problem = problem_in(body)
        told = problem.get("retryable")
        begun = name == "proxied" and problem.get("type") == "urn:prouter:upstream"  # nobody knows whether it was done
        if not isinstance(told, bool):
            self.broken.append(f"{name}: {status} {body[:200]!r} does not say whether to ask again")
        elif not told and not begun and (status >= 500 or self._never_refused):
            self.broken.append(f"{name}: {status} {problem}")


def problem_in(body: bytes) -> dict[str, Any]:
    """Empty where there is none."""
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def may_be_retried(status: int, body: bytes) -> bool:
    """Whether a client that follows what it is told asks again; what was cut it does."""
    return status == 0 or (status >= 400 and problem_in(body).get("retryable") is True)


@asynccontextmanager
async def calling(*callers: Callable[[], Awaitable[None]], pause_seconds: float = 0) -> AsyncIterator[None]:
    """Each again and again until the context ends; what one raises ends the test."""
    over = asyncio.Event()

    async def again(caller: Callable[[], Awaitable[None]]) -> None:
        while not over.is_set():
            await caller()
            await asyncio.sleep(pause_seconds)

    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(again(caller))
        try:
            yield
        finally:
            over.set()
