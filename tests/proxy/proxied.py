"""A router, an agent and jobs behind them, as the tests of this directory see them."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from wire import Answer, Wire, wired

from prouter.testing import AgentDaemon, Fleet, RouterDaemon

APPS = Path(__file__).parent / "apps"


class Proxied:
    """A job that runs one of apps/ behind a router."""

    def __init__(self, router: RouterDaemon, agent: AgentDaemon, info: Mapping[str, Any]) -> None:
        self.router, self.agent, self.info = router, agent, info
        self.prefix = f"{info['path']}/http"
        self.sandbox = agent.jobs / str(info["uid"]) / "sandbox"

    @property
    def port(self) -> int:
        return next(iter(self.info["ports"].values()))  # type: ignore[no-any-return]

    def wired(self) -> AbstractAsyncContextManager[Wire]:
        """A connection to the router."""
        return wired(*self.router.address("control"))

    def request(self, rest: str = "/", *lines: str, method: str = "GET", version: str = "1.1", host: str = "") -> bytes:
        host = host or "{}:{}".format(*self.router.address("control"))
        return "\r\n".join((f"{method} {self.prefix}{rest} HTTP/{version}", f"Host: {host}", *lines, "", "")).encode(
            "latin-1"
        )

    async def ask(self, rest: str = "/", *lines: str, method: str = "GET", body: bytes = b"", **how: str) -> Answer:
        """One request on a connection of its own."""
        async with self.wired() as wire:
            await wire.send(self.request(rest, *lines, method=method, **how) + body)
            return await wire.answer(method=method)

    async def heard_head(self, rest: str = "/", *lines: str, **how: str) -> list[str]:
        """The lines of the head that the job got of such a request."""
        return (await self.ask(rest, *lines, **how)).body.decode("latin-1").split("\r\n")[:-2]

    def says(self, name: str, data: bytes) -> None:
        """Have `/say/NAME` answer this."""
        (self.sandbox / name).write_bytes(data)

    @property
    def heard(self) -> list[bytes]:
        """All that came, by connection."""
        files = sorted((self.sandbox / "heard").iterdir(), key=lambda path: int(path.name))
        return [path.read_bytes() for path in files]


def call(router: RouterDaemon, verb: str, path: str, body: object = None, *, token: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-Prouter-Token": token} if token else {}
    request = urllib.request.Request(router.url() + path, data, headers, method=verb)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def new_job(router: RouterDaemon, agent: AgentDaemon, token: str, app: str, **port: object) -> Proxied:
    """A job that serves."""
    created = call(
        router, "POST", "/jobs/create", {"agent": {"type": "uid", "uid": agent.uid}, "name": app}, token=token
    )
    start = {"args": [sys.executable, str(APPS / app)], "port": {"mode": "assign", **port}}
    return Proxied(router, agent, call(router, "POST", created["path"] + "/start", start, token=token))


def joined(fleet: Fleet, *router_settings: str, token: str = "") -> Callable[..., Proxied]:
    """Starts a router and an agent; makes jobs on them."""
    router = fleet.router(*router_settings)
    agent = fleet.agent(router)
    deadline = time.monotonic() + 20
    while not any(found["connected"] for found in call(router, "GET", "/agents", token=token)["agents"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return lambda app="torture.py", **port: new_job(router, agent, token, app, **port)
