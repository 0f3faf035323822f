"""R6: that a job has ended is told when nothing of it runs any more, however little time its driver is given: its
guardian hangs, and has less than the usual while to prove it."""

from __future__ import annotations

import pytest
from figures import Figures
from held_trees import CGROUPS, Nest, marked, stopped

from prouter.testing import Fleet

pytestmark = [pytest.mark.as_user, pytest.mark.timeout(120)]

DRIVER_SECONDS = 2.5


@pytest.mark.parametrize("cgroups", CGROUPS)
async def test_a_hung_guardian_is_ended_within_the_drivers_time(fleet: Fleet, figures: Figures, cgroups: str) -> None:
    """Told to stop, and found by the next run of the agent."""
    nest = Nest(fleet, cgroups, f"jobs.driver_timeout={DRIVER_SECONDS}", patient=True)
    fleet.expected_errors += ["what became of job", "plugin process_driver failed"]
    told, found = [await nest.nasty() for _ in range(2)]
    with stopped(told.guardian, found.guardian):
        async with nest.router.client() as client:
            info = await client.request("POST", f"{told.job.path}/stop", {"grace": 0})
            left = len(marked(told.mark))
        assert (info["state"], left) == ("FINISHED", 0), "its end was told while it ran"
        nest.agent.kill()
        nest.agent.start()
        await nest.router.agent_is_there(nest.agent)
        info = await found.ended()
        left += len(marked(found.mark))
    assert (info["reason"], left) == ("agent-lost", 0), "its end was told while it ran"
    name = f"processes of jobs that were told to have ended, guardians hanging (cgroups {cgroups})"
    figures.record("R6", name, left, goal=0, unit="processes", holds=left == 0)
