"""Peers made of the protocol alone, for what real daemons do not show: a bare router's link, agents of other kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.errors import NoAgent
from prouter.model.agents import PRODUCT_CAPABILITIES, Drain, Hello
from prouter.rpc.calls import CallContext
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType
from prouter.rpc.methods import Methods
from prouter.testing import AgentDaemon, RouterDaemon
from prouter.testing.fake_agent import linked

OURS = frozenset(PRODUCT_CAPABILITIES)
OLDER = frozenset(("jobs/1", "watch/1", "pipes/1"))
"""What one of ours said before agents could be drained."""
NOT_DRAINING = Drain()
Locator = dict[str, Any]


async def call(rpc: Link, method: str, *arguments: object) -> Any:
    return await rpc.call(method, *arguments, timeout_seconds=20)


async def uids(rpc: Link) -> list[str]:
    """Of the agent's jobs."""
    async with asyncio.timeout(20), rpc.open(CallType.ISTREAM, "prouter_watch") as watch:
        async for page in watch.values():
            return [job["uid"] for job in page["jobs"]]
    raise AssertionError("the watch ended")


def router_link(agent: AgentDaemon, uid: str = "bare router", capabilities: frozenset[str] = OURS) -> Any:
    """A link of a router that has no opinion of its own, so that what is refused is refused by the agent."""
    said = Hello(uid, uid, agent.token, version="1", boot=uid, capabilities=capabilities)
    return linked(agent.address("server"), said)


def agent_link(
    router: RouterDaemon,
    uid: str,
    methods: Methods,
    capabilities: frozenset[str] | None = OURS,
    drain: Drain = NOT_DRAINING,
) -> Any:
    """A link of an agent; without capabilities of an original."""
    said = Hello(uid, uid, router.agent_token)
    if capabilities is not None:
        said = replace(said, version="1", boot=uid, link=1, capabilities=capabilities, drain=drain)
    return linked(router.address("server"), said, methods)


class Lazy:
    """What an agent answers that has no jobs and takes none."""

    def __init__(self) -> None:
        self.asked = 0
        self._watches: list[CallContext] = []
        self.methods = Methods()
        self.methods.add("prouter_watch", self._watch, CallType.ISTREAM)
        self.methods.add("prouter_create", self._create)
        self.methods.add("job_count_current_connection", self._count)

    async def tell(self, news: Mapping[str, Any]) -> None:
        for context in self._watches:
            await context.send(news)

    async def _watch(self, context: CallContext) -> None:
        self._watches.append(context)
        await context.send({"jobs": [], "more": False})
        await asyncio.Event().wait()

    async def _create(self, context: CallContext, *arguments: object) -> None:
        self.asked += 1
        raise NoAgent("the agent can not take the job: it would rather not")

    async def _count(self, context: CallContext) -> int:
        return 0


async def refused(client: Client, locator: Locator, **more: Any) -> str:
    """Creating is 503 with Retry-After; the reason of the one agent that was considered."""
    body = {"agent": locator, "name": "", **more}
    async with client.session.post(f"{client.url}/jobs/create", json=body) as answer:
        problem = await answer.json()
        assert answer.status == 503, problem
        assert int(answer.headers["Retry-After"]) > 0
    assert problem["type"] == "urn:prouter:no-agent"
    (considered,) = problem["considered"]
    assert considered["reason"] in problem["detail"]
    return str(considered["reason"])


async def failure(work: Any) -> RequestFailed:
    with pytest.raises(RequestFailed) as failed:
        await work
    return failed.value


async def entry(client: Client, agent: AgentDaemon) -> Mapping[str, Any]:
    """The agent's entry in /agents."""
    (found,) = [shown for shown in await client.agents() if shown["uid"] == agent.uid]
    return found


async def used(client: Client, agent: AgentDaemon) -> dict[str, int]:
    return {name: count["used"] for name, count in (await entry(client, agent))["capacity"].items()}


def by_uid(agent: AgentDaemon) -> Locator:
    return {"type": "uid", "uid": agent.uid}


def by_address(agent: AgentDaemon) -> Locator:
    host, port = agent.address("server")
    return {"type": "address", "address": f"{host}:{port}", "token": agent.token}


def connected_by_name(agent: AgentDaemon) -> list[Locator]:
    """The locators that choose among agents which are connected."""
    return [by_uid(agent), {"type": "select", "uids": [agent.uid]}, {"type": "labels", "match": {}}]
