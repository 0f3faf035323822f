"""A pipe as a plain stream of bytes to a job's port, for bridges that speak something else than one HTTP exchange."""

from __future__ import annotations

import asyncio

from prouter.errors import TimedOut, UpstreamFailed
from prouter.pipe.alive import is_deaf
from prouter.pipe.bind import MAX_LINE_BYTES, parse_verdict
from prouter.pipe.reset import reset
from prouter.pipe.upstream import refusal

BUFFER_BYTES = 65536
"""Read ahead of whoever reads the stream."""


class PipeStream:
    """Bytes both ways. Implements model.router_services.JobStream."""

    def __init__(self, transport: asyncio.Transport, leftover: bytes) -> None:
        self._reader = asyncio.StreamReader(max(BUFFER_BYTES, MAX_LINE_BYTES))
        protocol = asyncio.StreamReaderProtocol(self._reader)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, asyncio.get_running_loop())
        if leftover:
            self._reader.feed_data(leftover)
        if not transport.is_reading():
            transport.resume_reading()

    async def bind(self, line: bytes) -> None:
        """Until the agent says that the port accepted. Raises what its refusal means."""
        self._writer.write(line)
        try:
            verdict = await self._reader.readline()
        except (OSError, ValueError) as error:  # reset, or a line without an end
            raise UpstreamFailed("the agent broke the pipe off before it was bound") from error
        if not verdict.endswith(b"\n"):
            raise UpstreamFailed("the agent closed the pipe before it was bound")
        refused = parse_verdict(verdict[:-1])
        if refused is not None:
            raise refusal(refused)

    async def read(self) -> bytes:
        """What came, at least a byte; empty at the job's clean end. Raises ConnectionError when it was cut."""
        return await self._reader.read(BUFFER_BYTES)

    async def write(self, data: bytes) -> None:
        """Waits while the job does not read. Raises ConnectionError."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """What was written still goes out."""
        self._writer.close()

    def abort(self) -> None:
        """The job sees a reset."""
        reset(self._writer.transport)

    # --- a link that ended (outlived.Busy) ---

    @property
    def over(self) -> bool:
        return self._writer.transport.is_closing()

    def is_deaf(self, silent_seconds: float) -> bool:
        return is_deaf(self._writer.transport, silent_seconds)

    def cut(self, error: TimedOut) -> None:
        self.abort()

    def give_up(self, error: TimedOut, waited_seconds: float) -> None:
        """What it carries is not known here."""
