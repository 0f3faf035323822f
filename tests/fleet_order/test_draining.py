"""POST /agents/UID/drain and /undrain: no new jobs on this agent, whoever asks and however it is named."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ordering import (
    OLDER,
    Lazy,
    agent_link,
    by_address,
    by_uid,
    call,
    connected_by_name,
    entry,
    failure,
    refused,
    router_link,
)

from prouter.agent.draining import DrainSwitch
from prouter.client import Client
from prouter.errors import InvalidRequest, NoAgent, NoRoom
from prouter.model.agents import Drain
from prouter.model.ids import JobUid, new_uid
from prouter.model.jobs import JobRecord, Sender
from prouter.pluginkit.tasks import TaskOwner
from prouter.rpc.messages import CallType
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

DRAINING = "it is draining"
SLEEP = ["sleep", "600"]
SILENT = "jobs.activity_interval=3600"
"""Nothing else wakes the watches, so that what is told is told at once."""


async def two_routers(fleet: Fleet) -> tuple[RouterDaemon, RouterDaemon, AgentDaemon]:
    """And one agent that dials both."""
    first = fleet.router()
    second = fleet.router(environ={"PROUTER_SERVER__ACCEPT_TOKENS": json.dumps([first.agent_token])})
    addresses = ["{}:{}".format(*router.address("server")) for router in (first, second)]
    agent = fleet.agent(first, f"client.addresses={addresses!r}", "client.reconnect_delay=0.3", SILENT)
    for router in (first, second):
        await router.agent_is_there(agent)
    return first, second, agent


async def test_no_new_job_by_any_locator_while_those_that_are_there_go_on(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        runs, new = await client.create(by_uid(agent)), await client.create(by_uid(agent))
        await runs.start(SLEEP, port_expected_count=0)
        assert (await entry(client, agent))["draining"] is False
        answer = await client.drain(agent.uid)
        assert answer["draining"] is True
        assert answer == await entry(client, agent), "and the very next request sees it"
        assert await client.drain(agent.uid) == answer, "twice is as once"
        for locator in connected_by_name(agent):
            assert await refused(client, locator) == DRAINING, locator
        await new.start(SLEEP, port_expected_count=0)
        assert new.info["state"] == "RUNNING"
        assert (await runs.refresh()).info["state"] == "RUNNING"
        await runs.stop(grace_seconds=0)
        assert (await runs.restart()).info["state"] == "RUNNING", "it is no new job"
        assert (await client.undrain(agent.uid))["draining"] is False
        assert (await client.undrain(agent.uid))["draining"] is False
        await client.create(by_uid(agent))


async def test_a_request_that_is_repeated_is_answered_with_its_job(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        uid = new_uid()
        job = await client.create(by_uid(agent), "once", uid=uid)
        await client.drain(agent.uid)
        assert (await client.create(by_uid(agent), "once", uid=uid)).path == job.path
        assert (await failure(client.create(by_uid(agent), "other", uid=uid))).http_status == 409
        assert await refused(client, by_uid(agent), uid=new_uid()) == DRAINING


async def test_an_agent_that_is_dialed_refuses_routers_that_come_only_now(fleet) -> None:
    first, second, agent = fleet.router(), fleet.router(), fleet.agent()
    async with first.client() as client, second.client() as other:
        await client.create(by_address(agent))
        await client.drain(agent.uid)
        assert await refused(client, by_address(agent)) == DRAINING
        assert await refused(other, by_address(agent)) == DRAINING
        await other.undrain(agent.uid)
        await other.create(by_address(agent))
        await eventually(lambda: _is(client, agent, draining=False), what="the first router's news")
        await client.create(by_address(agent))


async def test_every_router_is_told_and_the_switch_outlives_the_agent(fleet) -> None:
    first, second, agent = await two_routers(fleet)
    async with first.client() as client, second.client() as other:
        await client.drain(agent.uid)
        await eventually(lambda: _is(other, agent, draining=True), what="the other router's news")
        assert await refused(other, by_uid(agent)) == DRAINING
        before = [(asked, await entry(asked, agent)) for asked in (client, other)]
        agent.kill()
        agent.start()
        for asked, shown in before:
            await eventually(lambda asked=asked, shown=shown: _back(asked, agent, shown))
            assert (await entry(asked, agent))["draining"] is True, "from the handshake on"
            assert await refused(asked, by_uid(agent)) == DRAINING
        await other.undrain(agent.uid)
        await eventually(lambda: _is(client, agent, draining=False), what="the first router's news")
    file = agent.place / "state" / "drain.json"
    assert file.stat().st_mode & 0o777 == 0o600
    async with first.client() as client:
        shown = await entry(client, agent)
        agent.kill()
        file.write_text('{"draining": tr')
        agent.start()
        await eventually(lambda: _back(client, agent, shown))
        assert (await entry(client, agent))["draining"] is False
    assert "does not say whether the agent drains" in agent.log
    assert file.with_name("torn-drain.json").read_text() == '{"draining": tr'


async def _is(client: Client, agent: AgentDaemon, **wanted: object) -> bool:
    return (await entry(client, agent)).items() >= wanted.items()


async def _back(client: Client, agent: AgentDaemon, before: Mapping[str, Any]) -> bool:
    """Connected anew."""
    shown = await entry(client, agent)
    return bool(shown["connected"]) and shown["connected_at"] != before["connected_at"]


async def test_the_agent_enforces_it_whatever_a_router_believes(fleet) -> None:
    agent = fleet.agent()
    async with router_link(agent) as rpc:
        made = await call(rpc, "prouter_create", new_uid(), "before", {})
        assert await call(rpc, "prouter_drain", True) == {"on": True, "revision": 1}
        assert await call(rpc, "prouter_drain", True) == {"on": True, "revision": 1}
        for method, arguments in (("prouter_create", (None, "n", {})), ("job_create", ("n",))):
            with pytest.raises(NoAgent, match=DRAINING):
                await call(rpc, method, *arguments)
        again = await call(rpc, "prouter_create", made["uid"], "before", {})
        assert again == made
        assert (await call(rpc, "job_start", made["uid"], SLEEP, {}, None, 0))["state"] == "RUNNING"
        with pytest.raises(InvalidRequest):
            await call(rpc, "prouter_drain", "yes")


async def test_news_of_it_go_only_to_routers_that_know_them(fleet) -> None:
    agent = fleet.agent()

    async def news(rpc: Any) -> list[str]:
        """What a watch tells until the agent's first job is told."""
        kinds: list[str] = []
        async with asyncio.timeout(20), rpc.open(CallType.ISTREAM, "prouter_watch") as watch:
            async for item in watch.values():
                kinds += item.keys() - {"more"}
                if kinds == ["jobs"]:
                    await call(rpc, "prouter_drain", True)
                    await call(rpc, "prouter_drain", False)
                    await call(rpc, "prouter_create", None, "n", {})
                if "job" in item:
                    return kinds
        raise AssertionError(kinds)

    async with router_link(agent, "older", OLDER) as rpc:
        assert await news(rpc) == ["jobs", "job"]
    async with router_link(agent, "newer") as rpc:
        told = await news(rpc)
        assert {"drain"} < set(told)


