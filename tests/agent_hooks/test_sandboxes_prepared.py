"""Sandboxes are prepared in order and cleaned in the reverse; what fails on the way leaves no job and no trace."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from bare_peer import greeted
from witness import Told, tell

from prouter import hookimpl
from prouter.client import Client, RequestFailed
from prouter.errors import NoRoom
from prouter.model.jobs import JobRecord
from prouter.testing import AgentDaemon, eventually

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


class _Mount:
    name = ""

    @hookimpl
    def prouter_prepare_sandbox(self, record: JobRecord, sandbox: Path) -> None:
        assert not (sandbox / self.name).exists()
        (sandbox / self.name).write_text(record.name)
        tell(f"{self.name} prepares {record.name}, beside {len(list(sandbox.iterdir())) - 1}")

    @hookimpl
    def prouter_cleanup_sandbox(self, record: JobRecord, sandbox: Path) -> None:
        tell(f"{self.name} cleans {record.name}, {'whole' if (sandbox / self.name).exists() else 'gone'}")


class First(_Mount):
    name = "first"


class Second(_Mount):
    name = "second"


class Picky:
    """Between the two: fails for jobs whose name says how; its own clean-up fails, too."""

    @hookimpl
    async def prouter_prepare_sandbox(self, record: JobRecord) -> None:
        match record.name:
            case "raises":
                raise KeyError("no such share")
            case "refuses":
                raise NoRoom("the share is full")
            case "exits":
                raise SystemExit(3)
            case "hangs":
                tell("picky hangs")
                await asyncio.sleep(600)

    @hookimpl
    async def prouter_cleanup_sandbox(self, record: JobRecord) -> None:
        if record.name == "stuck":
            await asyncio.sleep(600)
        raise RuntimeError("cleaning is beneath me")


PLUGINS = {"first": First, "picky": Picky, "second": Second}
SETTINGS = ("plugins.deadlines={'prouter_prepare_sandbox': 1.0, 'prouter_cleanup_sandbox': 1.0}",)
EXPECTED_ERRORS = ("plugin picky", "Traceback")


def left_over(agent: AgentDaemon) -> list[str]:
    return sorted(path.name for path in agent.jobs.iterdir())


async def test_in_order_when_it_is_made_and_backwards_when_it_goes(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "good")
        assert told.lines() == ["first prepares good, beside 0", "second prepares good, beside 1"]
        assert await job.read("first") == b"good"
        told.clear()
        await job.start(SLEEPS, port_expected_count=0)
        await job.remove()
        assert told.lines() == ["second cleans good, whole", "first cleans good, whole"]
        assert left_over(agent) == []


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("raises", 500, ("plugin 'picky' failed in prouter_prepare_sandbox", "KeyError")),
        ("exits", 500, ("plugin 'picky' failed in prouter_prepare_sandbox",)),
        ("hangs", 500, ("plugin 'picky' failed in prouter_prepare_sandbox", "did not answer within 1 s")),
        ("refuses", 507, ("plugin 'picky' could not prepare the sandbox: the share is full",)),
    ],
)
async def test_a_failure_undoes_what_was_done_and_names_who_failed(
    place, told: Told, how: str, status: int, words: tuple[str, ...]
) -> None:
    router, agent = place
    async with router.client() as client:
        with pytest.raises(RequestFailed) as refused:
            await client.create({"type": "uid", "uid": agent.uid}, how)
        assert refused.value.http_status == status
        assert all(word in refused.value.detail for word in words), refused.value.detail
        assert told.lines()[-1] == f"first cleans {how}, whole"
        assert not any("second" in line for line in told.lines())
        assert left_over(agent) == []
        assert await client.jobs() == []
        await client.create({"type": "uid", "uid": agent.uid}, "good")  # and the next one is


async def test_a_create_that_is_broken_off_leaves_nothing(fleet, told: Told) -> None:
    """The router dies while the sandbox is prepared; nobody waits for the job any more."""
    router = fleet.router()
    fleet.expected_errors += ["plugin picky", "Traceback"]
    agent = fleet.agent(router, environ=told.environ, plugins={"first": First, "picky": Picky})
    await router.agent_is_there(agent)

    async def create(client: Client) -> None:
        await client.create({"type": "uid", "uid": agent.uid}, "hangs")

    async with router.client() as client:
        creating = asyncio.create_task(create(client))
        await eventually(lambda: "picky hangs" in told.lines())
        router.kill()
        with pytest.raises(Exception):  # noqa: B017, PT011 -- whatever a client says of a router that died
            await creating
    await eventually(lambda: left_over(agent) == [] and told.lines()[-1] == "first cleans hangs, whole")


async def test_what_a_crash_left_is_cleaned_at_the_next_start(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        lost = await client.create({"type": "uid", "uid": agent.uid}, "lost")
        await lost.start(SLEEPS, port_expected_count=0)
        agent.kill()
        told.clear()
        agent.start()
        await router.agent_is_there(agent)
        assert told.lines() == ["second cleans lost, whole", "first cleans lost, whole"]
        assert not agent.sandbox(lost).exists()
        told.clear()
        await lost.remove()
        assert told.lines() == [], "there is no sandbox any more"


async def test_a_clean_up_that_hangs_holds_up_nobody_for_ever(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "stuck")
        told.clear()
        await job.remove()
        assert told.lines() == ["second cleans stuck, whole", "first cleans stuck, whole"]
        assert left_over(agent) == []
        assert "plugin picky did not clean up after job" in agent.log


async def test_what_an_original_router_makes_is_prepared_and_cleaned_too(fleet, told: Told) -> None:
    """Its jobs go with its link."""
    agent = fleet.agent(environ=told.environ, plugins={"first": First, "second": Second})
    host, port = agent.address("server")
    async with greeted(f"{host}:{port}", agent.token) as peer:
        assert (await peer.call(1, "job_create", "theirs"))[3] == 0
        assert told.lines() == ["first prepares theirs, beside 0", "second prepares theirs, beside 1"]
    await eventually(lambda: told.lines()[2:] == ["second cleans theirs, whole", "first cleans theirs, whole"])
    await eventually(lambda: left_over(agent) == [], what="the end of the directory")
