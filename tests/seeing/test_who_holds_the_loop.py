"""What holds an event loop is named in the log, and how late loops are can be read."""

from __future__ import annotations

import re

from holding import Holds, HoldsToo
from prometheus_client.parser import text_string_to_metric_families

from prouter.client import Client
from prouter.testing import eventually

QUICK = "loop.slow_callback=0.2"


async def scraped(client: Client) -> dict[tuple[str, ...], float]:
    async with client.session.get(f"{client.url}/metrics") as answer:
        text = await answer.text()
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


async def test_who_holds_an_event_loop_is_named_and_how_late_it_was_is_told(fleet) -> None:
    router = fleet.router(QUICK, plugins=[Holds])
    agent = fleet.agent(router, QUICK, "jobs.activity_interval=0.1", plugins=[HoldsToo])
    await router.agent_is_there(agent)
    async with router.client() as client:
        for path in ("/hold", f"/agents/{agent.uid}/hold"):
            async with client.session.get(client.url + path) as answer:
                assert answer.status == 200, await answer.text()
        line = await eventually(lambda: re.search(r"the event loop was held for (\S+) s .*", router.log))
        assert float(line[1]) > 0.5
        assert re.search(r"hold_it_by_sleeping:\d+ < \S*Holds.hold:\d+", line[0]), line[0]
        assert await eventually(lambda: re.search(r"the event loop was held for .*HoldsToo.hold:\d+", agent.log))

        async def told() -> bool:
            return (await client.agents())[0]["loop_delay"] > 0.5

        await eventually(told)
        found = await scraped(client)
    assert found["prouter_loop_slow_callbacks_total",] == 1
    assert found["prouter_loop_delay_seconds_count",] - found["prouter_loop_delay_seconds_bucket", "0.5"] >= 1
    assert found["prouter_agent_loop_slow_callbacks_total", agent.uid] == 1
    assert found["prouter_agent_loop_delay_seconds", agent.uid] > 0.5
