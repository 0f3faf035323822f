"""Tokens are read again while everything runs: by SIGHUP and by POST /reload."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import Daemon, RouterDaemon, eventually

OLD, NEW = "old-token-of-a-client-0123456789abcdef", "new-token-of-a-client-0123456789abcdef"

AGENTS = "old-token-of-agents-0123456789abcdef0123"


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


def everywhere(daemon: Daemon, endpoint: str) -> str:
    """Where a daemon that listens on all interfaces is reached from here."""
    return daemon.url(endpoint).replace("0.0.0.0", "127.0.0.1")


def router_client(router: Daemon, token: str | None) -> Client:
    return Client(everywhere(router, "control"), token)


async def status(router: Daemon, token: str | None, verb: str = "GET", path: str = "/info") -> int:
    async with router_client(router, token) as client, client.session.request(verb, f"{client.url}{path}") as answer:
        return answer.status


async def refused_reload(client: Client) -> str:
    """What is wrong, as the answer says it."""
    try:
        told = await reload(client)
    except RequestFailed as refused:
        return f"{refused}" if refused.http_status == 409 else ""
    assert told["reloaded"] == {}
    return str(told["failed"])


CHANGED = [
    ("control: {interface: 127.0.0.1}", "control.interface"),
    ("control: {interface: 0.0.0.0}", "control.interface"),
    ("control: {interface: 0.0.0.0, tokens: ['weak']}", "control.tokens"),
    ("control: {interface: 127.0.0.1, tokens: ['weak']}", "control.tokens"),
    (f"control: {{tokens: [{NEW}], public_url: 'ftp://x'}}", "control.public_url"),
    (f"control: {{tokens: [{NEW}], trusted_proxies: [nonsense]}}", "control.trusted_proxies"),
    (f"control: {{tokens: [{NEW}]}}\nserver: {{accept_tokens: ['weak']}}", "server.accept"),
    (
        f"control: {{tokens: [{NEW}]}}\nserver: {{interface: 127.0.0.1, accept_tokens: ['weak']}}",
        "server.accept",
    ),
    (f"control: {{tokens: [{NEW}]}}\naccess: {{authenticators: [gone]}}", "'gone'"),
]


async def test_what_would_open_a_door_or_not_start_changes_nothing(fleet, tmp_path: Path) -> None:
    """Both doors are open to others; what the file says of interfaces meanwhile does not move them."""
    config = tmp_path / "config.yaml"
    doors = f"server: {{interface: 0.0.0.0, accept_tokens: [{AGENTS}]}}\n"
    config.write_text(f"{doors}control: {{interface: 0.0.0.0, tokens: [{OLD}]}}")
    router = fleet.daemon("--config", str(config))
    for changed, mistake in CHANGED:
        config.write_text(changed if "server:" in changed else doors + changed)
        async with router_client(router, OLD) as client:
            assert mistake in await refused_reload(client), changed
        for token, answer in ((OLD, 200), (None, 401), (NEW, 401), ("weak", 401)):
            assert await status(router, token) == answer, (changed, token)
    config.write_text(f"{doors}control: {{interface: 0.0.0.0, tokens: [{NEW}]}}")
    assert await status(router, OLD, "POST", "/reload") == 200
    assert await status(router, NEW) == 200
    assert await status(router, OLD) == 401


HOLDER = """
from prouter import hookimpl
from prouter.errors import ConfigError
from prouter.model.http import Reply
from prouter.model.plugin import ConfigSection, Route
from prouter.model.reload import TakeOver

class Holder:
    @hookimpl
    def prouter_config_sections(self):
        return [ConfigSection("NAME", {"word": {"type": "string", "default": "old"}})]

    @hookimpl
    def prouter_startup(self, router):
        self.word = router.config.section("NAME")["word"]

    @hookimpl(PLACE=("token_auth",))
    async def prouter_reload(self, config):
        word = config.section("NAME")["word"]
        if word == "bad":
            raise ConfigError(["NAME.word: 'bad' is not allowed"])
        if word == "nonsense":
            return ["NAME.word"]
        return TakeOver(("NAME.word",), lambda: setattr(self, "word", word))

    @hookimpl
    def prouter_routes(self):
        return [Route(("GET",), "/NAME", "word.read", "The word.", self.show)]

    async def show(self, call):
        return Reply.json(self.word)
"""


async def test_the_mistake_of_one_plugin_leaves_all_others_as_they_were(fleet, tmp_path: Path) -> None:
    """One of them is asked before token_auth, the other behind it."""
    config, tokens = tmp_path / "config.yaml", tmp_path / "tokens"
    for name, place in (("aaa", "before"), ("zzz", "after")):
        (tmp_path / f"{name}.py").write_text(HOLDER.replace("NAME", name).replace("PLACE", place))
    fleet.expected_errors += [f"plugin {name} failed in prouter_reload" for name in ("aaa", "zzz")]
    base = f"plugins: {{load: [{tmp_path}/aaa.py, {tmp_path}/zzz.py]}}\ncontrol: {{tokens_file: {tokens}}}\n"
    config.write_text(base)
    tokens.write_text(OLD)
    router = fleet.daemon("--config", str(config))
    tokens.write_text(NEW)
    async with router_client(router, OLD) as client:
        for bad, good in (("aaa", "zzz"), ("zzz", "aaa")):
            for word in ("bad", "nonsense"):
                config.write_text(f"{base}{bad}: {{word: {word}}}\n{good}: {{word: new}}")
                told = await reload(client)
                assert told["reloaded"] == {}
                assert list(told["failed"]) == [bad]
                assert [await client.request("GET", f"/{name}") for name in (bad, good)] == ["old", "old"]
        config.write_text(f"{base}aaa: {{word: new}}\nzzz: {{word: newer}}")
        told = await reload(client)
    assert told["failed"] == {}
    assert sorted(told["reloaded"]) == ["aaa", "token_auth", "zzz"]
    async with router_client(router, NEW) as client:
        assert [await client.request("GET", f"/{name}") for name in ("aaa", "zzz")] == ["new", "newer"]


async def test_an_agent_s_open_door_takes_no_weak_token(fleet, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"server: {{interface: 0.0.0.0, accept_tokens: [{AGENTS}]}}")
    agent = fleet.daemon("agent", "--config", str(config))
    router = fleet.router()
    address = everywhere(agent, "server").removeprefix("http://")
    fleet.expected_errors.append("could not be read again")

    async def joins(token: str) -> bool:
        async with router.client() as client:
            try:
                await client.create({"type": "address", "address": address, "token": token})
            except RequestFailed:
                return False
            return True

    for count, interface in enumerate(("0.0.0.0", "127.0.0.1"), 1):
        config.write_text(f"server: {{interface: {interface}, accept_tokens: ['weak']}}")
        agent.signal(signal.SIGHUP)
        await eventually(lambda seen=count: agent.log.count("read again") == seen)
        assert not await joins("weak"), interface
    assert agent.log.count("128 bits") == 2
    assert await joins(AGENTS)
