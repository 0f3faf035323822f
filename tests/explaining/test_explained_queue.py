"""Why a job has no agent yet, and for which it waits: asked of one in the queue."""

from __future__ import annotations

from typing import Any

from test_asked_by_command import command

from prouter.client import Client
from prouter.model.selection import KEPT
from prouter.testing import FakeAgent, Fleet, eventually

ANY = {"type": "labels", "match": {}}


async def queued(client: Client, seconds: float = 60, **more: Any) -> str:
    return str((await client.request("POST", "/jobs/create", {"agent": ANY, **more}, queue=seconds))["uid"])


def why_not(found: dict[str, Any]) -> str:
    """What is said of the only agent."""
    (agent,) = found["creation"]["agents"]
    assert not agent["taken"]
    return str(agent["reason"])


async def test_a_job_that_waits_tells_where_it_waits_and_for_what(fleet: Fleet) -> None:
    router = fleet.router()
    async with router.client() as client, FakeAgent(router, "small", capacity={"gpu": 2}):
        await client.create(ANY, resources={"gpu": 1})
        first = await queued(client, resources={"gpu": 2})
        second = await queued(client, resources={"gpu": 1})
        third = await queued(client, resources={"fpga": 1})

        async def explained(uid: str) -> dict[str, Any]:
            return dict(await client.request("GET", f"/jobs/{uid}/explain"))

        async def waits_for_it() -> bool:
            return bool((await explained(first))["queue"]["agent"] == "small")

        await eventually(waits_for_it)
        found = await explained(first)
        assert (found["driver"], found["proxying"]) == (None, None)
        assert (found["queue"]["position"], found["queue"]["priority"]) == (1, 0)
        assert (found["creation"]["chosen"], found["creation"]["refused"]["status"]) == (None, 503)
        assert why_not(found) == "of its 2 'gpu' 1 are free now, the job asks for 2"
        found = await explained(second)
        assert (found["queue"]["position"], found["queue"]["agent"]) == (2, None)
        assert why_not(found) == KEPT
        found = await explained(third)
        assert (found["queue"]["position"], found["queue"]["agent"]) == (3, None)
        assert why_not(found) == "it has no 'fpga', of which the job asks for 1"
        status, said = await command(first, url=router.url())
        assert (status, said.split(", ")[0]) == (0, "position 1 of the queue"), said
        for words in ("waits for agent small", "prouter: of its 2 'gpu' 1 are free now", "refused, 503: "):
            assert words in said
        waiting = [job.info["queue"] for job in await client.jobs() if job.info["queue"] is not None]
        assert [place["position"] for place in waiting] == [1, 2, 3], "nothing is made"

        late = await queued(client, 0.1, resources={"fpga": 1})

        async def given_up() -> bool:
            return bool((await client.request("GET", f"/jobs/{late}"))["state"] == "FINISHED")

        await eventually(given_up)
        found = await explained(late)
        assert (found["creation"], found["queue"]["position"]) == (None, None)
        assert "no agent had room within 0.1 s" in found["queue"]["detail"]
        status, said = await command(late, url=router.url())
        assert (status, said.startswith("it was never made: no agent had room within")) == (0, True), said
