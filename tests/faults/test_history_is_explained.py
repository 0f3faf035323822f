"""R22: what real clients are told while routers, agents and links die can be explained: nothing acknowledged is lost
or done twice without the job saying so."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
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
STANDS_SECONDS = (0.2, 3.0)
"""The least and the most: longer than a link may be silent, 2.5 s here."""
LEAST_ACKED, LEAST_FAULTS = int(2 * SECONDS), max(4, int(SECONDS / 10))


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
    fleet.expected_errors += ["unfinished when the agent ended"]
    async with BrokenNetwork(router.address("server")) as line, aiohttp.ClientSession() as session:
        dialing = (f"client.address='{line.authority}'", "client.reconnect_delay=0.2")
        agents = [fleet.agent(router, *dialing), fleet.agent(router, *dialing, "jobs.survive_agent=True")]
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
    ends = [asked for asked in recorder.history.calls if asked.verb == "wait" and asked.acked and not asked.timeout]
    figures.record("R22", "promises broken", len(broken), goal=0, holds=not broken)
    figures.record("R22", "calls recorded", len(recorder.history.calls))
    for what, value, least in (("calls acknowledged", acked, LEAST_ACKED), ("faults", faults, LEAST_FAULTS)):
        figures.record("R22", what, value, goal=f">= {least}", holds=value >= least)
    figures.record("R22", "for how long they came at random", SECONDS, unit="s")
    assert acked > CLIENTS, "nobody was told anything"
    assert ends, "nobody waited for the end of a job"
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
    what = ["router", "mortal", "cut", "survivor", "stand"]
    mortal, survivor = agents
    while time.monotonic() < until or faults < len(what):
        await asyncio.sleep(chance.uniform(0.2, 0.9))
        kind = chance.choice(what) if faults >= len(what) else what[faults]
        faults += 1
        if kind == "cut":
            line.cut()
        elif kind == "stand":
            await stands_still(chance.choice([router, *agents]), chance.uniform(*STANDS_SECONDS))
        else:
            daemon = {"router": router, "mortal": mortal, "survivor": survivor}[kind]
            daemon.kill()
            if kind == "survivor":
                hurt |= amid_a_change(recorder, survivor)
            recorder.run = f"run {faults + 1}"
            await asyncio.to_thread(daemon.start)
            if kind == "mortal":  # also what was made while it died
                hurt |= {job for job, agent in recorder.agent_of.items() if agent == mortal.uid}
    return faults


async def stands_still(daemon: RouterDaemon | AgentDaemon, seconds: float) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def amid_a_change(recorder: Recorder, agent: AgentDaemon) -> set[str]:
    """Jobs that an agent which jobs survive may lose by its death: whose start or removal is under way, or may be."""
    theirs = [job for job, uid in recorder.agent_of.items() if uid == agent.uid]
    calls = {job: recorder.history.of(job) for job in theirs}
    return {job for job in theirs for verb in ("start", "remove") if calls[job].of(verb) and not calls[job].acked(verb)}


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
