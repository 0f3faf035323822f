"""A small site that runs as a job and was never told of a prefix: its redirects, cookies and sockets are of the root.

`page.html` beside it asks for all of it in a browser and tells what it got.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from listening_jobs import listening

PAGE = Path(__file__).with_name("page.html").read_text()


class Site:
    """What its visitors wait for, and what became of them."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        self.visits = 0
        self.closed: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def echo(self, request: web.Request) -> web.Response:
        """What came: verb, path, some headers, the body's digest."""
        names = ("Cookie", "Origin", "Referer", "Content-Type")
        said = {name.lower(): request.headers.get(name) for name in names}
        digest = hashlib.sha256(await request.read()).hexdigest()
        return web.json_response({"verb": request.method, "path": request.raw_path, "digest": digest, **said})

    async def login(self, request: web.Request) -> web.Response:
        answer = web.Response(status=302, headers={"Location": "/echo/landed?a=%2F&b=%C3%BC"})
        answer.set_cookie("shown", "yes", path="/")
        answer.set_cookie("hidden", "yes", path="/", httponly=True)
        answer.set_cookie("elsewhere", "no", path="/other")
        return answer

    async def moved(self, request: web.Request) -> web.Response:
        """To itself by its whole address, the verb kept or not."""
        status = int(request.match_info["status"])
        return web.Response(status=status, headers={"Location": f"http://{request.host}/echo/moved"})

    async def slow(self, request: web.Request) -> web.StreamResponse:
        """The rest comes when somebody asked for `go`."""
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"first ")
        try:
            await self.go.wait()
            await answer.write(b"second")
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return answer

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Two of a first visit; a visitor who comes back is told the last id that it saw."""
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        seen = request.headers.get("Last-Event-ID", "")
        await answer.write(f"retry: 50\nid: 1{seen}\ndata: after {seen or 'nothing'}\n\n".encode())
        if not seen:
            await self.go.wait()
            await answer.write(b"event: named\nid: 2\ndata: two\ndata: lines\n\n")
        return answer

    async def release(self, request: web.Request) -> web.Response:
        self.go.set()
        return web.Response()

    async def again(self, request: web.Request) -> web.Response:
        self.go.clear()
        return web.Response()

    async def has_left(self, request: web.Request) -> web.Response:
        async with asyncio.timeout(20):
            await self.left.wait()
        return web.Response(text="left")

    async def tagged(self, request: web.Request) -> web.Response:
        """A browser that has it asks whether it changed."""
        self.visits += 1
        if request.headers.get("If-None-Match") == '"one"':
            return web.Response(status=304, headers={"ETag": '"one"'})
        return web.Response(text=f"visit {self.visits}", headers={"ETag": '"one"', "Cache-Control": "no-cache"})

    async def visited(self, request: web.Request) -> web.Response:
        return web.json_response(self.visits)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """An echo; "bye" has it close."""
        websocket = web.WebSocketResponse(protocols=("chosen",), max_msg_size=2**27, autoclose=False)
        await websocket.prepare(request)
        await websocket.send_str(f"{websocket.compress} {request.headers.get('Origin')} {request.headers['Cookie']}")
        while (message := await websocket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            if message.data == "bye":
                await websocket.close(code=4321, message=b"enough of it")
            elif isinstance(message.data, str):
                await websocket.send_str(message.data)
            else:
                await websocket.send_bytes(message.data)
        if message.type is WSMsgType.CLOSE:
            await websocket.close(code=message.data, message=message.extra.encode())
            self.closed.put_nowait([message.data, message.extra])
        return websocket

    async def how_closed(self, request: web.Request) -> web.Response:
        """How a visitor closed its socket."""
        async with asyncio.timeout(20):
            return web.json_response(await self.closed.get())

    async def refused(self, request: web.Request) -> web.Response:
        raise web.HTTPForbidden(text="not today")


def main() -> None:
    async def made() -> web.Application:
        site = Site()
        app = web.Application(client_max_size=2**27)
        app.add_routes(
            [
                web.get("/", site.page),
                web.get("/login", site.login),
                web.route("*", "/moved/{status}", site.moved),
                web.get("/slow", site.slow),
                web.get("/events", site.events),
                web.get("/go", site.release),
                web.get("/again", site.again),
                web.get("/left", site.has_left),
                web.get("/tagged", site.tagged),
                web.get("/visits", site.visited),
                web.get("/socket", site.socket),
                web.get("/how-closed", site.how_closed),
                web.get("/refused", site.refused),
                web.route("*", "/{echo:.*}", site.echo),
            ]
        )
        return app

    web.run_app(made(), sock=listening(), handler_cancellation=True, print=None)


main()
