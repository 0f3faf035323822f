"""The websocket client, as a program of its own: round trips of small messages, or many connections that are idle.

python sockets.py echo HOST PORT PATH COUNT SECONDS     prints round trips a second and percentiles, as JSON
python sockets.py idle HOST PORT PATH COUNT             prints "open" once all are, ends with its standard input

A connection that does not open or does not stay, and an echo that is not what was sent, are errors that are counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import cast

PAYLOAD = b"x" * 64
FRAME = bytes((0x82, 0x80 | len(PAYLOAD))) + bytes(4) + PAYLOAD
BACK = bytes((0x82, len(PAYLOAD))) + PAYLOAD
AT_ONCE = 50
"""Handshakes under way."""


class Talk(asyncio.Protocol):
    """One connection: a message, its echo, the next message."""

    def __init__(self, head: bytes, times: list[float] | None) -> None:
        self._head = head
        self._times = times
        self._got = b""
        self._sent_at = 0.0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False
        self.wrong = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._head)
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self._rest += data
            if b"\r\n\r\n" in self._rest:
                if b" 101 " not in self._rest.split(b"\r\n", 1)[0]:
                    self.opened.set_exception(RuntimeError(self._rest[:200].decode("latin-1")))
                else:
                    self.opened.set_result(None)
            return
        got = self._got + data if self._got else data
        if len(got) < len(BACK) or self._times is None:
            self._got = got
            return
        self._got = b""
        self._times.append(time.perf_counter() - self._sent_at)
        self.wrong += got != BACK
        self.send()

    def send(self) -> None:
        self._sent_at = time.perf_counter()
        self.transport.write(FRAME)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed before it was open"))


async def connect(host: str, port: int, path: str, count: int, times: list[float] | None) -> tuple[list[Talk], int]:
    """Those that are open, and how many are not."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one() -> Talk:
        async with gate:
            _, talk = await loop.create_connection(lambda: Talk(head, times), host, port)
            await talk.opened
            return talk

    found = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
    failed = [one for one in found if isinstance(one, BaseException)]
    for error in failed[:1]:
        print(f"{len(failed)} websockets did not open, the first: {error!r}", file=sys.stderr, flush=True)
    return [one for one in found if isinstance(one, Talk)], len(failed)


async def echo(host: str, port: int, path: str, count: int, seconds: float) -> None:
    times: list[float] = []
    talks, failed = await connect(host, port, path, count, times)
    begun = time.perf_counter()
    for talk in talks:
        talk.send()
    await asyncio.sleep(seconds)
    passed = time.perf_counter() - begun
    bad = failed + sum(talk.lost + talk.wrong for talk in talks)
    done = sorted(times)
    told = {"rate": len(done) / passed, "errors": bad, "count": len(done)}
    if done:
        told |= {"p50_ms": done[len(done) // 2] * 1e3, "p99_ms": done[int(len(done) * 0.99)] * 1e3}
    print(json.dumps(told), flush=True)
    os._exit(0)


async def idle(host: str, port: int, path: str, count: int) -> None:
    talks, failed = await connect(host, port, path, count, None)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"errors": failed + sum(talk.lost for talk in talks)}), flush=True)
    os._exit(0)


def main() -> None:
    what, host, port, path, count, *rest = sys.argv[1:]
    work = (
        echo(host, int(port), path, int(count), float(rest[0]))
        if what == "echo"
        else idle(host, int(port), path, int(count))
    )
    try:
        import uvloop

        uvloop.run(work)
    except ImportError:
        asyncio.run(work)


if __name__ == "__main__":
    main()
