"""Any plugin of the router can be switched off, and all of them: what is left works, what is missing is named."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from switching import OWN_REQUESTS, built_in, missing, off

from prouter.testing import Fleet, eventually


async def test_a_router_without_any_plugin_says_what_it_is_and_refuses_the_rest(fleet: Fleet) -> None:
    router = fleet.daemon(*off(*built_in()))
    async with aiohttp.ClientSession() as session:
        async with session.get(router.url() + "/info") as answer:
            info = await answer.json()
        assert answer.status == 200
        assert {plugin["name"] for plugin in info["plugins"] if plugin["state"] == "disabled"} == built_in()
        for plugin in OWN_REQUESTS:
            said = await missing(session, router.url(), plugin)
            assert plugin in said
            assert "jobs_api (disabled)" in said
        async with session.post(router.url() + "/shutdown") as answer:
            assert answer.status == 404
    assert router.stop() == 0


async def test_a_router_without_any_plugin_lets_no_agent_in(fleet: Fleet) -> None:
    await nobody_gets_in(fleet, *off(*built_in()))


async def nobody_gets_in(fleet: Fleet, *words: str) -> str:
    """The control endpoint of a router, started so, that no agent gets into."""
    router = fleet.daemon(*words)
    host, port = router.address("server")
    address = ["--set", "client.enabled=True", "--set", f"client.address={host}:{port}"]
    fleet.daemon("agent", *address, environ={"PAGENT_CLIENT__TOKEN": "any"})
    await eventually(lambda: "no authenticator knows this agent's credentials" in router.log)
    return router.url()


def test_every_built_in_of_the_router_has_a_request_of_its_own_here() -> None:
    assert built_in() - {"token_auth"} <= set(OWN_REQUESTS)


@pytest.mark.parametrize("plugin", sorted(OWN_REQUESTS))
async def test_a_plugin_switched_off_takes_its_own_feature_with_it_and_no_other(fleet: Fleet, plugin: str) -> None:
    if plugin not in built_in():
        pytest.skip("it does not ship")
    router = fleet.daemon(*off(plugin))
    others = [other for other in OWN_REQUESTS if other in built_in() - {plugin}]
    if plugin == "jobs_api":
        others = [other for other in others if not other.startswith("selector_")]
    async with aiohttp.ClientSession() as session:
        said = await missing(session, router.url(), plugin)
        assert plugin.removeprefix("selector_") in said
        for other in others:
            assert await missing(session, router.url(), other) == "", other


def test_tokens_without_the_plugin_that_checks_them_do_not_start(fleet: Fleet) -> None:
    said = fleet.refused("--no-plugin", "token_auth", "--set", "control.tokens=['some-token']")
    assert "control.tokens: there is no such parameter" in said


async def test_without_the_plugin_that_checks_tokens_no_agent_gets_in_and_the_rest_is_there(fleet: Fleet) -> None:
    url = await nobody_gets_in(fleet, *off("token_auth"))
    async with aiohttp.ClientSession() as session:
        for other in built_in() - {"token_auth"}:
            assert await missing(session, url, other) == "", other


STRANGERS = """
from prouter import hookimpl
from prouter.model.access import Principal

class Plugin:
    @hookimpl
    def prouter_authenticate_agent(self, hello, peer):
        return Principal(hello.name)
"""


async def test_a_stranger_in_the_place_of_the_plugin_that_checks_tokens_is_switched_off_as_it_is(
    fleet: Fleet, tmp_path: Path
) -> None:
    """Who ships it makes no difference; that somebody named it does."""
    for name in ("token_auth", "other"):
        (tmp_path / f"{name}.py").write_text(STRANGERS)
    twin, other = str(tmp_path / "token_auth.py"), str(tmp_path / "other.py")
    await nobody_gets_in(fleet, "--set", f"plugins.load={[twin]}", *off("token_auth"))
    for loaded in ([other], [other, twin]):
        named = ("--set", f"plugins.load={loaded}", "--set", "access.authenticators=['other','token_auth']")
        said = fleet.refused(*named, *off("token_auth"), status=1)
        assert "the authenticator 'token_auth' is disabled" in said


async def test_a_router_that_no_agent_can_join_says_so_at_its_start(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "clients.py").write_text(
        "from prouter import hookimpl\n@hookimpl\ndef prouter_authenticate_request(head, peer):\n    return None\n"
    )
    words = ("--set", f"plugins.load=[{str(tmp_path / 'clients.py')!r}]", "--set", "access.authenticators=['clients']")
    assert "no agent can come in" in fleet.daemon(*words).log
    assert "no agent can come in" not in fleet.daemon().log
    assert "no agent can come in" not in fleet.daemon(*words, "--set", "server.enabled=False").log
