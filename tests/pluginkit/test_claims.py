"""What only one plugin can have: who claims it second is left out as a whole, shut down, and named beside the first."""

from __future__ import annotations

import asyncio

import pytest
from small_specs import host_of

from prouter import hookimpl
from prouter.errors import StartupError
from prouter.model.plugin import Route
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.claims import Clash, Owners, named, of_selector
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.tasks import TaskOwner
from prouter.web.routes import claims_of


async def nothing(call: object) -> None: ...


def offering(log: list[str], name: str, *routes: Route) -> type:
    class Plugin:
        @hookimpl
        def prouter_startup(self) -> None:
            log.append(f"{name} starts")

        @hookimpl
        def prouter_routes(self) -> list[Route]:
            log.append(f"{name} offers")
            return list(routes)

        @hookimpl
        def prouter_asked(self, value: int) -> str:
            return name

        @hookimpl
        async def prouter_shutdown(self) -> None:
            log.append(f"{name} ends")

    return Plugin


def route(path: str, *methods: str) -> Route:
    return Route(methods or ("GET",), path, "x.read", "X.", nothing)


async def settled(host: PluginHost, taken: dict[str, str] | None = None) -> tuple[Hooks, dict[str, TaskOwner]]:
    hooks = Hooks(host)
    owned = {name: TaskOwner(name) for name in host.loaded()}

    def bundle(plugin: str) -> dict[str, list[str]]:
        hooks.owns(plugin, owned[plugin])
        owned[plugin].start("for ever", asyncio.sleep(600))
        return {"log": []}

    await hooks.setup("prouter_startup", bundle)
    await hooks.settle({"prouter_routes": claims_of}, taken)
    return hooks, owned


async def test_the_second_is_left_out_with_all_its_hooks_and_has_ended() -> None:
    log: list[str] = []
    a = offering(log, "a", route("/one"), route("/things/{name}", "GET", "PUT"))
    b = offering(log, "b", route("/two"), route("/things/{other}", "PUT"))
    c = offering(log, "c", route("/two"))
    host = host_of({"a": a, "b": b, "c": c})
    hooks, owned = await settled(host)
    assert [plugin for plugin, _ in hooks.collect("prouter_routes")] == ["a", "c"]
    shown = {plugin["name"]: plugin for plugin in host.describe()}
    assert shown["b"]["state"] == "failed"
    assert shown["b"]["why"] == "prouter_routes: PUT /things/{} is claimed by 'a' (tests 1) and by 'b' (tests 1)"
    assert shown["b"]["hooks"] == []
    assert hooks.plugins("prouter_asked") == ["c", "a"]
    assert log == ["a starts", "b starts", "c starts", "a offers", "b offers", "c offers", "b ends"]
    assert [len(owned[name]) for name in "abc"] == [1, 0, 1]
    for name in "ac":
        await owned[name].close()
    await hooks.close()
    assert log[-2:] == ["c ends", "a ends"]


async def test_what_is_kept_and_what_is_claimed_twice_by_one() -> None:
    log: list[str] = []
    twice, kept = offering(log, "b", route("/x"), route("/x")), offering(log, "c", route("/info"))
    host = host_of({"a": offering(log, "a", route("/x")), "b": twice, "c": kept})
    hooks, owned = await settled(host, {"GET /info": "prouter itself"})
    why = {plugin["name"]: plugin["why"] for plugin in host.describe()}
    assert why["b"] == "prouter_routes: GET /x is claimed twice by it" or "claimed by 'a'" in why["b"]
    assert why["c"] == "prouter_routes: GET /info is claimed by prouter itself and by 'c' (tests 1)"
    for tasks in owned.values():
        await tasks.close()
    await hooks.close()


async def test_a_required_one_that_is_second_ends_the_start() -> None:
    log: list[str] = []
    plugins = {name: offering(log, name, route("/x")) for name in "ab"}
    hooks = Hooks(host_of(plugins, required=["b"]))
    with pytest.raises(StartupError, match=r"'b' is required.*GET /x is claimed by 'a'"):
        await hooks.settle({"prouter_routes": claims_of})


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (Route(("GET",), "x", "x.read", "X.", nothing), "begins with '/'"),
        (Route((), "/x", "x.read", "X.", nothing), "a route has verbs"),
        (Route(("GET",), "/x", "x.read", "X."), "exactly one of handler and relay"),
    ],
)
def test_a_route_that_can_not_be_served_is_none(broken: Route, why: str) -> None:
    with pytest.raises(Clash, match=why):
        Owners({}).add("a", [("prouter_routes", claims_of, broken)])


class Selector:
    name = "odd"
    schema = {"type": "nonsense"}  # noqa: RUF012


class Nameless:
    @property
    def name(self) -> str:
        raise RuntimeError("not today")


def test_members_that_can_not_say_what_they_are() -> None:
    with pytest.raises(Clash, match="schema of selector 'odd' is wrong"):
        Owners({}).add("a", [("prouter_selectors", of_selector, Selector())])
    with pytest.raises(Clash, match="RuntimeError: not today"):
        Owners({}).add("a", [("prouter_drivers", named("driver"), Nameless())])
