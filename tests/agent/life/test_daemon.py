"""The agent as a daemon: three sockets, its control API, and who it says that it is."""

from __future__ import annotations

import json
import urllib.request

import pytest
from small_jobs import get, made

from prouter.testing import Daemon, eventually

pytestmark = pytest.mark.as_user


async def test_each_of_the_three_sockets_serves_its_own_and_nothing_else(fleet) -> None:
    agent = fleet.agent()
    assert {"control", "server", "report"} <= agent.ready.keys()
    assert len({agent.address(name)[1] for name in ("control", "server", "report")}) == 3
    assert all(agent.address(name)[0] == "127.0.0.1" for name in ("control", "server", "report"))
    assert (await get(agent.url() + "/info"))[0] == 200
    for other in ("server", "report"):
        assert (await get(agent.url(other) + "/info"))[0] == 404
    assert (await get(agent.url() + "/job_started?job_id=1&port=1"))[0] == 404


async def test_a_report_that_is_not_exactly_a_job_and_a_port_is_400(fleet) -> None:
    agent = fleet.agent()
    more = ("job_id=1&port=1&more=1", "job_id=1&job_id=1&port=2", "job_id=1&port=x", "job_id=1&port=0", "port=70000")
    for query in ("", "job_id=1", "port=1", *more):
        status, why = await get(agent.url("report") + "/job_started?" + query)
        assert status == 400, query
        assert "Invalid request" in why


async def test_the_control_api_shows_the_agent_its_links_and_its_jobs(fleet) -> None:
    router, agent = await fleet.pair("identity.name='ant'", "properties={'gpu': 'no', 'cores': 2}")
    async with router.client() as client:
        job = await made(client, agent, "shown")
        info = json.loads((await get(agent.url() + "/info"))[1])
        assert info["auth"] == {"uid": agent.uid, "name": "ant"}
        assert info["properties"] == {"gpu": "no", "cores": "2"}
        assert {"system", "node", "release", "version", "machine"} <= info["platform"].keys()
        (connection,) = json.loads((await get(agent.url() + "/connections"))[1])["connections"]
        assert connection["mode"] == "CLIENT"
        assert connection["peer"]["auth"] == {"uid": router.uid, "name": connection["peer"]["auth"]["name"]}
        assert router.agent_token not in json.dumps(connection)
        (shown,) = json.loads((await get(agent.url() + "/jobs"))[1])["jobs"]
        assert shown["activity"].pop("requests") is None, "these are a router's to count"
        seen = (await job.refresh()).info
        assert seen["activity"].pop("requests") == 0
        assert shown == seen


async def test_a_shutdown_is_answered_and_then_ends_the_agent(fleet) -> None:
    agent = fleet.agent()
    request = urllib.request.Request(agent.url() + "/shutdown", data=b"", method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert (answer.status, answer.read()) == (200, b"")
    assert agent.ended() == 0


async def test_a_shutdown_that_a_foreign_page_asks_for_is_refused(fleet) -> None:
    agent = fleet.agent()
    request = urllib.request.Request(agent.url() + "/shutdown", data=b"", method="POST")
    request.add_header("Origin", "http://evil.example")
    with pytest.raises(urllib.request.HTTPError) as error:
        urllib.request.urlopen(request, timeout=30)
    with error.value as answer:
        assert answer.code == 403
    assert (await get(agent.url() + "/info"))[0] == 200


async def test_a_uid_that_was_not_given_is_made_once(fleet) -> None:
    router, agent = await fleet.pair()
    first = agent.uid
    assert len(first) == 32
    agent.stop()
    agent.start()
    assert agent.uid == first
    named = fleet.agent(router, "identity.uid='host-7/ü'")
    assert named.uid == "host-7/ü"
    await router.agent_is_there(named)


async def test_a_second_agent_on_the_machine_takes_a_state_and_a_uid_of_its_own(fleet) -> None:
    router = fleet.router()
    host, port = router.address("server")
    words = ["--set", "client.enabled=True", "--set", f"client.address={host}:{port}"]
    shared = {"XDG_STATE_HOME": str(fleet.place / "shared"), "PAGENT_CLIENT__TOKEN": router.agent_token}

    def begun() -> Daemon:
        return fleet.daemon("agent", *words, environ=shared)

    first, second = begun(), begun()
    assert first.uid != second.uid
    async with router.client() as client:

        async def both() -> bool:
            return {first.uid, second.uid} <= {agent["uid"] for agent in await client.agents()}

        await eventually(both)
        for agent in (first, second):
            job = await client.create({"type": "uid", "uid": agent.uid})
            assert (await job.start(["true"], port_expected_count=0)).info["agent"]["uid"] == agent.uid
    first.stop()
    first.start()
    assert first.uid not in ("", second.uid), "a restart takes the directory that is free again"
    assert len(list((fleet.place / "shared" / "prouter").iterdir())) == 2


async def test_a_state_directory_in_use_is_refused_where_it_was_named(fleet) -> None:
    agent = fleet.agent()
    said = fleet.refused("agent", "--set", f"jobs.root={str(agent.place / 'state')!r}", status=1)
    assert "in use by another agent" in said
