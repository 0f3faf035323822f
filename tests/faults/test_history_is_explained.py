"""R22: what real clients are told while routers, agents and links die can be explained: nothing acknowledged is lost
or done twice without the job saying so."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from figures import LONG, Figures
from history import broken_promises
from recorder import Recorder

from prouter.testing import AgentDaemon, BrokenNetwork, RouterDaemon, eventually
from prouter.testing.network import reserved_port

SECONDS = float(os.environ.get("PROUTER_HISTORY_SECONDS", 3600)) if LONG else 5.0
CLIENTS = 4


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Two, for a router that comes back to where it was."""
    with reserved_port() as one, reserved_port() as other:
        yield [one, other]


async def test_what_clients_were_told_is_explained(fleet, figures: Figures, tmp_path: Path, ports: list[int]) -> None:
    seed = int(os.environ.get("PROUTER_SEED", secrets.randbits(32)))
    print(f"PROUTER_SEED={seed}")  # shown when it fails
    effects = tmp_path / "effects"
    effects.mkdir()
    router = fleet.router("links.ping_interval=1", f"control.port={ports[0]}", f"server.port={ports[1]}")
    async with BrokenNetwork(router.address("server")) as line, aiohttp.ClientSession() as session:
        dialing = (f"client.address='{line.authority}'", "client.reconnect_delay=0.2")
        agents = [fleet.agent(router, *dialing) for _ in range(2)]
        for agent in agents:
            await router.agent_is_there(agent)
        recorder = Recorder(session, router.url(), effects, seed)
        hurt: set[str] = set()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(recorder.client([agent.uid for agent in agents], over))
            faults = await break_things(router, agents, line, recorder, hurt, seed)
            over.set()
        for agent in agents:
            await router.agent_is_there(agent)
        broken = await explained(recorder, agents, hurt)
    acked = sum(asked.acked for asked in recorder.history.calls)
    figures.record("R22", "promises broken", len(broken), goal=0, holds=not broken)
    figures.record("R22", "calls recorded", len(recorder.history.calls))
    figures.record("R22", "calls acknowledged", acked)
    figures.record("R22", "faults", faults)
    figures.record("R22", "for how long they came at random", SECONDS, unit="s")
    assert acked > CLIENTS, "nobody was told anything"
    assert not broken, "\n".join([f"PROUTER_SEED={seed}", *broken])


async def break_things(
    router: RouterDaemon,
    agents: list[AgentDaemon],
    line: BrokenNetwork,
    recorder: Recorder,
    hurt: set[str],
    seed: int,
) -> int:
    """For as long as is to be. How many things were broken."""
    chance, faults, until = random.Random(seed + 1), 0, time.monotonic() + SECONDS
    what = ["router", "agent", "cut", "cut"]
    while time.monotonic() < until or faults < len(what):
        await asyncio.sleep(chance.uniform(0.2, 0.9))
        kind = chance.choice(what) if faults >= len(what) else what[faults]
        faults += 1
        if kind == "cut":
            line.cut()
            continue
        daemon = router if kind == "router" else chance.choice(agents)
        if daemon is not router:
            hurt |= {job for job, agent in recorder.agent_of.items() if agent == daemon.uid}
        daemon.kill()
        recorder.run = f"run {faults + 1}"
        await asyncio.to_thread(daemon.start)
        if daemon is not router:  # what was made while it died
            hurt |= {job for job, agent in recorder.agent_of.items() if agent == daemon.uid}
    return faults


async def explained(recorder: Recorder, agents: list[AgentDaemon], hurt: set[str]) -> list[str]:
    """What is not, once nothing changes any more."""
    places = {agent.uid: agent.jobs for agent in agents}

    async def judged() -> list[str]:
        truth = await recorder.truth(places, hurt, running(recorder))
        return broken_promises(recorder.history, truth)

    broken: list[str] = []

    async def settled() -> bool:
        nonlocal broken
        broken = await judged()
        return not broken

    try:
        await eventually(settled, seconds=10)
    except AssertionError:
        return broken
    return []


def running(recorder: Recorder) -> set[str]:
    """Jobs of which a process is there, by its working directory."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parts = (entry / "cwd").readlink().parts
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if len(parts) > 1 and parts[-1] == "sandbox" and words.startswith((b"sleep\0", b"/bin/sh\0")):
            found.add(parts[-2])
    return found & set(recorder.agent_of)