async def test_the_newest_that_an_agent_says_counts_whatever_comes_last(fleet) -> None:
    router, lazy = fleet.router(), Lazy()

    async def after(*news: Drain) -> bool:
        """Whether it counts as draining once all this was told."""
        for drain in news:
            await lazy.tell({"drain": drain.to_wire()})
        last = JobRecord(JobUid(new_uid()), "the last news", Sender("CLIENT", "r", "r"), revision=1)
        await lazy.tell({"job": last.to_wire()})
        await eventually(lambda: _has(client, last.uid))
        (shown,) = await client.agents()
        return bool(shown["draining"])

    async with router.client() as client, agent_link(router, "a", lazy.methods, drain=Drain(True, 5)):
        await eventually(lambda: _there(client, "a"))
        assert await after(), "as it said in the handshake"
        assert await after(Drain(False, 4), Drain(False, 5))
        assert not await after(Drain(False, 7), Drain(True, 6))
        assert router.log.count("takes new jobs again") == 1


async def _has(client: Client, job: str) -> bool:
    return any(found.info["uid"] == job for found in await client.jobs())


async def test_who_can_not_be_drained_is_said(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        unknown = await failure(client.drain("nobody"))
        assert unknown.http_status == 404
        assert "connection" in str(unknown)
        assert "not found" in str(unknown)
        for capabilities in (None, OLDER):
            async with agent_link(router, "an/other", Lazy().methods, capabilities):
                await eventually(lambda: _there(client, "an/other"))
                not_possible = await failure(client.drain("an/other"))
                assert not_possible.http_status == 501
                assert "can not be drained" in str(not_possible)
        agent.kill()
        await eventually(lambda: _is(client, agent, connected=False))
        async with client.session.post(f"{client.url}/agents/{agent.uid}/drain") as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0


async def _there(client: Client, uid: str) -> bool:
    return any(found["uid"] == uid and found["connected"] for found in await client.agents())


VETO = """
from prouter import hookimpl
from prouter.model.access import Refusal

class Veto:
    @hookimpl
    def prouter_authorize(self, principal, action, resource):
        if action == "agents.drain":
            return Refusal(f"not {resource.agent}")
"""


async def test_it_is_an_action_of_its_own_on_that_agent(fleet, tmp_path: Path) -> None:
    (tmp_path / "veto.py").write_text(VETO)
    router = fleet.router(f"plugins.load=[{str(tmp_path / 'veto.py')!r}]")
    async with router.client() as client:
        for turn in (client.drain, client.undrain):
            vetoed = await failure(turn("some/agent"))
            assert vetoed.http_status == 403
            assert "not some/agent" in str(vetoed)


async def test_changes_are_events(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client, client.session.get(f"{client.url}/events") as events:
        await events.content.readuntil(b"\n\n")
        for draining, turn in ((True, client.drain), (True, client.drain), (False, client.undrain)):
            assert (await turn(agent.uid))["draining"] is draining
        await client.create(by_uid(agent), "the end")
        told: list[tuple[str, object]] = []
        async with asyncio.timeout(20):
            while not told or told[-1][0] != "job":
                lines = (await events.content.readuntil(b"\n\n")).decode().splitlines()
                fields = dict(line.split(": ", 1) for line in lines if ": " in line)
                data = json.loads(fields["data"])
                if fields["event"] == "agent":
                    assert (data["agent"]["uid"], data["connected"]) == (agent.uid, True)
                told.append((fields["event"], data.get("agent", {}).get("draining")))
    assert told == [("agent", True), ("agent", False), ("job", None)]


def prouter(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROUTER_")}
    command = [sys.executable, "-m", "prouter", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean | environ)


async def test_the_command_line_asks_a_router(fleet, tmp_path: Path) -> None:
    token = "a-token-of-a-client-0123456789"
    router = fleet.router(environ={"PROUTER_CONTROL__TOKENS": json.dumps([token])})
    agent = fleet.agent(router)
    file = tmp_path / "token"
    file.write_text(f"# of the router\n{token}\n")
    where = ("--url", router.url(), "--token-file", str(file))

    async def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(prouter, *words, **environ)

    async with router.client(token) as client:
        await eventually(lambda: _there(client, agent.uid))
        await client.create(by_uid(agent))
        done = await run("drain", *where, agent.uid)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"agent {agent.uid} takes no new jobs; 1 there have not finished\n"
        assert (await entry(client, agent))["draining"] is True
        done = await run("undrain", agent.uid, PROUTER_URL=router.url(), PROUTER_TOKEN=token)
        assert (done.returncode, done.stdout) == (0, f"agent {agent.uid} takes new jobs\n")
        assert (await entry(client, agent))["draining"] is False
    unknown = await run("drain", *where, "nobody")
    assert unknown.returncode == 1
    assert "404" in unknown.stderr
    stranger = await run("drain", "--url", router.url(), agent.uid, PROUTER_TOKEN="hush-hush")
    assert stranger.returncode == 1
    assert "401" in stranger.stderr
    assert "hush-hush" not in stranger.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("drain",), 2, "AGENT"),
        (("undrain", "--url", "http://127.0.0.1:9", "x"), 1, "no router answers at http://127.0.0.1:9"),
        (("drain", "--url", "nonsense", "x"), 1, "no router answers at nonsense"),
        (("drain", "--token-file", "/nowhere/token", "x"), 2, "/nowhere/token can not be read"),
        (("drain", "--token-file", "/dev/null", "x"), 2, "holds 0 tokens"),
    ],
)
def test_a_command_that_can_not_ask_says_why(words: tuple[str, ...], status: int, said: str) -> None:
    done = prouter(*words)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_switch_that_can_not_be_written_is_not_turned(tmp_path: Path) -> None:
    tasks = TaskOwner("test")
    switch, told = DrainSwitch(tmp_path, tasks), list[bool]()
    switch.told = lambda: told.append(switch.drain.on)
    in_the_way = tmp_path / "drain.json.new"
    in_the_way.mkdir()
    with pytest.raises(NoRoom):
        await switch.turn(True)
    assert (switch.drain.on, told, DrainSwitch(tmp_path, tasks).drain.on) == (False, [], False)
    in_the_way.rmdir()
    await asyncio.gather(switch.turn(True), switch.turn(False), switch.turn(True))
    assert told == [True, False, True]
    assert DrainSwitch(tmp_path, tasks).drain.on
    await tasks.close()


async def test_a_caller_that_goes_away_does_not_leave_it_half_turned(tmp_path: Path) -> None:
    tasks = TaskOwner("test")
    switch = DrainSwitch(tmp_path, tasks)
    caller = asyncio.create_task(switch.turn(True))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await eventually(lambda: switch.drain.on)
    assert DrainSwitch(tmp_path, tasks).drain.on
    await tasks.close()
