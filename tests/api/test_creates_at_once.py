"""A create that is asked again while nobody knows what became of the first is asked of the same agent or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from prouter.client.client import RequestFailed
from prouter.model.agents import PRODUCT_CAPABILITIES, Hello
from prouter.model.ids import new_uid
from prouter.rpc.calls import CallContext
from prouter.rpc.messages import CallType
from prouter.rpc.methods import Methods
from prouter.testing import Fleet, eventually
from prouter.testing.fake_agent import linked


class Slow:
    """An agent that is asked to make jobs and does not answer; others run there when it is told so."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.asked = 0
        self._news: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.methods = Methods()
        self.methods.add("prouter_watch", self._watch, CallType.ISTREAM)
        self.methods.add("prouter_create", self._create)

    def hello(self, token: str) -> Mapping[str, Any]:
        capabilities = frozenset(PRODUCT_CAPABILITIES)
        return Hello(self.uid, self.uid, token, version="1", boot="b", link=1, capabilities=capabilities).to_wire()

    def runs(self, job: str) -> None:
        sender = {"direction": "CLIENT", "uid": "r", "name": "r"}
        self._news.put_nowait({"uid": job, "sender": sender, "state": "RUNNING", "created_at": 1.0, "revision": 1})

    async def _watch(self, context: CallContext) -> None:
        await context.send({"jobs": [], "more": False})
        while True:
            await context.send({"job": await self._news.get()})

    async def _create(self, context: CallContext, *arguments: Any) -> Any:
        self.asked += 1
        await asyncio.Event().wait()


async def test_a_second_create_meanwhile_asks_no_other_agent(fleet: Fleet) -> None:
    router = fleet.router()
    address, token = router.address("server"), router.agent_token
    first, other, uid = Slow("first"), Slow("other"), new_uid()
    locator = {"type": "select", "uids": ["first", "other"]}
    async with router.client() as client, linked(address, other.hello(token), other.methods):
        async with linked(address, first.hello(token), first.methods):

            async def count(connected: int) -> bool:
                return sum(agent["connected"] for agent in await client.agents()) == connected

            await eventually(lambda: count(2))
            other.runs(new_uid())  # so that the first one is chosen
            await eventually(lambda: _jobs(client, "other", 1))
            creates = [asyncio.ensure_future(client.create(locator, uid=uid))]
            await eventually(lambda: first.asked == 1)
            for _ in range(2):
                first.runs(new_uid())  # from now on it is the other one's turn
            await eventually(lambda: _jobs(client, "first", 2))
            creates.append(asyncio.ensure_future(client.create(locator, uid=uid)))
            await eventually(lambda: first.asked + other.asked == 2)
            assert other.asked == 0
        for failed in await asyncio.gather(*creates, return_exceptions=True):
            assert isinstance(failed, RequestFailed)
            assert failed.http_status == 503
        await eventually(lambda: count(1))
        with pytest.raises(RequestFailed) as refused:
            await client.create(locator, uid=uid)
        assert refused.value.http_status == 503, "whether it was made is not known while that agent is away"
        assert other.asked == 0


async def _jobs(client: Any, agent: str, count: int) -> bool:
    return any(found["uid"] == agent and found["jobs"] == count for found in await client.agents())
