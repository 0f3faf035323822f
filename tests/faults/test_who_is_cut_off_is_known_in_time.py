"""R2: packets between a router and an agent vanish without a word, all of them or those of one direction.

Both know it soon, each call ends with an answer or a visible cut, jobs go on, and all is well soon after it healed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from asked_streams import JOB
from ended_calls import BIG, MIB, UPGRADE, Calls
from figures import LONG, Figures
from namespaces import inside, needs_namespaces
from proxied import Proxied, call, new_job
from two_hosts import Cable, two_hosts

from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = needs_namespaces


@dataclass(frozen=True, slots=True)
class Pace:
    """How often links are pinged, and what is promised then."""

    ping_seconds: float
    answered_seconds: float
    settings: tuple[str, ...] = ()

    @property
    def known_seconds(self) -> float:
        return 3 * self.ping_seconds


SHIPPED = Pace(5.0, 16.0)
QUICK = Pace(0.5, 5.0, ("links.ping_interval=0.5",))
"""The kernel's own probes, of a second at least, take longest."""
PACE = SHIPPED if LONG else QUICK
WELL_SECONDS = 3.0
MOVED = "an agent with another address: from its new dial until it is registered"
ROOM = 3
FOLLOWS = "output?follow"
"""Stays open, and goes on where it was."""
APART_SECONDS = 600.0 if LONG else 0.0
"""From the first lost packet on, or for as long as it takes until everybody knows."""
SHIPPED_APART_SECONDS = 30.0


class Place:
    """A router at the near host, where the clients are, an agent at the far one, and jobs there."""

    def __init__(self, fleet: Fleet, cable: Cable, pace: Pace) -> None:
        self.cable, self.pace = cable, pace
        self.router: RouterDaemon = fleet.router(f"server.interface={cable.near_address}", *pace.settings)
        with inside(cable.far):
            self.agent: AgentDaemon = fleet.agent(self.router, *pace.settings)
        deadline = time.monotonic() + 20
        while not self.linked():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.job, self.other = (new_job(self.router, self.agent, "", JOB) for _ in range(2))
        self.talking = self.new()
        talks = {"args": ["sh", "-c", "while sleep 0.1; do echo word; done"], "port_expected_count": 0}
        call(self.router, "POST", f"{self.talking}/start", talks)

    def linked(self) -> bool:
        """Whether the router has a link."""
        return any(found["connected"] for found in call(self.router, "GET", "/agents")["agents"])

    def ends_seen(self) -> int:
        """How many links the agent has seen ending."""
        return self.agent.log.count(" ended\n")

    def comes(self) -> int:
        """How many links the router has registered."""
        return self.router.log.count(" is connected, ")

    def check_jobs(self) -> None:
        """Nothing has happened to them."""
        for job in (self.job, self.other):
            info = call(self.router, "GET", f"{job.info['path']}/info")
            assert (info["state"], info["pid"]) == ("RUNNING", job.info["pid"])

    def new(self) -> str:
        """The path of a job that was created and not started."""
        where = {"agent": {"type": "uid", "uid": self.agent.uid}, "name": "new"}
        return str(call(self.router, "POST", "/jobs/create", where)["path"])


@contextlib.contextmanager
def place(fleet: Fleet, pace: Pace = PACE) -> Iterator[Place]:
    with two_hosts() as cable:
        try:
            yield Place(fleet, cable, pace)
        finally:
            cable.heal()
            fleet.close()


@pytest.fixture(autouse=True)
def _no_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (RouterDaemon, AgentDaemon):
        monkeypatch.setattr(kind, "forks", False)  # or it would be where its parent is


async def begin_before(place: Place, calls: Calls) -> None:
    """What is under way when the packets begin to vanish."""
    job, path = place.job, place.job.info["path"]
    with (job.sandbox / "big").open("wb") as big:
        big.truncate(BIG)
    (job.sandbox / "small").write_bytes(b"small")
    calls.begin("a Websocket", "GET", f"{job.prefix}/asked", *UPGRADE, close=False)
    calls.begin("a download of the job's", "GET", f"{job.prefix}/big?bytes={BIG}&as=chunks")
    calls.begin("a download", "GET", f"{path}/file/big")
    calls.begin(FOLLOWS, "GET", f"{place.talking}/output?follow=1")
    await calls.answering("a Websocket", "a download of the job's", "a download", FOLLOWS)
    await eventually(lambda: calls.came.get(FOLLOWS), what="output for who follows it")
    calls.begin("a request that the job has", "GET", f"{job.prefix}/hang")
    calls.begin("an upload that the job reads", "POST", f"{job.prefix}/sink?after=never", body=bytes(MIB))
    calls.begin("wait?timeout", "POST", f"{path}/wait?timeout={place.pace.ping_seconds}")


def begin_behind(place: Place, calls: Calls, new: str) -> None:
    """What is asked of who is cut off already."""
    job, path = place.job, place.job.info["path"]
    where = {"agent": {"type": "uid", "uid": place.agent.uid}, "name": "newer"}
    calls.begin("create", "POST", "/jobs/create", body=where)
    calls.begin("start", "POST", f"{new}/start", body={"args": ["sleep", "1"], "port_expected_count": 0})
    calls.begin("info", "GET", f"{path}/info")
    calls.begin("stop", "POST", f"{new}/stop")
    calls.begin("an upload", "PUT", f"{path}/file/up", body=bytes(MIB))
    calls.begin("a small download", "GET", f"{path}/file/small")
    calls.begin("a request on a kept pipe", "GET", f"{job.prefix}/")
    calls.begin("a post on a kept pipe", "POST", f"{job.prefix}/sink?", body=b"x")
    calls.begin("a request on a fresh pipe", "GET", f"{place.other.prefix}/")


