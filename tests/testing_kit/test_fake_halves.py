"""The router's half of a plugin with two halves, beside an agent that runs nothing and answers for the other half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from prouter import hookspecs, implements
from prouter.client.client import RequestFailed
from prouter.model.http import Reply
from prouter.model.plugin import Call, Route
from prouter.model.services import Router
from prouter.testing import FakeAgent, RouterHere


class Usage:
    """The router's half."""

    @implements(hookspecs.prouter_startup)
    def started(self, router: Router) -> None:
        self.agents = router.agents

    @implements(hookspecs.prouter_routes)
    def routes(self) -> Sequence[Route]:
        return [Route(("GET",), "/jobs/{job}/usage", "usage.read", "What a job takes.", self.ask)]

    async def ask(self, call: Call) -> Reply:
        ref = call.job_ref()
        return Reply.json(await self.agents.call(ref.agent, "usage_of", ref.job))


async def usage_of(stream: Any, job: str) -> Any:
    return {"job": job, "bytes": 7}


@pytest.mark.prouter(plugins=[Usage])
async def test_methods_of_a_plugins_half(router: RouterHere) -> None:
    async with FakeAgent(router, "one", methods={"usage_of": usage_of}) as fake, router.client() as client:
        job = await client.create({"type": "uid", "uid": "one"}, "a job")
        assert await client.request("GET", f"{job.path}/usage") == {"job": job.info["uid"], "bytes": 7}
        assert "usage_of" in fake.called


@pytest.mark.prouter(plugins=[Usage])
async def test_an_agent_without_that_half(router: RouterHere) -> None:
    async with FakeAgent(router, "one"), router.client() as client:
        job = await client.create({"type": "uid", "uid": "one"}, "a job")
        with pytest.raises(RequestFailed, match="has no method 'usage_of'"):
            await client.request("GET", f"{job.path}/usage")
