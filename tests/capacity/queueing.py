"""How tests ask a router whose agents are full: whole answers, and jobs that wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prouter.client import Client

ANY = {"type": "labels", "match": {}}
SLEEP = ["sleep", "600"]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    json: Any

    def retryable(self, code: str) -> str:
        """The detail of a 503 that says when to come again."""
        assert self.status == 503, self
        assert int(self.headers["Retry-After"]) > 0
        assert self.json["retryable"] is True
        assert self.json["type"] == f"urn:prouter:{code}", self.json
        return str(self.json["detail"])


async def ask(client: Client, verb: str, path: str, body: Any = None, **headers: str) -> Answer:
    async with client.session.request(verb, client.url + path, json=body, headers=headers) as answer:
        return Answer(answer.status, answer.headers, await answer.json())


async def create(client: Client, queue: float | None = 60, agent: Mapping[str, Any] = ANY, **more: Any) -> Answer:
    path = "/jobs/create" if queue is None else f"/jobs/create?queue={queue}"
    return await ask(client, "POST", path, {"agent": agent, "name": "", **more})


async def waiting(client: Client, position: int | None = None, **more: Any) -> str:
    """The uid of a job that waits."""
    answer = await create(client, **more)
    assert answer.status == 202, answer
    assert answer.json["queue"]["position"] == position or position is None, answer
    return str(answer.json["uid"])


async def info(client: Client, uid: str) -> dict[str, Any]:
    answer = await ask(client, "GET", f"/jobs/{uid}")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


async def position(client: Client, uid: str) -> int | None:
    """None: it waits no more."""
    queue = (await info(client, uid))["queue"]
    return None if queue is None else queue["position"]


async def placed(client: Client, uid: str) -> str | None:
    """Its agent, once it has one; None: it was given up."""
    found = (await ask(client, "POST", f"/jobs/{uid}/wait?for=agent&timeout=20")).json
    assert found["state"] != "NEW" or found["agent"] is not None, found
    return str(found["agent"]["uid"]) if found["agent"] is not None else None
