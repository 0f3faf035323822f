"""Agents that the router dials: named by address and token, kept while they have jobs, remembered over a restart."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import socket
import stat
from typing import Any

from asking import ask, at, created, on, sleeping

from prouter.testing import AgentDaemon, RouterDaemon, eventually


async def connections(router: RouterDaemon) -> list[dict[str, Any]]:
    return list((await ask(router, "GET", "/connections")).json["connections"])


def memory(router: RouterDaemon) -> str:
    """The file that the router keeps for its next run."""
    (found,) = router.place.glob("state/**/agents.json")
    assert stat.S_IMODE(found.stat().st_mode) == 0o600
    return found.read_text()


async def test_the_same_address_and_token_share_one_connection(fleet) -> None:
    router, agent = fleet.router(), fleet.agent()
    made = await asyncio.gather(*(created(router, at(agent)) for _ in range(8)))
    made.append(await created(router, at(agent)))
    assert {info["agent"]["uid"] for info in made} == {agent.uid}
    assert {info["sender"]["direction"] for info in made} == {"SERVER"}
    (connection,) = await connections(router)
    assert connection["mode"] == "CLIENT"
    assert connection["peer"]["auth"]["uid"] == agent.uid
    assert agent.log.count("linked to router") == 1


async def test_who_is_not_there_or_wants_another_token_is_not_found_at_once(fleet) -> None:
    router, agent = fleet.router(), fleet.agent()
    await created(router, at(agent))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    silent = {"agent": {"type": "address", "address": nobody, "token": "t" * 32}}
    for body in (at(agent, secrets.token_hex(16)), at(agent, ""), silent, at_router(router)):
        problem = (await ask(router, "POST", "/jobs/create", body)).problem(404, "agent-not-found")
        assert "connection" in problem["detail"]
        assert "not found" in problem["detail"]
        assert body["agent"]["token"] not in problem["detail"] or not body["agent"]["token"]
    assert len(await connections(router)) == 1


def at_router(router: RouterDaemon) -> dict[str, Any]:
    """Somebody answers there, who is no agent."""
    host, port = router.address("control")
    return {"agent": {"type": "address", "address": f"{host}:{port}", "token": "t" * 32}}


async def test_an_address_that_is_none_is_an_invalid_request(fleet) -> None:
    router = fleet.router()
    for address in ("nowhere", "host:", ":80", "host:0", "host:65536", "host:1:2", "a/b:80", "user@host:80", "host:٣"):
        body = {"agent": {"type": "address", "address": address, "token": "t"}}
        answer = await ask(router, "POST", "/jobs/create", body)
        assert answer.status == 400, address
        assert "Invalid request" in answer.json["detail"]


async def test_a_token_is_never_shown(fleet) -> None:
    router, agent = fleet.router(flags=("--connection-debug", "--log-level", "debug")), fleet.agent()
    info = await created(router, at(agent))
    wrong = secrets.token_hex(16)
    refused = await ask(router, "POST", "/jobs/create", at(agent, wrong))
    shown = [
        (await ask(router, "GET", path)).content.decode() for path in ("/connections", "/agents", "/jobs", "/info")
    ]
    for text in (*shown, json.dumps(info), refused.content.decode(), router.log, agent.log):
        assert agent.token not in text
        assert wrong not in text


async def test_another_token_of_the_same_agent_leads_to_the_link_that_there_is(fleet) -> None:
    """Two links of one router to one agent would replace each other for ever."""
    second = secrets.token_hex(16)
    first = secrets.token_hex(16)
    router = fleet.router()
    agent = fleet.agent(environ={"PAGENT_SERVER__ACCEPT_TOKENS": json.dumps([first, second])})
    port = agent.address("server")[1]
    there = at(agent, second) | {"agent": {"type": "address", "address": f"localhost:{port}", "token": second}}
    jobs = [await created(router, body) for body in (at(agent, first), at(agent, second), there)]
    assert {info["agent"]["uid"] for info in jobs} == {agent.uid}
    before = await connections(router)
    await asyncio.sleep(1.0)
    assert await connections(router) == before
    assert len(before) == 1


async def test_an_agent_that_dialed_in_may_be_named_by_its_address_as_well(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, at(agent)))["path"]
    (now,) = await connections(router)
    await asyncio.sleep(1.0)
    assert (await ask(router, "GET", f"{path}/info")).status == 200
    await created(router, on(agent))
    await created(router, at(agent))
    assert await connections(router) == [now]


async def test_a_connection_is_dropped_when_its_agent_has_had_no_job_for_the_polling_delay(fleet) -> None:
    router, agent = fleet.router("client.polling_delay=0.5"), fleet.agent()
    path = (await created(router, at(agent)))["path"]
    await ask(router, "POST", f"{path}/start", {"args": ["true"], "port_expected_count": 0})
    await asyncio.sleep(1.5)
    assert len(await connections(router)) == 1, "a job that ended is a job"
    await ask(router, "DELETE", path)

    async def dropped() -> bool:
        return await connections(router) == []

    await eventually(dropped, what="the end of the idle connection")
    assert (await ask(router, "GET", "/agents")).json["agents"] == []
    (await ask(router, "GET", f"{path}/info")).problem(404, "agent-not-found")
    await eventually(lambda: agent.token not in memory(router), what="a memory without the agent")
    assert (await created(router, at(agent)))["agent"]["uid"] == agent.uid


async def test_a_path_works_after_the_router_was_killed_and_started_again(fleet) -> None:
    router, agent = fleet.router(), fleet.agent()
    path = (await created(router, at(agent)))["path"]
    pid = (await ask(router, "POST", f"{path}/start", sleeping())).json["pid"]
    await eventually(lambda: agent.token in memory(router), what="the agent in the file")
    router.kill()
    router.start()
    assert await back(router, path)
    info = (await ask(router, "GET", f"{path}/info")).json
    assert (info["state"], info["pid"], info["path"]) == ("RUNNING", pid, path)
    os.kill(pid, 0)


async def back(router: RouterDaemon, path: str) -> bool:
    """Until the path answers; before that its agent is away, never unknown."""

    async def there() -> bool:
        answer = await ask(router, "GET", f"{path}/info")
        assert answer.status in (200, 503), answer
        assert answer.status == 200 or re.fullmatch(r"\d+", answer.headers["Retry-After"])
        return answer.status == 200

    return bool(await eventually(there, what=f"{path} after the restart"))


async def test_an_agent_that_was_gone_for_a_while_is_dialed_again(fleet) -> None:
    router = fleet.router()
    agent: AgentDaemon = fleet.agent()
    path = (await created(router, at(agent)))["path"]
    agent.stay_put("server")
    agent.stop()
    (await ask(router, "POST", f"{path}/start", sleeping())).problem(503, "agent-away")
    agent.start()
    assert await back(router, path)
