"""A server for jobs under pressure, and the bytes that it sends: each says by its value where in the stream it belongs.

It runs as a job, in the job's sandbox; tests import `part`. A path says what happens on its connection:

    GET  /big?bytes=N&as=length|chunks|close   the stream's first N bytes, in chunks of `chunk` bytes; with `die=yes`
                                               the connection closes amid it
    POST /sink?after=NAME                      reads the body, not before the file NAME is there; answers its SHA-256
    GET  /asked                                a tunnel: for each line with a number comes so much of the stream
    GET  /hang                                 no answer
    GET  /                                     how many connections wait for their peer to read, how many send a
                                               body, and how many bytes were taken of all, as JSON

`?name=X` names the connection: its end is a line in the file `ended`, with the time (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import time
from pathlib import Path
from typing import ClassVar

PERIOD = 65521
"""A prime: bytes that are lost, doubled or misplaced do not look like others."""
STREAM = random.Random(7).randbytes(PERIOD) * 20
MOST = len(STREAM) - PERIOD
"""Of which a part is made in one step."""
PIECE = 65536


def part(start: int, size: int) -> bytes:
    """So many bytes of the stream from there."""
    start %= PERIOD
    if size > MOST:
        return part(start, MOST) + part(start + MOST, size - MOST)
    return STREAM[start : start + size]


def digest(size: int) -> str:
    """SHA-256 of the stream's first bytes."""
    found, start = hashlib.sha256(), 0
    while start < size:
        found.update(part(start, min(MOST, size - start)))
        start += MOST
    return found.hexdigest()


class Visit:
    """One connection."""

    waiting: ClassVar[set[Visit]] = set()
    """Those whose peer does not take what is written."""
    sending: ClassVar[set[Visit]] = set()
    """Those that are amid a request's body."""
    taken: ClassVar[int] = 0
    """Bytes of streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.name = ""

    async def serve(self) -> None:
        try:
            while await self.one_request():
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            if self.name:
                with Path("ended").open("a") as file:
                    file.write(f"{self.name} {time.monotonic()}\n")
            self.writer.close()

    async def one_request(self) -> bool:
        """False: the connection is over."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        target = head.split(" ")[1]
        place, _, query = target.partition("?")
        asked = dict(pair.partition("=")[::2] for pair in query.split("&"))
        self.name = asked.get("name", "")
        if place == "/sink":
            self.sending.add(self)
        try:
            await getattr(self, "do_" + place.strip("/"), self.do_)(head.lower(), asked)
        finally:
            self.sending.discard(self)
        self.name = ""
        return asked.get("as") != "close"

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        self.waiting.add(self)
        try:
            await self.writer.drain()
        finally:
            self.waiting.discard(self)

    async def say(self, text: str) -> None:
        await self.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())

    async def stream(self, size: int, piece: int = PIECE, *, chunked: bool = False) -> None:
        for start in range(0, size, piece):
            data = part(start, min(piece, size - start))
            await self.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            Visit.taken += len(data)
        if chunked:
            await self.write(b"0\r\n\r\n")

    # --- what the paths do ---

    async def do_(self, head: str, asked: dict[str, str]) -> None:
        told = {"waiting": len(self.waiting), "sending": len(self.sending), "taken": self.taken}
        await self.say(json.dumps(told))

    async def do_big(self, head: str, asked: dict[str, str]) -> None:
        size, form = int(asked["bytes"]), asked.get("as", "length")
        line = {"length": f"Content-Length: {size}\r\n", "chunks": "Transfer-Encoding: chunked\r\n", "close": ""}[form]
        self.writer.write(f"HTTP/1.1 200 OK\r\n{line}\r\n".encode())
        if "die" in asked:
            await self.write(part(0, PIECE))
            raise ConnectionResetError
        await self.stream(size, int(asked.get("chunk", PIECE)), chunked=form == "chunks")

    async def do_sink(self, head: str, asked: dict[str, str]) -> None:
        while "after" in asked and not Path(asked["after"]).exists():
            await asyncio.sleep(0.02)
        found = hashlib.sha256()
        if "transfer-encoding: chunked" in head:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                found.update((await self.reader.readexactly(size + 2))[:-2])
            await self.reader.readexactly(2)
        else:
            left = int(head.partition("content-length:")[2].split("\r\n")[0])
            while left:
                data = await self.reader.read(min(left, PIECE))
                if not data:
                    raise ConnectionResetError
                found.update(data)
                left -= len(data)
        await self.say(found.hexdigest())

    async def do_asked(self, head: str, asked: dict[str, str]) -> None:
        await self.write(b"HTTP/1.1 101 Switching\r\nUpgrade: asked\r\nConnection: Upgrade\r\n\r\n")
        while line := await self.reader.readline():
            await self.stream(int(line))
        raise ConnectionResetError

    async def do_hang(self, head: str, asked: dict[str, str]) -> None:
        while await self.reader.read(PIECE):
            pass
        raise ConnectionResetError


async def main() -> None:
    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Visit(reader, writer).serve()

    server = await asyncio.start_server(visited, "127.0.0.1", int(os.environ["PORT"]), limit=4 * PIECE, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
