"""A plain client: says exactly what it is told, byte by byte, and shows exactly what it got."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from prouter.testing import AgentDaemon, RouterDaemon

NOTHING = object()
SECONDS = aiohttp.ClientTimeout(total=60)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """The problem document, which must be a whole one of that status and code."""
        assert self.status == status, self
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.headers["X-Request-Id"]
        document = self.json
        assert {"type", "title", "status", "detail", "retryable"} <= document.keys()
        assert document["type"] == f"urn:prouter:{code}"
        assert document["status"] == status
        assert document["title"]
        assert document["detail"]
        assert isinstance(document["retryable"], bool)
        return dict(document)


async def ask(
    router: RouterDaemon, verb: str, target: str, body: object = NOTHING, *, raw: Any = None, **headers: str
) -> Answer:
    """One request; the target is raw, the body JSON or raw (bytes or chunks), `Some_Header="x"` is `Some-Header: x`."""
    data = raw if body is NOTHING else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(timeout=SECONDS) as session,
        session.request(
            verb, URL(router.url() + target, encoded=True), data=data, headers=named, allow_redirects=False
        ) as answer,
    ):
        return Answer(answer.status, answer.headers, await answer.read())


def on(agent: AgentDaemon, name: str = "a job", **more: object) -> dict[str, object]:
    """The body that creates a job on this agent."""
    return {"agent": {"type": "uid", "uid": agent.uid}, "name": name, **more}


def at(agent: AgentDaemon, token: str | None = None) -> dict[str, object]:
    """The body that creates a job on an agent that listens, named by its address."""
    host, port = agent.address("server")
    locator = {"type": "address", "address": f"{host}:{port}", "token": agent.token if token is None else token}
    return {"agent": locator, "name": "a job"}


async def created(router: RouterDaemon, body: dict[str, object]) -> dict[str, Any]:
    """The JobInfo of a new job."""
    answer = await ask(router, "POST", "/jobs/create", body)
    assert answer.status == 200, answer
    return dict(answer.json)


def sleeping() -> dict[str, object]:
    """A start that serves nothing and does not end."""
    return {"args": ["sleep", "600"], "port_expected_count": 0}
