"""What an original sent and nobody has read yet: in memory up to a limit, then in a temporary file, then no more.

The protocol has no flow control and the link must be read on for all other calls, so a reader that is slow can not be
waited for. Used by the parts of the gateway that read a stream.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import msgpack

from prouter.core.agents.originals.alongside import alongside
from prouter.errors import NoRoom, ProuterError
from prouter.rpc.calls import Call
from prouter.rpc.streams import Budget

READ_BYTES = 1024 * 1024
"""Of the file at once."""
VALUE_COST_BYTES = 64
"""What a value costs besides its bytes."""
UNICODE_ERRORS = "surrogateescape"
"""As the link reads them: a text with bytes that are no UTF-8 comes out as it came in."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SpillLimits:
    """Of one stream, and of the files of all together."""

    memory_bytes: int
    file_bytes: int
    all_files: Budget
    directory: str | None = None
    """Of the temporary files; None: the system's."""


class Spill:
    """Values in order. One task puts, another receives."""

    def __init__(self, limits: SpillLimits) -> None:
        self._limits = limits
        self._memory: deque[Any] = deque()
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._file_lock = asyncio.Lock()
        self._file_work: asyncio.Future[Any] | None = None
        """Of a thread; the file is not closed under it."""
        self._written_bytes = 0
        self._read_bytes = 0
        self._taken_bytes = 0
        """Of the budget for all files."""
        self._unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, max_buffer_size=0, unicode_errors=UNICODE_ERRORS
        )
        self._ended = False
        self._error: ProuterError | None = None
        self._changed = asyncio.Event()

    async def put(self, values: Sequence[Any]) -> None:
        """Never waits for the reader. Raises NoRoom when more than the limits waits for it, or the disk is full."""
        async with self._file_lock:
            packed = bytearray()
            for value in values:
                cost = _cost_bytes(value)
                fits = not self._memory or self._held_bytes + cost <= self._limits.memory_bytes
                if fits and not self._spilled and not packed:
                    self._memory.append(value)
                    self._held_bytes += cost
                else:
                    packed += msgpack.packb(value, unicode_errors=UNICODE_ERRORS)
            if packed:
                await self._write(bytes(packed))
        self._changed.set()

    def end(self, error: ProuterError | None = None) -> None:
        """No more comes; `error` is raised behind what is here."""
        self._ended, self._error = True, error
        self._changed.set()

    async def receive(self) -> Any:
        """The oldest value, None at the end. Raises the error with which the stream ended."""
        while not self._memory:
            if self._spilled:
                await self._read()
            elif self._ended:
                if self._error is not None:
                    raise self._error
                return None
            else:
                self._changed.clear()
                await self._changed.wait()
        value = self._memory.popleft()
        self._held_bytes -= _cost_bytes(value)
        return value

    async def values(self) -> AsyncIterator[Any]:
        """Until the end."""
        while (value := await self.receive()) is not None:
            yield value

    async def close(self) -> None:
        self._give_back()
        if self._file_work is not None:
            await asyncio.wait((self._file_work,))
        if self._file is not None:
            self._file.close()

    def _give_back(self) -> None:
        self._limits.all_files.give(self._taken_bytes)
        self._taken_bytes = 0

    @property
    def _spilled(self) -> bool:
        return self._read_bytes < self._written_bytes

    async def _write(self, packed: bytes) -> None:
        if self._written_bytes + len(packed) > self._limits.file_bytes:
            raise NoRoom("the client reads too slowly: more waits for it than the router keeps of one stream")
        if not self._limits.all_files.take(len(packed)):
            raise NoRoom("clients read too slowly: more waits for all of them than the router keeps")
        self._taken_bytes += len(packed)
        try:
            await self._in_thread(lambda: self._write_now(packed))
        except OSError as error:
            raise NoRoom(f"what a slow client has not read can not be kept: {error.strerror}") from error
        self._written_bytes += len(packed)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._file_work = done = asyncio.ensure_future(asyncio.to_thread(work))
        return await asyncio.shield(done)

    def _write_now(self, packed: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 -- closed by close()
                prefix="prouter-", buffering=0, dir=self._limits.directory
            )
        self._file.seek(self._written_bytes)
        rest = memoryview(packed)
        while rest:
            rest = rest[self._file.write(rest) :]

    async def _read(self) -> None:
        async with self._file_lock:
            block = await self._in_thread(self._read_now)
            self._read_bytes += len(block)
            if not self._spilled:  # all was read: the file begins anew
                self._read_bytes = self._written_bytes = 0
                self._give_back()
            self._unpacker.feed(block)
            for value in self._unpacker:
                self._memory.append(value)
                self._held_bytes += _cost_bytes(value)

    def _read_now(self) -> bytes:
        assert self._file is not None
        self._file.seek(self._read_bytes)
        block = self._file.read(min(READ_BYTES, self._written_bytes - self._read_bytes))
        if self._read_bytes + len(block) == self._written_bytes:
            self._file.truncate(0)  # its room is given back, and may be somebody else's
        return block


def _cost_bytes(value: Any) -> int:
    """Of a stream's values nearly all are texts and bytes; what else comes is small, or counted by its packed form."""
    size = len(value) if isinstance(value, str | bytes) else len(msgpack.packb(value, unicode_errors=UNICODE_ERRORS))
    return size + VALUE_COST_BYTES


@asynccontextmanager
async def spilled(call: Call, limits: SpillLimits) -> AsyncIterator[Spill]:
    """The callee's stream of `call`, read on in the background for as long as the context lasts.

    Raises NoRoom in the middle of it when more waits than the limits allow.
    """
    spill = Spill(limits)
    try:
        async with alongside(_fill(spill, call), f"stream of {call.method}"):
            yield spill
    finally:
        await spill.close()


async def _fill(spill: Spill, call: Call) -> None:
    """Raises NoRoom, which ends whoever reads: it may be waiting for its client just now."""
    try:
        while (value := await call.receive()) is not None:
            await spill.put([value, *call.waiting()])
    except NoRoom:
        raise
    except ProuterError as error:
        spill.end(error)
    else:
        spill.end()
