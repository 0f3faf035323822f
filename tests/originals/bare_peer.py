"""A peer of the protocol made of single messages, for what no router and no agent does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgpack

SUBPROTOCOL = "v1.prpc.datadvance"
ANSWER_SECONDS = 15.0


class BarePeer:
    """One link that this side dialed. `closed` is the code with which the other side ended it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def say(self, *fields: Any) -> None:
        await self._socket.send_bytes(msgpack.packb(list(fields)))

    async def say_raw(self, data: bytes | str) -> None:
        await (self._socket.send_str(data) if isinstance(data, str) else self._socket.send_bytes(data))

    async def hear(self) -> list[Any]:
        """The next message; a result's value is unpacked."""
        async with asyncio.timeout(ANSWER_SECONDS):
            got = await self._socket.receive()
        assert got.type is aiohttp.WSMsgType.BINARY, got
        fields: list[Any] = msgpack.unpackb(got.data, raw=False)
        if fields[0] == 7 and fields[2] is not None:
            fields[2] = msgpack.unpackb(fields[2], raw=False)
        return fields

    async def call(self, call_id: int, method: str, *args: Any, call_type: int = 20) -> list[Any]:
        """Begin a call and hear the next message."""
        await self.say(2, call_id, call_type, method, list(args), {})
        return await self.hear()

    async def leave(self) -> None:
        await self._socket.close()

    async def closed(self) -> int | None:
        """The code with which the other side ends the link; nothing else may come before it."""
        async with asyncio.timeout(ANSWER_SECONDS):
            got = await self._socket.receive()
        assert got.type is aiohttp.WSMsgType.CLOSE, got
        return self._socket.close_code


def hello(token: str, uid: str = "bare", **more: Any) -> list[Any]:
    """Data of a handshake, as a router says it; as an agent with properties."""
    platform = dict.fromkeys(("system", "node", "release", "version", "machine", "processor"), "")
    return [1, None, {"auth": {"uid": uid, "name": "bare", "token": token}, "platform": platform} | more]


@asynccontextmanager
async def dialed(address: str, *, autoping: bool = True) -> AsyncIterator[BarePeer]:
    """A connection to HOST:PORT without a handshake."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{address}/rpc/v1", protocols=(SUBPROTOCOL,), autoping=autoping) as socket,
    ):
        yield BarePeer(socket)


@asynccontextmanager
async def greeted(address: str, token: str, **more: Any) -> AsyncIterator[BarePeer]:
    """A link after its handshake."""
    async with dialed(address) as peer:
        await peer.say(1, 1, hello(token, **more))
        assert (await peer.hear())[0:2] == [6, 1]
        yield peer
