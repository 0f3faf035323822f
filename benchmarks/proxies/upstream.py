"""The server behind all proxies, as a program of its own: small answers, a bulk download and upload, a websocket echo.

    python upstream.py [PORT]

Without an argument it serves the port in PORT, as a job does, or tells an agent of the original kind which one it took.
As little work as possible: it is not what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
from typing import cast

HUNDRED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
LAST_HUNDRED = HUNDRED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
BLOCK = bytes(2**20)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Upstream(asyncio.Protocol):
    """One connection: GET /hundred, GET /bulk/BYTES, POST or PUT of any size, a websocket that echoes small frames."""

    def __init__(self) -> None:
        self._rest = b""
        self._upload = 0
        self._opened = False
        self._bulk = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._opened:
            self._echo(data)
            return
        if self._upload:
            taken = min(self._upload, len(data))
            self._upload -= taken
            data = data[taken:]
            if self._upload:
                return
            self._transport.write(HUNDRED)
        self._rest += data
        while not self._upload and not self._opened and (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head, self._rest = self._rest[:end], self._rest[end + 4 :]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        verb, target, _ = line.split(b" ", 2)
        lower = fields.lower()
        if b"upgrade: websocket" in lower:
            self._accept(fields)
        elif verb in (b"POST", b"PUT"):
            at = lower.index(b"content-length:") + 15
            self._upload = int(lower[at:].split(b"\r\n", 1)[0])
            rest, self._rest = self._rest, b""
            self.data_received(rest)
        elif b"/bulk/" in target:
            self._bulk = int(target.rpartition(b"/")[2])
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._bulk)
            self._pump()
        else:
            closing = b"connection: close" in lower
            self._transport.write(LAST_HUNDRED if closing else HUNDRED)
            if closing:
                self._transport.close()

    def _pump(self) -> None:
        while self._bulk and not self._paused:
            size = min(self._bulk, len(BLOCK))
            self._bulk -= size
            self._transport.write(BLOCK[:size] if size < len(BLOCK) else BLOCK)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def _accept(self, fields: bytes) -> None:
        pairs = dict(line.split(b":", 1) for line in fields.split(b"\r\n"))
        key = next(value.strip() for name, value in pairs.items() if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._opened = True
        rest, self._rest = self._rest, b""
        if rest:
            self._echo(rest)

    def _echo(self, data: bytes) -> None:
        """Small masked binary frames of one fixed mask of zeros go back without their mask."""
        self._rest += data
        out = []
        while len(self._rest) >= 6:
            size = self._rest[1] & 0x7F
            if len(self._rest) < 6 + size:
                break
            out.append(bytes((self._rest[0], size)) + self._rest[6 : 6 + size])
            self._rest = self._rest[6 + size :]
        if out:
            self._transport.write(b"".join(out))


def report(port: int) -> None:
    import urllib.parse
    import urllib.request  # only here: its import takes as long as that of all else

    query = urllib.parse.urlencode({"job_id": os.environ["DA__PAGENT__JOB_ID"], "port": port})
    with urllib.request.urlopen(f"{os.environ['DA__PAGENT__JOB_ENDPOINT']}?{query}", timeout=30) as answer:
        answer.read()


async def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ.get("PORT", "0"))
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    print("serving", flush=True)
    if port == 0:
        await asyncio.to_thread(report, server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        run = asyncio.run
    run(main())
