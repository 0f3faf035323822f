"""Create, start, wait, info, remove: each is one unary call, all arguments by position."""

from __future__ import annotations

import random
from typing import Any

from aiohttp import web
from prpc_v0.link import Link

from router_v0 import checks
from router_v0.links import Links


class InvalidRequestError(Exception):
    """The body is not what the original's schema wants."""


class JobsApi:
    def __init__(self, links: Links) -> None:
        self._links = links

    def routes(self) -> list[web.RouteDef]:
        job = "/jobs/{link}/{job}"
        return [
            web.post("/jobs/create", self._create),
            web.post(job + "/start", self._start),
            web.post(job + "/wait", self._asking("job_wait")),
            web.get(job + "/info", self._asking("job_info")),
            web.post(job + "/remove", self._asking("job_remove")),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        body = await _object(request, {"agent", "name"}, required={"agent", "name"})
        link, dialed = await self._link(body["agent"])
        try:
            info = await link.call_unary("job_create", body["name"])
        except BaseException:
            if dialed:
                await link.close()
            raise
        if dialed:
            self._links.watch(link)
        return _answer(link, info)

    async def _link(self, locator: Any) -> tuple[Link, bool]:
        """The link that a locator means, and whether it was made for it."""
        match locator:
            case {"type": "uid", "uid": str(uid)}:
                return self._links.by_agent(uid), False
            case {"type": "select", "uids": [_, *_] as uids}:
                return self._links.by_agent(random.choice(uids)), False
            case {"type": "address", "address": str(address), "token": str(token)}:
                return await self._links.dial(address, token), True
        raise InvalidRequestError(f"Invalid request payload: no locator: {locator!r}")

    async def _start(self, request: web.Request) -> web.Response:
        known = {"args", "env", "name", "cwd", "port_expected_count", "forward_stdout"}
        body = await _object(request, known, required={"args"})
        link, uid = self._found(request)
        arguments = (
            uid,
            body["args"],
            body.get("env", {}),
            body.get("cwd"),
            body.get("port_expected_count", 1),
            body.get("forward_stdout", False),
        )
        return _answer(link, await link.call_unary("job_start", *arguments))

    def _asking(self, method: str) -> Any:
        async def handle(request: web.Request) -> web.Response:
            link, uid = self._found(request)
            return _answer(link, await link.call_unary(method, uid))

        return handle

    def _found(self, request: web.Request) -> tuple[Link, str]:
        return self._links.by_id(request.match_info["link"]), request.match_info["job"]


def _answer(link: Link, result: Any) -> web.Response:
    info = checks.job_info(result)
    agent = {"platform": link.peer["platform"], "properties": link.peer["properties"]}
    return web.json_response(info | {"path": f"/jobs/{link.connection_id}/{info['uid']}", "agent": agent})


async def _object(request: web.Request, known: set[str], *, required: set[str]) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise InvalidRequestError(f"Invalid request payload: {error}") from error
    if not isinstance(body, dict) or not required <= set(body) <= known:
        raise InvalidRequestError(f"Invalid request payload: {sorted(required)} of {sorted(known)} are wanted")
    return body
