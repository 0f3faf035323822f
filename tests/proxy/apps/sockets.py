"""A Websocket server that runs as a job: an echo, and closes and refusals on demand."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Sequence

from listening_jobs import listening
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.typing import Subprotocol


async def refuse(connection: ServerConnection, request: Request) -> Response | None:
    if request.path.startswith("/refuse"):
        response = connection.respond(http.HTTPStatus.FORBIDDEN, "not today")
        response.headers["X-Why"] = "closed"
        return response
    return None


def choose(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("b") if "b" in offered else None


async def talk(connection: ServerConnection) -> None:
    assert connection.request is not None
    if connection.request.path == "/close":
        await connection.close(4321, "enough of it")
        return
    await connection.send(" ".join(filter(None, (connection.subprotocol, connection.request.headers.get("Origin")))))
    if connection.request.path == "/pieces":
        await connection.send(iter(["one ", "two ", "three"]))
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    async with serve(
        talk, sock=listening(), select_subprotocol=choose, process_request=refuse, max_size=None
    ) as server:
        await server.serve_forever()


asyncio.run(main())
