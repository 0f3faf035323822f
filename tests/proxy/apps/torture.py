"""A web server that says what tests want, byte by byte, and writes down what it hears, byte by byte.

It runs as a job, in the job's sandbox. `heard/N` is all that came on its Nth connection. `/say/NAME?then=WHAT` sends
the file NAME and then waits (`keep`, for the next request), closes, resets, hangs, sends back what comes (`echo`), or
kills its own process. Every path that is not named here is answered with the request's head as it came.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import struct
from pathlib import Path

from listening_jobs import listening_everywhere

HEARD = Path("heard")


class Visit:
    """One connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.file = (HEARD / str(number)).open("wb", buffering=0)
        self.patience: float | None = None
        """Seconds without a request after which it closes."""

    def heard(self, data: bytes) -> bytes:
        self.file.write(data)
        return data

    async def serve(self) -> None:
        try:
            while await self.one_request():
                pass
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            self.file.close()
            self.writer.close()

    async def one_request(self) -> bool:
        """False: the connection is over."""
        async with asyncio.timeout(self.patience):
            head = self.heard(await self.reader.readuntil(b"\r\n\r\n"))
        place, _, query = head.split(b" ")[1].decode().partition("?")
        name = place.strip("/").partition("/")[0]
        handler = getattr(self, "do_" + name, None)
        if handler is None:
            await self.answer(head, await self.body(head))
            return True
        return bool(await handler(head, place, dict(pair.partition("=")[::2] for pair in query.split("&"))))

    async def answer(self, content: bytes, body: bytes = b"") -> None:
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content + body) + content + body)
        await self.writer.drain()

    async def body(self, head: bytes) -> bytes:
        """Framed as it came."""
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        if b"transfer-encoding" in lines:
            return await self.chunked()
        return self.heard(await self.reader.readexactly(int(lines.get(b"content-length", b"0"))))

    async def chunked(self) -> bytes:
        """A chunked body with its framing and trailers."""
        came = b""
        while True:
            line = self.heard(await self.reader.readuntil(b"\n"))
            size = int(line.partition(b";")[0], 16)
            came += line
            if not size:
                break
            came += self.heard(await self.reader.readexactly(size + 2))
        while line != b"\r\n":
            line = self.heard(await self.reader.readuntil(b"\n"))
            came += line
        return came

    # --- what the paths do ---

    async def do_say(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        self.writer.write(Path(place.rpartition("/")[2]).read_bytes())
        await self.writer.drain()
        match query.get("then"):
            case "keep":
                return True
            case "reset":
                self.reset()
            case "hang":
                await self.until_gone()
            case "echo":
                while data := self.heard(await self.reader.read(65536)):
                    self.writer.write(data)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "killed-by-test":
                Path("ready").touch()
                await self.until_gone()
        return False

    async def do_big(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        left = int(query["bytes"])
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        while left:
            part = min(left, 65536)
            self.writer.write(b"x" * part)
            await self.writer.drain()
            left -= part
        return True

    async def do_counted(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        """So many blocks of 64 KiB, each of which is its number over and over."""
        blocks = int(query["blocks"])
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks * 65536))
        for number in range(blocks):
            self.writer.write(number.to_bytes(8, "big") * 8192)
            await self.writer.drain()
        return True

    async def do_sink(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        digest, left = hashlib.sha256(), int(query["bytes"])
        while left:
            data = await self.reader.read(min(left, 65536))
            digest.update(data)
            left -= len(data)
        await self.answer(digest.hexdigest().encode())
        return True

    async def do_early(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        """Answers before it read the body, which it never does."""
        self.writer.write(b"HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nstop")
        await self.until_gone_unread()
        return False

    async def do_expect(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        self.writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        await self.answer(await self.body(head))
        return True

    async def do_events(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        """The second event is sent when the file `go` is there."""
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n")
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        self.writer.write(b"data: two\n\n")
        return False

    async def do_final(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        """Says no to a body that waits for a 100, and would read on."""
        self.writer.write(b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno")
        return True

    async def do_tunnel(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        """Another protocol: what comes is sent back, and the end too."""
        self.writer.write(
            b"HTTP/1.1 101 Switching\r\nUpgrade: torture\r\nConnection: Upgrade\r\nX-Own: yes\r\n\r\nhi\0"
        )
        while data := self.heard(await self.reader.read(65536)):
            self.writer.write(data)
        self.writer.write(b"bye")
        return False

    async def do_once(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        """Lets itself be kept, and closes as soon as a second request is there; or resets, or has begun to answer."""
        await self.answer(b"first", await self.body(head))
        self.heard(await self.reader.readuntil(b"\r\n\r\n"))
        if query.get("then") == "reset":
            self.reset()
        elif query.get("then") == "begin":
            self.writer.write(b"HTTP/1.1 2")
        return False

    async def do_fickle(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        """Lets itself be kept for some milliseconds."""
        await self.answer(head, await self.body(head))
        self.patience = float(query["ms"]) / 1000
        return True

    async def do_mute(self, head: bytes, place: str, query: dict[str, str]) -> bool:
        """Closes without a byte of an answer."""
        return False

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_gone(self) -> None:
        """Writes the file `gone` when the peer is."""
        try:
            while await self.reader.read(65536):
                pass
        finally:
            Path("gone").touch()

    async def until_gone_unread(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)


async def main() -> None:
    HEARD.mkdir(exist_ok=True)
    count = 0

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await Visit(count, reader, writer).serve()

    servers = [await asyncio.start_server(visited, sock=sock) for sock in listening_everywhere()]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