async def test_who_is_cut_off_is_known_in_time_and_all_is_well_soon_after(fleet: Fleet, figures: Figures) -> None:
    with place(fleet) as here:
        cable = here.cable
        await cut_off(here, figures, "both ways", cable.drop, cable.heal, apart_seconds=APART_SECONDS)
        await cut_off(here, figures, "to the agent", lambda: cable.drop(back=False), cable.heal)
        await cut_off(here, figures, "back", lambda: cable.drop(there=False), cable.heal)
        await cut_off(here, figures, "unplugged", cable.unplug, cable.plug)
        await moved(here, figures)


@pytest.mark.timeout(180)
async def test_half_a_minute_without_a_packet_passes_as_promised_with_what_is_shipped(
    fleet: Fleet, figures: Figures
) -> None:
    with place(fleet, SHIPPED) as here:
        name = f"{SHIPPED_APART_SECONDS:g} s apart as shipped"
        await cut_off(here, figures, name, here.cable.drop, here.cable.heal, apart_seconds=SHIPPED_APART_SECONDS)


async def cut_off(
    here: Place,
    figures: Figures,
    name: str,
    cut: Callable[[], None],
    heal: Callable[[], None],
    apart_seconds: float = 0,
) -> None:
    """Of every call that is made just before or behind it: its end; of both daemons: that they know."""
    calls, pace = Calls(here.job), here.pace
    new = await asyncio.to_thread(here.new)
    await begin_before(here, calls)
    assert (await here.job.ask("/")).status == 200  # its pipe is kept
    ends = here.ends_seen()
    cut()
    begun = time.monotonic()
    begin_behind(here, calls, new)
    known: dict[str, float] = {}

    async def until_known(who: str, probe: Callable[[], bool]) -> None:
        await eventually(
            probe, seconds=ROOM * pace.known_seconds, what=f"the end of the link, as the {who} sees it, {name}"
        )
        known[who] = time.monotonic() - begun

    await asyncio.gather(
        until_known("router", lambda: not here.linked()), until_known("agent", lambda: here.ends_seen() > ends)
    )
    ended = await calls.all_ended(begun, ROOM * pace.answered_seconds, but=FOLLOWS)
    hanging = calls.hanging(but=FOLLOWS)
    assert not hanging, f"{name}: without an end after {ROOM * pace.answered_seconds} s: {hanging}"
    wrong = {what: how for what, how in ended.items() if not how.tells}
    assert not wrong, f"{name}: {wrong}"
    await asyncio.sleep(max(0.0, begun + apart_seconds - time.monotonic()))
    heal()
    well = await until_well(here.job, here.other)
    await follower_goes_on(calls, here.pace)
    slowest = max(how.seconds for how in ended.values())
    for what, value, goal in (
        ("until both ends know", max(known.values()), pace.known_seconds),
        ("the longest call", slowest, pace.answered_seconds),
        ("well after it healed", well, WELL_SECONDS),
    ):
        figures.record("R2", f"{name}: {what}", value, goal=goal, unit="s", holds=value <= goal)
    here.check_jobs()


async def moved(here: Place, figures: Figures) -> None:
    """The agent has another address: it is there again over a new link, and nothing that went to the old one hangs."""
    calls = Calls(here.job)
    await begin_before(here, calls)
    assert (await here.job.ask("/")).status == 200
    ends, comes = here.ends_seen(), here.comes()
    begun = time.monotonic()
    here.cable.move("10.77.0.3")
    calls.begin("a request on a kept pipe", "GET", f"{here.job.prefix}/")
    ended, seconds = await asyncio.gather(
        calls.all_ended(begun, ROOM * here.pace.answered_seconds, but=FOLLOWS), from_dial_until_there(here, ends, comes)
    )
    assert not calls.hanging(but=FOLLOWS)
    assert all(how.tells for how in ended.values()), ended
    figures.record("R3", MOVED, seconds, goal=WELL_SECONDS, unit="s")
    await until_well(here.job, here.other)
    await follower_goes_on(calls, here.pace)
    here.check_jobs()


async def from_dial_until_there(here: Place, ends: int, comes: int) -> float:
    """Seconds from when the agent knows that its link is over, and dials anew, until the router has registered it."""
    await eventually(
        lambda: here.ends_seen() > ends, seconds=ROOM * here.pace.known_seconds, what="the end of the old link"
    )
    begun = time.monotonic()
    await eventually(lambda: here.comes() > comes, seconds=ROOM * WELL_SECONDS, what="the agent over a new link")
    return time.monotonic() - begun


async def follower_goes_on(calls: Calls, pace: Pace) -> None:
    """Or it was cut; who follows output does not see that there is none any more."""
    before = calls.came[FOLLOWS]
    await eventually(
        lambda: calls.is_over(FOLLOWS) or calls.came[FOLLOWS] > before,
        seconds=ROOM * pace.answered_seconds,
        what="output for who follows it, or the end of his connection",
    )
    await calls.leave()


async def until_well(*jobs: Proxied) -> float:
    """Seconds until a new request to each is answered."""
    begun = time.monotonic()

    async def answers(job: Proxied) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                return (await job.ask("/")).status == 200
        return False

    for job in jobs:
        await eventually(lambda job=job: answers(job), seconds=ROOM * WELL_SECONDS, what="an answer")
    return time.monotonic() - begun
