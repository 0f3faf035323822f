"""A bad network between two daemons: a TCP relay that delays, throttles, tears into pieces, falls silent and cuts.

Belongs here: what a line does to bytes that it does not understand, and a port that is nobody else's. Does not: peers
that misbehave (fake_agent.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65536
CHUNKS_UNDER_WAY = 16
"""In each direction of a connection; the sender waits then, as on a real line."""
LATE_SECONDS = 0.001
Chunk = tuple[float, bytes]
"""When it is due at the other end (the loop's time), and what; empty at the end of the stream."""


@contextlib.contextmanager
def reserved_port(port: int = 0) -> Iterator[int]:
    """A TCP port of 127.0.0.1 for a server that is started later, or again: for as long as this is open no connection
    and no other server is given it by chance. With `port` it is that one, which nobody may listen on now.

    The server must bind with SO_REUSEADDR, as asyncio and all servers in use do. Raises OSError when it is taken.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        yield held.getsockname()[1]


class Direction:
    """What the line does to bytes that go one way. All can be changed while bytes are under way."""

    def __init__(self, seed: int) -> None:
        self.delay_seconds = 0.0
        """How long a byte is under way; it costs no throughput."""
        self.bytes_per_second: float | None = None
        """The most that passes on each connection; None: all."""
        self.pieces: Sequence[int] = (CHUNK_BYTES,)
        """Bytes are passed on in pieces of one of these sizes, by chance."""
        self.late = 0.0
        """How many of the pieces (0 to 1) come a moment late."""
        self.passed = 0
        """Bytes until now."""
        self._flows = asyncio.Event()
        self._flows.set()
        self._random = random.Random(seed)  # noqa: S311 -- chance that can be repeated, no secret

    def fall_silent(self) -> None:
        """Connections stay open and nothing passes, not even their end, as on a dead line."""
        self._flows.clear()

    def flow(self) -> None:
        """What was held back comes now."""
        self._flows.set()

    def piece_bytes(self) -> int:
        return self._random.choice(self.pieces)

    async def hold_back(self, chunk: Chunk) -> None:
        """Until it may come out at the other end."""
        due_at, data = chunk
        if self.late and self._random.random() < self.late:
            await asyncio.sleep(LATE_SECONDS)
        if self.bytes_per_second is not None and data:
            await asyncio.sleep(len(data) / self.bytes_per_second)
        await asyncio.sleep(max(0.0, due_at - asyncio.get_running_loop().time()))
        await self._flows.wait()


class BrokenNetwork:
    """A line to `target`; who is to use it dials `address` instead. An async context manager.

    `there` is what goes to the target, `back` what comes from it. `cut_after` bytes, both ways together, all is cut
    once; `seed` makes what happens by chance happen again.
    """

    def __init__(self, target: tuple[str, int], *, cut_after: int | None = None, seed: int = 0) -> None:
        self.there = Direction(seed)
        self.back = Direction(seed + 1)
        self.connections = 0
        """How many were taken until now."""
        self._target = target
        self._left = cut_after
        self._refuses = False
        self._open: dict[asyncio.Task[None], None] = {}
        """Oldest first."""
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None, "use it as an async context manager"
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    @property
    def authority(self) -> str:
        """The address as a setting takes it: "127.0.0.1:9000"."""
        return "{}:{}".format(*self.address)

    def fall_silent(self) -> None:
        """In both directions; either may fall silent alone."""
        self.there.fall_silent()
        self.back.fall_silent()

    def flow(self) -> None:
        self.there.flow()
        self.back.flow()

    def cut(self, which: slice = slice(None)) -> None:
        """Reset the connections that there are, or some of them, counted from the oldest; new ones are taken."""
        for task in list(self._open)[which]:
            task.cancel()

    def refuse(self) -> None:
        """Cut, and reset what comes from now on, as when nobody listens there."""
        self._refuses = True
        self.cut()

    def take_again(self) -> None:
        self._refuses = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        while self._open:
            await asyncio.wait(self._open)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = None
        self.connections += 1
        writers, clean = [writer], False
        try:
            if self._refuses:
                return
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, self.there))
                group.create_task(self._pump(far_reader, writer, self.back))
            clean = True
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.pop(task, None)
            for each in writers:
                _end(each, reset=not clean)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction) -> None:
        """Until the end of the stream has been passed on."""
        under_way: asyncio.Queue[Chunk] = asyncio.Queue(CHUNKS_UNDER_WAY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(reader, under_way, way))
            while True:
                chunk = await under_way.get()
                await way.hold_back(chunk)
                if not chunk[1]:
                    break
                writer.write(chunk[1])
                await writer.drain()
                self._count(way, len(chunk[1]))
        if writer.can_write_eof():
            writer.write_eof()

    async def _read(self, reader: asyncio.StreamReader, under_way: asyncio.Queue[Chunk], way: Direction) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data = await reader.read(way.piece_bytes())
            await under_way.put((loop.time() + way.delay_seconds, data))
            if not data:
                return

    def _count(self, way: Direction, size: int) -> None:
        way.passed += size
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                self._left = None
                self.cut()


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    sock = writer.get_extra_info("socket")
    if reset and sock is not None:
        with contextlib.suppress(OSError):  # closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
