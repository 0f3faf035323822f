"""A websocket relay between a dialer and who is dialed, that keeps what passes: messages, and who closed with what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from recordings import Recorded, unpacked

SUBPROTOCOL = "v1.prpc.datadvance"
Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


@dataclass
class Wiretap:
    """`address` is dialed in place of the target's; `dialer` says which side that is."""

    dialer: str
    dialed: str
    address: str = ""
    messages: list[Recorded] = field(default_factory=list)
    closes: list[tuple[str, int | None]] = field(default_factory=list)
    """Which side closed first with which code, link by link."""

    def calls(self) -> list[Recorded]:
        return [message for message in self.messages if message.kind == 2]

    def kinds_of(self, call_id: int) -> list[int]:
        """The types of all messages of a call of the router's."""
        return [message.kind for message in self.messages if message.call_id == call_id and message.kind not in (1, 6)]

    async def pass_on(self, sender: str, source: Socket, target: Socket) -> None:
        """Until one of the two closes."""
        while True:
            got = await source.receive()
            if got.type is aiohttp.WSMsgType.BINARY:
                self.messages.append(Recorded(sender, got.data, unpacked(got.data)))
                await target.send_bytes(got.data)
            elif got.type is aiohttp.WSMsgType.TEXT:
                await target.send_str(got.data)
            else:
                if not target.closed:
                    self.closes.append((sender, source.close_code))
                    await target.close(code=source.close_code or 1000)
                return


@asynccontextmanager
async def wiretap(target: str, *, agent_dials: bool = True, port: int = 0) -> AsyncIterator[Wiretap]:
    """A tap in front of HOST:PORT, on any free port or on this one."""
    tap = Wiretap(*(("agent", "router") if agent_dials else ("router", "agent")))

    async def until_the_end() -> None:
        await ending.wait()

    async def handle(request: web.Request) -> web.StreamResponse:
        near = web.WebSocketResponse(protocols=(SUBPROTOCOL,), max_msg_size=0)
        await near.prepare(request)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://{target}/rpc/v1", protocols=(SUBPROTOCOL,), max_msg_size=0) as far,
        ):
            pumps = [
                asyncio.create_task(tap.pass_on(tap.dialer, near, far)),
                asyncio.create_task(tap.pass_on(tap.dialed, far, near)),
            ]
            pumps.append(asyncio.create_task(until_the_end()))
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
            await near.close()
        return near

    ending = asyncio.Event()
    app = web.Application()
    app.add_routes([web.get("/rpc/v1", handle)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        tap.address = f"127.0.0.1:{runner.addresses[0][1]}"
        yield tap
    finally:
        ending.set()
        await runner.cleanup()
