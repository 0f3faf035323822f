"""The imitated router as a whole: its two endpoints and what errors become over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import uuid
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from prpc_v0 import daemon, settings
from prpc_v0.calls import CallFailedError, LinkClosedError
from prpc_v0.messages import METHOD_RAISED
from prpc_v0.streams import StreamClosedError

from router_v0.files import FilesApi
from router_v0.jobs_api import InvalidRequestError, JobsApi
from router_v0.links import ConnectionNotFoundError, Links
from router_v0.proxy import ProxyApi


class Router:
    def __init__(self, flags: argparse.Namespace) -> None:
        self._flags = flags
        self._settings = settings.from_flags(flags)
        auth = {"uid": flags.uid or uuid.uuid4().hex, "name": flags.name}
        self._hello: dict[str, Any] = {"auth": auth, "platform": daemon.platform_facts()}
        self._links = Links(self._settings, self._hello, flags.accept_token, flags.polling_delay)
        self._proxy = ProxyApi(self._links, cancels_after_close=flags.cancel_after_close)
        self._end = asyncio.Event()

    async def run(self) -> None:
        runners: list[web.AppRunner] = []
        daemon.on_signals(self._end)
        try:
            accept = daemon.rpc_route(self._settings, self._links.accept)
            ports = {"server": await daemon.listen(runners, [accept], self._flags.port)}
            routes = [
                web.get("/info", self._info),
                web.get("/connections", self._connections),
                web.post("/shutdown", self._shutdown),
                *JobsApi(self._links).routes(),
                *self._proxy.routes(),
                *FilesApi(self._links).routes(),
            ]
            ports["control"] = await daemon.listen(runners, routes, self._flags.control_port, [errors_as_answers])
            daemon.announce(uid=self._hello["auth"]["uid"], **ports)
            await self._end.wait()
        finally:
            await self._proxy.close()
            await self._links.close()
            for runner in runners:
                await runner.cleanup()

    async def _info(self, request: web.Request) -> web.Response:
        return web.json_response(self._hello)

    async def _connections(self, request: web.Request) -> web.Response:
        return web.json_response({"connections": [daemon.said_of(link) for link in self._links.all()]})

    async def _shutdown(self, request: web.Request) -> web.Response:
        asyncio.get_running_loop().call_later(0.1, self._end.set)
        return web.Response()


@web.middleware
async def errors_as_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except InvalidRequestError as error:
        return web.Response(status=400, text=str(error))
    except ConnectionNotFoundError as error:
        return web.Response(status=404, text=str(error))
    except CallFailedError as error:
        if error.status == METHOD_RAISED and error.error[1] == "JobNotFoundError":
            return web.Response(status=404, text=error.error[2])
        return web.Response(status=500, text=str(error))
    except (LinkClosedError, StreamClosedError) as error:
        return web.Response(status=500, text=str(error))


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("prouter", description="An imitation of the original pRouter 0.2, for tests.")
    parser.add_argument("--port", type=int, default=0, help="where agents dial in; 0: any free one")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--accept-token", action="append", default=[])
    parser.add_argument("--uid", help="made at each start when not given")
    parser.add_argument("--name", default="")
    parser.add_argument("--polling-delay", type=float, default=5.0, help="between two questions to a dialed agent")
    parser.add_argument("--cancel-after-close", action="store_true", help="a cancel after each closed websocket")
    settings.add_flags(parser)
    return parser


def main() -> None:
    asyncio.run(Router(flags().parse_args()).run())
