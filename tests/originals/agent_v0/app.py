"""The imitated agent as a whole: its three endpoints, the link it dials, the links it accepts."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prpc_v0 import daemon, settings
from prpc_v0.link import PATH, SUBPROTOCOL, Link

from agent_v0.jobs import PENDING, Jobs
from agent_v0.proxy import Proxy
from agent_v0.service import Service


class Agent:
    def __init__(self, flags: argparse.Namespace) -> None:
        self._flags = flags
        self._settings = settings.from_flags(flags)
        self._uid = flags.uid or uuid.uuid4().hex
        self._properties = dict(each.split("=", 1) for each in flags.property)
        self._jobs = Jobs(flags.root, self._properties, flags.port_seconds)
        self._service = Service(self._jobs, Proxy(self._jobs, reject_waits=not flags.reject_at_once))
        self._ids = itertools.count(1)
        self._links: set[Link] = set()
        self._end = asyncio.Event()

    async def run(self) -> None:
        runners: list[web.AppRunner] = []
        daemon.on_signals(self._end)
        dialing = None
        try:
            report = await daemon.listen(runners, [web.get("/job_started", self._job_started)])
            self._jobs.report_url = f"http://127.0.0.1:{report}/job_started"
            ports = {"report": report, "control": await daemon.listen(runners, self._control_routes())}
            if self._flags.listen:
                route = daemon.rpc_route(self._settings, self._accept)
                ports["server"] = await daemon.listen(runners, [route], self._flags.port)
            daemon.announce(uid=self._uid, jobs=str(self._jobs.directory), **ports)
            if self._flags.router:
                dialing = asyncio.create_task(self._keep_dialing())
            await self._end.wait()
        finally:
            if dialing is not None:
                dialing.cancel()
                await asyncio.gather(dialing, return_exceptions=True)
            for link in list(self._links):
                await link.close()
            for runner in runners:
                await runner.cleanup()
            await self._jobs.close()

    # Links

    async def _keep_dialing(self) -> None:
        """One link at a time. After one that broke it dials at once, after a failure it waits."""
        while True:
            try:
                await self._dial()
            except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
                failed: Exception = error
            except Exception as error:
                failed = error
            else:
                continue
            print(f"NO LINK {failed!r}", file=sys.stderr, flush=True)
            await asyncio.sleep(self._flags.reconnect_delay)

    async def _dial(self) -> None:
        url = f"http://{self._flags.router}{PATH}"
        link = Link(self._settings, self._hello(self._flags.token), self._check, self._service.methods, self._ids)
        async with aiohttp.ClientSession() as session:
            socket = await session.ws_connect(
                url,
                protocols=(SUBPROTOCOL,),
                heartbeat=self._settings.heartbeat_seconds,
                max_msg_size=self._settings.largest_message_bytes,
            )
            if socket.protocol != SUBPROTOCOL:
                print(f"VIOLATION the subprotocol was not confirmed: {socket.protocol!r}", file=sys.stderr, flush=True)
            running = await link.connect(socket)
            print(f"LINK {link.connection_id}", flush=True)
            await self._serve(link, running)

    async def _accept(self, socket: web.WebSocketResponse) -> None:
        link = Link(self._settings, self._hello(None), self._check_dialer, self._service.methods)
        await self._serve(link, asyncio.create_task(link.accept(socket)))

    async def _serve(self, link: Link, running: asyncio.Task[None]) -> None:
        self._links.add(link)
        calling = asyncio.create_task(self._call_the_router(link)) if self._flags.call else None
        try:
            await running
        finally:
            self._links.discard(link)
            if calling is not None:
                calling.cancel()
            await link.close()
            await self._jobs.remove_of_connection(link.connection_id)
            print(f"LINK ENDED {link.connection_id}", flush=True)

    async def _call_the_router(self, link: Link) -> None:
        """What originals never do in practice, though the protocol has it."""
        try:
            print(f"CALLED {await link.call_unary(self._flags.call)!r}", flush=True)
        except Exception as error:
            status = getattr(error, "status", None)
            print(f"CALL FAILED {status} {error}", flush=True)

    def _hello(self, token: str | None) -> dict[str, Any]:
        uid = self._uid.encode() if self._flags.uid_as_bytes else self._uid
        auth = {"uid": uid, "name": self._flags.name}
        if token is not None:
            auth["token"] = token
        hello = {"auth": auth, "platform": daemon.platform_facts(), "properties": self._properties}
        return {key: value for key, value in hello.items() if key not in self._flags.omit}

    def _check(self, link: Link, peer: Any) -> None:
        if peer["auth"]["uid"] is None:
            raise ValueError("peer uid is invalid")

    def _check_dialer(self, link: Link, peer: Any) -> None:
        if daemon.checked_auth(peer).get("token") not in self._flags.accept_token:
            raise ValueError("peer token is not authorized")
        print(f"LINK {link.connection_id}", flush=True)

    # HTTP

    def _control_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/info", self._info),
            web.get("/jobs", self._list_jobs),
            web.get("/connections", self._list_connections),
            web.post("/shutdown", self._shutdown),
        ]

    async def _info(self, request: web.Request) -> web.Response:
        auth = {"uid": self._uid, "name": self._flags.name}
        facts = {"auth": auth, "platform": daemon.platform_facts(), "properties": self._properties}
        return web.json_response(facts)

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return web.json_response({"jobs": [job.info() for job in self._jobs.all()]})

    async def _list_connections(self, request: web.Request) -> web.Response:
        return web.json_response({"connections": [daemon.said_of(link) for link in self._links if link.connected]})

    async def _shutdown(self, request: web.Request) -> web.Response:
        asyncio.get_running_loop().call_later(0.1, self._end.set)
        return web.Response()

    async def _job_started(self, request: web.Request) -> web.Response:
        try:
            if len(request.query) != 2:
                raise ValueError("too many query parameters")
            job = self._jobs.find(request.query["job_id"])
            if job.state == PENDING:
                job.process.report(int(request.query["port"]))
        except Exception as error:
            return web.Response(status=400, text=str(error))
        return web.Response(text="OK")


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("pagent", description="An imitation of the original pAgent 0.6, for tests.")
    parser.add_argument("--router", help="HOST:PORT to dial")
    parser.add_argument("--token", default="", help="what it says to the router that it dials")
    parser.add_argument("--listen", action="store_true", help="wait to be dialed")
    parser.add_argument("--port", type=int, default=0, help="where it waits; 0: any free one")
    parser.add_argument("--accept-token", action="append", default=[])
    parser.add_argument("--uid", help="made at each start when not given")
    parser.add_argument("--name", default="")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--root", type=Path, help="where its directory of sandboxes is made")
    parser.add_argument("--reconnect-delay", type=float, default=3.0)
    parser.add_argument("--port-seconds", type=float, default=30.0, help="for a job to report its port")
    parser.add_argument("--uid-as-bytes", action="store_true")
    parser.add_argument("--omit", action="append", default=[], choices=["platform", "properties"])
    parser.add_argument("--reject-at-once", action="store_true", help="a rejected websocket's result needs no close")
    parser.add_argument("--call", help="a method that it calls at the router as soon as a link is there")
    settings.add_flags(parser)
    return parser


def main() -> None:
    asyncio.run(Agent(flags().parse_args()).run())
