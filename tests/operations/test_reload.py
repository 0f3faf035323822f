"""Tokens are read again while everything runs: by SIGHUP and by POST /reload."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import RouterDaemon, eventually

OLD, NEW = "old-token-of-a-client-0123456789abcdef", "new-token-of-a-client-0123456789abcdef"


async def allowed(router: RouterDaemon, token: str) -> bool:
    async with router.client(token) as client, client.session.get(f"{client.url}/info") as answer:
        return answer.status == 200


async def reload(client: Client) -> dict[str, object]:
    return dict(await client.request("POST", "/reload"))


async def test_a_token_is_revoked_and_another_takes_its_place(fleet, tmp_path: Path) -> None:
    tokens = tmp_path / "clients"
    tokens.write_text(OLD)
    router = fleet.router(f"control.tokens_file={str(tokens)!r}")
    assert await allowed(router, OLD)
    tokens.write_text(NEW)
    assert not await allowed(router, NEW)
    async with router.client(OLD) as client:
        told = await reload(client)
    assert told == {"reloaded": {"token_auth": ["server.accept_tokens", "control.tokens"]}, "failed": {}}
    assert await allowed(router, NEW)
    assert not await allowed(router, OLD)
    tokens.write_text(OLD)
    router.signal(signal.SIGHUP)

    async def is_back() -> bool:
        return await allowed(router, OLD)

    await eventually(is_back)
    assert not await allowed(router, NEW)


async def test_a_mistake_leaves_all_as_it_was(fleet, tmp_path: Path) -> None:
    tokens, config = tmp_path / "clients", tmp_path / "config.yaml"
    tokens.write_text(OLD)
    config.write_text(f"control: {{tokens_file: {tokens}}}")
    router = fleet.router(flags=("--config", str(config)))
    tokens.unlink()
    async with router.client(OLD) as client:
        told = await reload(client)
        assert "can not be read" in str(told["failed"])
        config.write_text("control: {port: 'many'}")
        with pytest.raises(RequestFailed, match=r"control\.port") as refused:
            await reload(client)
        assert refused.value.http_status == 409
    assert await allowed(router, OLD)
    fleet.expected_errors.append("could not be read again")
    router.signal(signal.SIGHUP)

    async def is_told() -> bool:
        return "could not be read again" in router.log

    await eventually(is_told)
    assert OLD not in router.log
    assert await allowed(router, OLD)


async def test_an_agent_reads_its_tokens_again_and_keeps_its_jobs(fleet, tmp_path: Path) -> None:
    token = tmp_path / "agent"
    token.write_text("a-wrong-token-0123456789abcdef0123456789")
    router = fleet.router()
    agent = fleet.agent(router, f"client.token_file={str(token)!r}", environ={"PAGENT_CLIENT__TOKEN": "None"})

    async def is_refused() -> bool:
        return "no link to" in agent.log

    await eventually(is_refused)
    token.write_text(router.agent_token)
    agent.signal(signal.SIGHUP)
    await router.agent_is_there(agent)
