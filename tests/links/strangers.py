"""Peers that nobody invited, by hand: raw sockets and websockets to an endpoint for links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from prouter.model.agents import Hello
from prouter.rpc.limits import Limits
from prouter.rpc.machine import IdCounter, Machine, Role
from prouter.rpc.websocket import PATH, SUBPROTOCOL

Websocket = aiohttp.ClientWebSocketResponse
SECONDS = 20.0


@dataclass(frozen=True)
class Door:
    """An endpoint for links, and a token that opens it."""

    host: str
    port: int
    token: str

    def hello(self, token: str | None = None, uid: str = "stranger") -> bytes:
        """The handshake of an original."""
        user_data = Hello(uid, "a stranger", self.token if token is None else token).to_wire()
        return Machine(Role.CONNECTING, IdCounter(), Limits()).hello(user_data)

    @asynccontextmanager
    async def websocket(self, *protocols: str) -> AsyncIterator[Websocket]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                f"http://{self.host}:{self.port}{PATH}", protocols=protocols or (SUBPROTOCOL,), autoclose=True
            ) as websocket,
        ):
            yield websocket

    @asynccontextmanager
    async def link(self, uid: str = "stranger") -> AsyncIterator[Websocket]:
        """A websocket behind its handshake."""
        async with self.websocket() as websocket:
            await websocket.send_bytes(self.hello(uid=uid))
            assert await websocket.receive_bytes(timeout=SECONDS)
            yield websocket

    async def raw(self, data: bytes) -> bytes:
        """All that is answered until the connection is closed from there."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            async with asyncio.timeout(SECONDS):
                answer = b""
                try:
                    writer.write(data)
                    while chunk := await reader.read(65536):
                        answer += chunk
                except ConnectionError:
                    pass
                return answer
        finally:
            writer.close()


async def said_until_closed(websocket: Websocket) -> tuple[list[bytes], int | None]:
    """The messages that came, and the code with which the other side closed; None when it cut the connection."""
    messages = []
    async with asyncio.timeout(SECONDS):
        async for message in websocket:
            assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.ERROR), message
            if message.type is aiohttp.WSMsgType.BINARY:
                messages.append(message.data)
    return messages, None if websocket.close_code == 1006 else websocket.close_code


async def flood(websocket: Websocket, message: bytes, *, ping: bool = False) -> None:
    """Send it again and again until the other side ends the connection."""
    async with asyncio.timeout(SECONDS):
        try:
            while not websocket.closed:
                await (websocket.ping(message) if ping else websocket.send_bytes(message))
        except (ConnectionError, aiohttp.ClientError):
            pass
