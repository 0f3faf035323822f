"""A client that sends exact bytes and sees exact bytes, and how its connection ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    status: int
    lines: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.lines if key == name]

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(SECONDS):
            return await self.reader.readexactly(count)

    async def some(self) -> bytes:
        """What came; nothing at the end."""
        async with asyncio.timeout(SECONDS):
            return await self.reader.read(65536)

    async def head(self) -> Answer:
        async with asyncio.timeout(SECONDS):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        pairs = [line.split(":", 1) for line in lines]
        return Answer(int(first.split(" ")[1]), [(name.lower(), value.strip()) for name, value in pairs])

    async def answer(self, *, method: str = "GET") -> Answer:
        """With its body, if that has a length."""
        head = await self.head()
        bodyless = method == "HEAD" or head.status in (204, 304) or head.status < 200
        body = b"" if bodyless else await self.exactly(int(head.get("content-length") or "0"))
        return Answer(head.status, head.lines, body)

    async def rest(self) -> tuple[bytes, str]:
        """What still comes, and whether the connection ended with "end" (FIN) or "reset"."""
        data = bytearray()
        async with asyncio.timeout(SECONDS):
            try:
                while part := await self.reader.read(65536):
                    data += part
            except ConnectionError:
                return bytes(data), "reset"
        return bytes(data), "end"

    def reset(self) -> None:
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def wired(host: str, port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
