"""Tokens: where they come from, who needs one, and that they show nowhere."""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from pathlib import Path

import pytest
from raw import ask

from prouter.client.client import RequestFailed
from prouter.model.access import Secret, any_matches
from prouter.testing import Daemon, Fleet, eventually

TOKEN = secrets.token_hex(16)


def statuses(daemon: Daemon) -> list[int]:
    """Of GET /jobs without a token, with wrong ones and with the right one, in each header."""
    given = [(), ("X-Prouter-Token: wrong",), ("Authorization: Bearer wrong",), (f"Authorization: Basic {TOKEN}",)]
    right = [(f"X-Prouter-Token: {TOKEN}",), (f"Authorization: Bearer {TOKEN}",)]
    return [ask(daemon.address("control"), "GET", "/jobs", *lines).status for lines in [*given, *right]]


@pytest.mark.parametrize("source", ["environment", "file", "set"])
def test_a_wrong_token_is_401_wherever_the_right_one_comes_from(fleet: Fleet, tmp_path: Path, source: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# of the dashboard\n\n{TOKEN}\n")
    words = {"environment": [], "file": [f"control.tokens_file={file}"], "set": [f"control.tokens=['{TOKEN}']"]}[source]
    environ = {"PROUTER_CONTROL__TOKENS": json.dumps([TOKEN])} if source == "environment" else {}
    router = fleet.daemon(*(part for word in words for part in ("--set", word)), environ=environ)
    assert statuses(router) == [401, 401, 401, 401, 200, 200]
    refused = ask(router.address("control"), "GET", "/info", "X-Prouter-Token: not-the-right-one")
    assert refused.header("WWW-Authenticate").startswith("Bearer")
    assert "not-the-right-one" not in refused.head + refused.body.decode()
    assert ask(router.address("control"), "GET", "/healthz").status == 200
    for path in ("/nowhere", "/jobs/a/b/http/", "/jobs/a/b/file/x"):
        assert ask(router.address("control"), "GET", path).status == 401


@pytest.mark.parametrize("kind", ["router", "agent"])
@pytest.mark.parametrize("text", [None, "", "# nothing but a comment\n", b"\xff\xfe"])
def test_a_file_without_tokens_does_not_start(fleet: Fleet, tmp_path: Path, kind: str, text: str | bytes) -> None:
    file = tmp_path / "tokens"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    said = fleet.refused(kind, "--set", f"server.accept_tokens_file={file}")
    assert said.startswith(f"prouter: server.accept_tokens_file: {file} ")


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert any_matches((Secret("one"), Secret("two")), "one")
    assert compared == [(b"one", b"one"), (b"two", b"one")]


@pytest.mark.parametrize("form", ["text", "json"])
async def test_tokens_show_nowhere(fleet: Fleet, form: str) -> None:
    """The most talkative router and agents, all kinds of tokens, right and wrong ones; also in each other's answers."""
    talkative = ("--log-level", "debug", "--log-format", form, "--connection-debug")
    router = fleet.router(flags=talkative, environ={"PROUTER_CONTROL__TOKENS": json.dumps([TOKEN])})
    dialing, listening = fleet.agent(router, flags=talkative), fleet.agent(flags=talkative)
    stranger = fleet.agent(router, environ={"PAGENT_CLIENT__TOKEN": "a-token-of-a-stranger"}, flags=talkative)
    hidden = [TOKEN, router.agent_token, dialing.token, listening.token, "a-token-of-a-stranger", "wrong-by-one"]
    shown: list[str] = []
    async with router.client(TOKEN) as client:
        host, port = listening.address("server")
        locator = {"type": "address", "address": f"{host}:{port}", "token": listening.token}
        job = await client.create(locator, "job")
        await job.start([sys.executable, "-c", "pass"], port_expected_count=0)
        for wrong in (
            locator | {"token": "wrong-by-one"},
            locator | {"token": ["wrong-by-one"]},
            locator | {"more": 1},
            [locator],
            {"type": locator},
        ):
            with pytest.raises(RequestFailed) as refused:
                await client.request("POST", "/jobs/create", {"agent": wrong, "name": ""})
            shown.append(json.dumps(refused.value.problem))
        for path in ("/info", "/connections", "/agents", "/jobs", job.path + "/info"):
            shown.append(json.dumps(await client.request("GET", path)))
        with pytest.raises(RequestFailed):
            async with router.client("wrong-by-one") as other:
                await other.info()
    shown += [ask(agent.address("control"), "GET", path).body.decode() for agent in (dialing, listening)
              for path in ("/info", "/connections", "/jobs")]  # fmt: skip
    await eventually(lambda: "no authenticator" in router.log or "accept_tokens" in router.log)
    for daemon in (router, dialing, listening, stranger):
        shown.append(daemon.log)
        shown.append(Path(f"/proc/{daemon.pid}/cmdline").read_text())
        shown += [path.read_text() for path in Path(f"/proc/{daemon.pid}/task/{daemon.pid}").glob("children")]
    for token in hidden:
        assert not [text for text in shown if token in text], token


async def test_prouter_puts_no_token_into_a_process_list(fleet: Fleet) -> None:
    """`prouter up` makes a token for its own agent; nothing that it starts has it among its arguments."""
    up = fleet.daemon("up", "--port", "0", "--log-level", "debug")
    from prouter.testing.processes import tagged_processes

    secrets_seen = [word for line in tagged_processes(fleet.tag).values() for word in line.split() if len(word) == 32]
    assert secrets_seen == []
    assert up.ready["control"]["host"] == "127.0.0.1"
