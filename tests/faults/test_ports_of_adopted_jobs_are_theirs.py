"""R5: the next agent gives nobody a port that was picked for a job which outlived the last, also while that job does
not listen on it: not yet, or not just now."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from figures import Figures
from held_trees import CGROUPS, Nest

from prouter import hookimpl
from prouter.agent.jobs import ports
from prouter.client import RequestFailed
from prouter.testing import Fleet, eventually

pytestmark = [pytest.mark.as_user, pytest.mark.timeout(120)]

OFFERS = "PORTS_THAT_ARE_OFFERED"
LISTENS = """
import os, socket, sys, time
with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))):
    while not os.path.exists("enough"):
        time.sleep(0.02)
open("closed", "w").close()
time.sleep(600)
"""
ASSIGNED = {"mode": "assign", "ready_timeout": 60}


class SystemThatRepeatsItself:
    """Offers the ports that a file names as free ones, each once, before any other."""

    @hookimpl
    def prouter_startup(self) -> None:
        plain, place = ports.free_ports, Path(os.environ[OFFERS])

        def free_ports(numbers: range) -> Iterator[int]:
            while offers := json.loads(place.read_text()) if place.exists() else []:
                place.write_text(json.dumps(offers[1:]))
                yield int(offers[0])
            yield from plain(numbers)

        ports.free_ports = free_ports


async def test_a_port_of_a_job_that_does_not_listen_is_given_to_nobody(fleet: Fleet, figures: Figures) -> None:
    offers = fleet.place / "offers"
    settings = ("jobs.survive_agent=True", "client.reconnect_delay=0.2")
    nest = Nest(fleet, CGROUPS[-1], *settings, plugins=(SystemThatRepeatsItself,), environ={OFFERS: str(offers)})
    await nest.router.agent_is_there(nest.agent)
    async with nest.router.client() as client:
        pausing, rising, fresh = [
            await client.create({"type": "uid", "uid": nest.agent.uid}, name) for name in ("pausing", "rising", "fresh")
        ]
        await pausing.start([sys.executable, "-S", "-c", LISTENS], port=ASSIGNED)
        (nest.agent.sandbox(pausing) / "enough").touch()
        await eventually((nest.agent.sandbox(pausing) / "closed").exists, what="a listener that is closed")
        start = asyncio.ensure_future(rising.start(["sleep", "600"], port=ASSIGNED))
        launch = nest.agent.jobs / rising.info["uid"] / "launch.json"
        await eventually(launch.exists, what="the port of a job that does not listen")
        await eventually((launch.parent / "guardian.json").exists, what="its process")
        taken = [pausing.info["ports"]["http"], *json.loads(launch.read_text())["ports"].values()]
        nest.agent.kill()
        offers.write_text(json.dumps(taken))
        nest.agent.start()
        await nest.router.agent_is_there(nest.agent)
        await fresh.start([sys.executable, "-S", "-c", LISTENS], port=ASSIGNED)
        given = fresh.info["ports"]["http"]
        assert given not in taken
        assert json.loads(offers.read_text()) == [], "they were not offered"
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError, RequestFailed):
            await start
    figures.record("R5", "ports of adopted jobs that others were given", 0, goal=0, unit="ports", holds=True)
