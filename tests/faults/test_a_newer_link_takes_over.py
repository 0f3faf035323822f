"""R3: an agent that comes from elsewhere takes its place at once, and what its old link still says counts no more."""

from __future__ import annotations

import contextlib
import time

from figures import LONG, Figures

from prouter.errors import LinkClosed
from prouter.model.ids import JobUid, new_uid
from prouter.model.jobs import JobRecord, Sender
from prouter.testing import eventually
from prouter.testing.fake_agent import FakeAgent

ROUNDS, SECONDS, ROOM = (100 if LONG else 2), 3.0, 3


def told(name: str) -> JobRecord:
    return JobRecord(JobUid(new_uid()), name, Sender("CLIENT", "", ""), created_at=1.0)


async def test_a_newer_link_is_registered_at_once_and_the_old_one_is_fenced(fleet, figures: Figures) -> None:
    router = fleet.router("links.takeover_timeout=60")
    boot, took, mixed = new_uid(), list[float](), 0
    async with router.client() as client, contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(FakeAgent(router, "a", boot=boot, link=1))
        for number in range(2, ROUNDS + 2):
            begun = time.monotonic()
            new = await stack.enter_async_context(FakeAgent(router, "a", boot=boot, link=number))
            with contextlib.suppress(LinkClosed):
                while old.connected:
                    await old.tell(told("stale"))
            took.append(time.monotonic() - begun)
            await new.tell(told(f"of link {number}"))
            old = new

            async def names() -> list[str]:
                return [job.info["name"] for job in await client.jobs()]

            async def knows(name: str = f"of link {number}") -> bool:
                return name in await names()

            await eventually(knows)
            mixed += (await names()).count("stale")
        assert [agent["connected"] for agent in await client.agents()] == [True]
    slowest = max(took)
    figures.record("R3", "takeovers", len(took), goal=f">= {ROUNDS}", holds=len(took) >= ROUNDS)
    figures.record("R3", "takeover, slowest", slowest, goal=SECONDS, unit="s", spread=took)
    figures.record("R3", "mixed messages", mixed, goal=0)
    assert mixed == 0
    assert slowest <= SECONDS * ROOM
