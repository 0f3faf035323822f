"""Looking whether a job serves: who listens, does it accept, does its ready path answer. No waiting without a caller's
deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from prouter.errors import PortNotServed
from prouter.model.drivers import Running

LOOPBACK = "127.0.0.1"
"""Where ports are picked. A job may listen on ::1 as well."""
FIRST_LOOK_SECONDS = 0.01
LONGEST_LOOK_SECONDS = 0.2
"""Between two looks at a port that is not served yet: short at first, since most programs start quickly."""
TAKEN_LOOKS = 5
"""In a row, until a port on which somebody listens that does not belong to the job counts as taken."""
READY_SECONDS = 5.0
"""For one answer of the job's ready path."""
ASKED_AT_ONCE = 16
"""Ports of one job that may be the one which serves: who does not answer holds up nobody else."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[], Awaitable[Stream]]
"""A connection to the job's port. Raises OSError."""


def tcp(number: int, host: str = LOOPBACK) -> Open:
    """To a port on the loopback."""
    return lambda: asyncio.open_connection(host, number)


def pauses() -> Iterator[float]:
    """Seconds between two looks, for ever."""
    pause = FIRST_LOOK_SECONDS
    while True:
        yield pause
        pause = min(pause * 1.25, LONGEST_LOOK_SECONDS)


async def until_listening(number: int, running: Running) -> str:
    """Until the job's own tree can be reached there; at which address of the loopback.

    Raises PortNotServed at once when somebody else answers there: the job will not get that port any more.
    """
    taken = 0
    for pause in pauses():
        hosts = (await running.ports(number)).get(number)
        found = await first_accepting(number, hosts or ())
        if found is not None:
            return found
        if not hosts and await accepts(tcp(number)):
            taken += 1  # the owner of a socket may just be forking
            if taken > TAKEN_LOOKS:
                why = "" if hosts is None else f"; the job listens there on neither {LOOPBACK} nor ::1"
                raise PortNotServed(f"port {number} was taken by a program that does not belong to the job{why}")
        else:
            taken = 0
        await asyncio.sleep(pause)
    raise AssertionError("pauses never end")


async def until_detected(running: Running, excepted: frozenset[int]) -> tuple[int, str]:
    """The port that the tree listens on, and at which address of the loopback; of several the lowest that answers HTTP.

    `excepted` are told to it by us.
    """
    for pause in pauses():
        reachable = []
        for number, hosts in sorted((await running.ports()).items()):
            host = await first_accepting(number, hosts) if number not in excepted else None
            if host is not None:
                reachable.append((number, host))
        if len(reachable) == 1:
            return reachable[0]
        asked = reachable[:ASKED_AT_ONCE]
        answers = await asyncio.gather(*[status(tcp(number, host), "/") for number, host in asked])
        for where, answer in zip(asked, answers, strict=True):
            if answer:
                return where
        await asyncio.sleep(pause)
    raise AssertionError("pauses never end")


async def first_accepting(number: int, hosts: Sequence[str]) -> str | None:
    """The first of the addresses at which a connection is accepted now."""
    for host in hosts:
        if await accepts(tcp(number, host)):
            return host
    return None


async def until_accepting(connect: Open) -> None:
    """Until a connection is accepted."""
    for pause in pauses():
        if await accepts(connect):
            return
        await asyncio.sleep(pause)


async def until_ready(connect: Open, path: str) -> None:
    """Until GET on that path is answered below 500."""
    for pause in pauses():
        if 100 <= await status(connect, path) < 500:
            return
        await asyncio.sleep(pause)


async def accepts(connect: Open) -> bool:
    """Whether a connection is accepted now."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            _, writer = await connect()
    except OSError:  # TimeoutError is an OSError
        return False
    writer.transport.abort()
    return True


async def status(connect: Open, path: str) -> int:
    """The status of one GET; 0 for everything that is no answer."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            reader, writer = await connect()
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("ascii"))
                line = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, ValueError):
        return 0
    parts = line.split(b" ", 2)
    valid = len(parts) >= 2 and parts[0].startswith(b"HTTP/1.") and len(parts[1]) == 3 and parts[1].isdigit()
    return int(parts[1]) if valid else 0
