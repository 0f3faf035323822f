"""The router as a whole: what it is, who is connected, whether it is well, its end."""

from __future__ import annotations

import json
import os
import platform

from asking import ask, created, on, sleeping

from prouter import __version__
from prouter.testing import eventually


async def test_info_says_who_the_router_is(fleet) -> None:
    router = fleet.router("identity.name='main'", "identity.uid='the/router'")
    answer = await ask(router, "GET", "/info")
    assert answer.headers["Content-Type"] == "application/json"
    info = answer.json
    assert info.keys() == {"auth", "platform", "version", "plugins"}
    assert info["auth"] == {"uid": "the/router", "name": "main"}
    assert {"system", "node", "release", "version", "machine"} <= info["platform"].keys()
    assert info["platform"]["system"] == platform.system()
    assert info["version"] == __version__
    assert "jobs_api" in [plugin["name"] for plugin in info["plugins"]]
    head = await ask(router, "HEAD", "/info")
    assert (head.status, head.content) == (200, b"")
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]


async def test_the_uid_of_a_router_is_the_same_after_a_restart(fleet) -> None:
    router = fleet.router()
    before = (await ask(router, "GET", "/info")).json["auth"]["uid"]
    router.stop()
    router.start()
    assert (await ask(router, "GET", "/info")).json["auth"]["uid"] == before


async def test_connections_and_agents_show_who_is_there_and_no_token(fleet) -> None:
    router, agent = await fleet.pair("identity.name='lab'", "properties.gpu='a100'")
    listed = await ask(router, "GET", "/connections")
    (connection,) = listed.json["connections"]
    assert connection["mode"] == "SERVER"
    assert len(connection["uid"]) == 32
    peer = connection["peer"]
    assert peer["auth"] == {"uid": agent.uid, "name": "lab"}
    assert peer["properties"] == {"gpu": "a100"}
    assert peer["platform"]["system"] == platform.system()
    path = (await created(router, on(agent)))["path"]
    await ask(router, "POST", f"{path}/start", sleeping())
    shown = await ask(router, "GET", "/agents")
    (found,) = shown.json["agents"]
    expected = {"uid": agent.uid, "name": "lab", "properties": {"gpu": "a100"}, "version": __version__}
    assert {key: found[key] for key in expected} == expected
    assert (found["jobs"], found["capacity"]["jobs"]["used"], found["draining"]) == (1, 1, False)
    assert found["connected_at"].endswith("Z")
    for answer in (listed, shown, await ask(router, "GET", "/info")):
        assert router.agent_token not in answer.content.decode()
    agent.stop()
    await eventually(lambda: _gone(router), what="no connection")


async def _gone(router) -> bool:
    no_link = (await ask(router, "GET", "/connections")).json["connections"] == []
    return no_link and not (await ask(router, "GET", "/agents")).json["agents"][0]["connected"]


async def test_health_needs_no_credentials_and_everything_else_does(fleet) -> None:
    router = fleet.router(environ={"PROUTER_CONTROL__TOKENS": json.dumps(["a-token-of-a-client-for-this-test"])})
    assert (await ask(router, "GET", "/healthz")).json == {"status": "ok"}
    assert (await ask(router, "GET", "/readyz")).json["status"] == "ok"
    for verb, target in (("GET", "/info"), ("GET", "/jobs"), ("POST", "/shutdown"), ("POST", "/jobs/create")):
        (await ask(router, verb, target)).problem(401, "unauthorized")


async def test_shutdown_answers_empty_and_ends_with_status_0(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    pid = (await ask(router, "POST", f"{path}/start", sleeping())).json["pid"]
    answer = await ask(router, "POST", "/shutdown")
    assert (answer.status, answer.content) == (200, b"")
    assert router.ended() == 0
    os.kill(pid, 0)  # jobs of our own agents live on
