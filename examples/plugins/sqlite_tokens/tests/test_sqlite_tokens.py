"""Agents that are enrolled, rotated and revoked, against a live router that is asked by HTTP and by command."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prouter.client import Client, RequestFailed
from prouter.errors import LinkError, ProuterError
from prouter.testing import AgentHere, FakeAgent, InProcess, RouterHere, Setup, assert_contract, eventually
from prouter.testing.contracts import samples

ADMIN = "token-of-the-admin-7f3a"


@pytest.fixture
def prouter_setup() -> Setup:
    settings = [
        "access.authenticators=['sqlite_tokens', 'token_auth']",
        f"control.tokens=[{ADMIN!r}]",
        "sqlite_tokens.overlap=1",
        "plugins.required=['sqlite_tokens']",
    ]
    return Setup(settings=settings, token=ADMIN)


async def ask(router: RouterHere, verb: str, path: str, token: str | None = ADMIN, **body: Any) -> Any:
    async with Client(router.url(), token) as client:
        return await client.request(verb, f"/agent-tokens{path}", body or None)


async def enrolled(router: RouterHere, name: str) -> str:
    """A token; whoever redeems the code needs no other credentials."""
    code = (await ask(router, "POST", "", agent=name))["code"]
    return str((await ask(router, "POST", "/redeem", token=None, code=code))["token"])


async def start(in_process: InProcess, router: RouterHere, token: str, joins: bool = True) -> AgentHere:
    """An agent with that token."""
    host, port = router.address("server")
    known = [f"client.token={token!r}", "client.enabled=True", f"client.address='{host}:{port}'"]
    agent = await in_process.agent(None, *known)
    if joins:
        await router.agent_is_there(agent)
    return agent


async def refused(router: RouterHere, count: int) -> None:
    await eventually(lambda: router.log.count(" was refused: ") >= count)


async def test_an_agent_is_enrolled_by_a_code_that_is_good_once(router: RouterHere, in_process: InProcess) -> None:
    code = (await ask(router, "POST", "", agent="gpu-1"))["code"]
    outcomes = await asyncio.gather(
        *(ask(router, "POST", "/redeem", token=None, code=code) for _ in range(5)), return_exceptions=True
    )
    (token,) = [outcome["token"] for outcome in outcomes if isinstance(outcome, dict)]
    agent = await start(in_process, router, token)
    assert (await ask(router, "GET", ""))["agents"] == [{"agent": "gpu-1", "uid": agent.uid}]
    for path, body, status in (
        ("", {"agent": "gpu-1"}, 409),
        ("/redeem", {"code": token}, 403),
        ("/redeem", {"code": 7}, 400),
        ("", {"agent": "../.."}, 400),
        ("/nobody/rotate", {}, 404),
    ):
        with pytest.raises(RequestFailed) as told:
            await ask(router, "POST", path, **body)
        assert told.value.http_status == status, path
    with pytest.raises(RequestFailed, match="credentials are needed"):
        await ask(router, "POST", "", token=None, agent="other")


async def test_an_agent_whose_token_is_revoked_is_cut_off(router: RouterHere, in_process: InProcess) -> None:
    agent = await start(in_process, router, await enrolled(router, "gpu-1"))
    other = await start(in_process, router, await enrolled(router, "gpu-2"))
    async with router.client(ADMIN) as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        await job.start([sys.executable, "-c", "import time; time.sleep(60)"], port_expected_count=0)
        await ask(router, "DELETE", "/gpu-1")

        async def alone() -> bool:
            return [found["uid"] for found in await client.agents() if found["connected"]] == [other.uid]

        await eventually(alone)
        await refused(router, 1)
        assert await alone()
        assert "its token was revoked" in router.log
        with pytest.raises(RequestFailed) as told:
            await job.stop()
        assert told.value.http_status == 503
    with pytest.raises(RequestFailed, match="no agent 'gpu-1' is enrolled"):
        await ask(router, "DELETE", "/gpu-1")


async def test_a_token_that_was_rotated_fades(router: RouterHere) -> None:
    old = await enrolled(router, "gpu-1")

    async def comes_with(token: str) -> bool:
        try:
            async with FakeAgent(router, "gpu-1-uid", token=token) as agent:
                return agent.connected
        except LinkError:
            return False

    assert await comes_with(old)
    new = (await ask(router, "POST", "/gpu-1/rotate"))["token"]
    assert await comes_with(new)
    assert await comes_with(old)

    async def faded() -> bool:
        return not await comes_with(old)

    await eventually(faded)
    assert await comes_with(new)


async def test_a_token_belongs_to_the_agent_that_came_first_with_it(router: RouterHere, in_process: InProcess) -> None:
    token = await enrolled(router, "gpu-1")
    await start(in_process, router, token)
    await start(in_process, router, token, joins=False)
    await refused(router, 1)
    assert "this token is that of agent 'gpu-1', which has another uid" in router.log


async def test_no_secret_is_in_the_file_or_in_the_log(router: RouterHere) -> None:
    code = (await ask(router, "POST", "", agent="gpu-2"))["code"]
    token = await enrolled(router, "gpu-1")
    content = (router.services.state_directory.parent / "sqlite_tokens" / "tokens.db").read_bytes()
    assert b"gpu-1" in content
    for secret in (token, code):
        assert secret.encode() not in content
        assert secret not in router.log


async def test_a_revocation_between_check_and_arrival_is_not_missed(router: RouterHere) -> None:
    """The agent was let in before it was revoked, and is among the agents only afterwards."""
    plugin = router.plugin("sqlite_tokens")
    token = await enrolled(router, "gpu-1")
    checked, go_on = asyncio.Event(), asyncio.Event()
    whose = plugin._store.whose

    async def slow(*about: str) -> Any:
        found = await whose(*about)
        checked.set()
        await go_on.wait()
        return found

    plugin._store.whose = slow
    async with asyncio.TaskGroup() as tasks:
        coming = tasks.create_task(comes(router, token))
        await checked.wait()
        revoked = tasks.create_task(ask(router, "DELETE", "/gpu-1"))
        await revoked
        go_on.set()
        await coming


async def comes(router: RouterHere, token: str) -> None:
    async with FakeAgent(router, "gpu-1-uid", token=token) as agent:
        await eventually(lambda: not agent.connected)


async def test_the_command_is_one_of_prouter(router: RouterHere, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(ADMIN)
    words = ["agent-tokens", "--url", router.url(), "--token-file", str(tmp_path / "token"), "enrol", "gpu-1"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "prouter", *words, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert (await ask(router, "POST", "/redeem", token=None, code=out.decode().strip()))["token"]


async def test_by_command(router: RouterHere, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = router.plugin("sqlite_tokens").prouter_commands()

    async def say(what: str, name: str = "", token: str = ADMIN) -> str:
        context = SimpleNamespace(url=router.url(), token=token)
        assert await asyncio.to_thread(command.run, Namespace(what=what, name=name), context) == 0
        return capsys.readouterr().out.strip()

    token = await say("redeem", await say("enrol", "gpu-1"), token="")
    assert len(token) > 40
    assert await say("list") == '{"agents": [{"agent": "gpu-1", "uid": null}]}'
    assert await say("rotate", "gpu-1") != token
    with pytest.raises(ProuterError, match="is not valid"):
        await say("revoke", "gpu-1", token="wrong")
    await say("revoke", "gpu-1")
    with pytest.raises(ProuterError, match="no agent 'gpu-1' is enrolled"):
        await say("revoke", "gpu-1")


async def test_it_keeps_the_contract_of_authenticators(router: RouterHere) -> None:
    right = samples.a_hello(await enrolled(router, "gpu-1"), uid="gpu-1-uid")
    wrong = [samples.a_hello("unknown"), replace(right, uid="another")]
    await assert_contract(router.plugin("sqlite_tokens"), "agent authenticator", right=[right], wrong=wrong)
