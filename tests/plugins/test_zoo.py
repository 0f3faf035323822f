"""Broken plugins beside which a router starts, answers, and says what is wrong with whom."""

from __future__ import annotations

import re
import time
from pathlib import Path

import aiohttp
import pytest
from zoo import CONTRIBUTIONS, HEALTHY, LEFT_OUT, WAYS, settle_in, switched

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import Fleet, RouterDaemon, eventually

ANSWER_SECONDS = 5.0
"""For /healthz beside a broken plugin: a tenth of that is expected, a loaded machine may take longer."""


async def answers(client: Client) -> None:
    begun = time.monotonic()
    assert await client.request("GET", "/healthz") == {"status": "ok"}
    assert time.monotonic() - begun < ANSWER_SECONDS


async def plugins(client: Client) -> dict[str, dict[str, str]]:
    return {plugin["name"]: plugin for plugin in (await client.request("GET", "/plugins"))["plugins"]}


async def test_what_breaks_while_it_is_loaded_is_left_out_whole_and_named(fleet: Fleet, tmp_path: Path) -> None:
    paths = settle_in(tmp_path, {animal.name: animal.text for animal in LEFT_OUT} | HEALTHY)
    fleet.expected_errors += ["left out: "]
    router = fleet.router(f"plugins.load={paths!r}")
    async with router.client() as client:
        await answers(client)
        shown = await plugins(client)
        for animal in LEFT_OUT:
            told = shown[animal.name]
            assert (told["state"], told["hooks"]) == ("failed", []), animal.name
            assert animal.why in told["why"], animal.name
            line = next(line for line in router.log.splitlines() if f"plugin {animal.name} " in line)
            assert "left out: " in line
        others = {name: told["state"] for name, told in shown.items() if name not in {a.name for a in LEFT_OUT}}
        assert set(others.values()) == {"loaded"}
        assert set(HEALTHY) <= set(others)
        for left in ("/left/over", "/left/behind", "/x", "/half"):
            async with client.session.get(client.url + left) as answer:
                assert answer.status == 404, "half of a plugin is there"
        async with client.session.get(f"{client.url}/only/one") as answer:
            assert answer.status == 200
        with pytest.raises(RequestFailed, match="no plugin that is loaded selects agents by type 'left_behind'"):
            await client.create({"type": "left_behind"}, "")


async def test_of_two_with_one_name_neither_is_imported(fleet: Fleet, tmp_path: Path) -> None:
    paths = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        text = f"open({str(tmp_path / 'imported')!r}, 'w')"
        paths += settle_in(tmp_path / place, {"twin": text})
    fleet.expected_errors += ["plugin twin ("]
    router = fleet.router(f"plugins.load={paths!r}")
    async with router.client() as client:
        await answers(client)
        why = (await plugins(client))["twin"]["why"]
    assert all(path in why for path in paths)
    assert not (tmp_path / "imported").exists()
    said = fleet.refused("--set", f"plugins.load={paths!r}", "--set", "plugins.required=['twin']", status=1)
    assert "'twin' is required" in said.splitlines()[-1]


PROVOKED = {
    "prouter_resolve_route": ("GET", "/agents"),
    "prouter_job_spec": ("POST", "/jobs/create"),
    "prouter_admit_job": ("POST", "/jobs/create"),
    "prouter_health": ("GET", "/readyz"),
    "prouter_failed": ("GET", "/told"),
}
"""A hook of each kind that is asked while a router runs, and a request at which it is: first, chain, veto, gather,
notify."""
TELLS = """
from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import Route

class Tells:
    @hookimpl
    def prouter_startup(self, router):
        self.router = router

    @hookimpl
    def prouter_routes(self):
        return [Route(("GET",), "/told", "zoo.read", "Tells.", self.tell),
                Route(("GET",), "/flood", "zoo.read", "Tells too much.", self.flood)]

    async def tell(self, call):
        self.router.failed("the zoo", "told")
        return Reply.json({})

    async def flood(self, call):
        for number in range(10_000):
            self.router.failed("the zoo", f"number {number}")
        return Reply.json({})
"""


@pytest.fixture
def zoo(fleet: Fleet, tmp_path: Path) -> RouterDaemon:
    """A router with a plugin for each hook of PROVOKED that does what `mode` says, and one that tells."""
    (tmp_path / "mode").write_text("nothing")
    paths = settle_in(tmp_path, {"switched": switched(*PROVOKED), "tells": TELLS})
    deadlines = dict.fromkeys(PROVOKED, 0.2)
    fleet.expected_errors += ["plugin switched failed in", "Traceback"]
    return fleet.router(f"plugins.load={paths!r}", f"plugins.deadlines={deadlines!r}", "plugins.blocked_seconds=0.3")


async def test_a_plugin_that_breaks_while_the_router_runs_breaks_what_it_was_asked_for(
    fleet: Fleet, zoo: RouterDaemon, tmp_path: Path
) -> None:
    async with zoo.client() as client:
        for hook, (verb, path) in PROVOKED.items():
            for way in WAYS:
                if (hook, way) == ("prouter_failed", "says rubbish"):
                    continue  # what an observer answers interests nobody
                before = len(zoo.log)
                (tmp_path / "mode").write_text(f"{hook} {way}")
                body = {"agent": {"type": "uid", "uid": "x"}, "name": ""} if verb == "POST" else None
                async with client.session.request(verb, client.url + path, json=body) as answer:
                    said = await answer.text()
                told = hook in ("prouter_health", "prouter_failed") or way == "blocks"
                assert (answer.status == 500) != told, (hook, way, said)
                assert told or f"plugin 'switched' failed in {hook} after " in said.replace('\\"', '"')
                assert "hidden-words" not in said
                await named(zoo, before, hook, way)
                (tmp_path / "mode").write_text("nothing")
                await answers(client)


async def named(router: RouterDaemon, before: int, hook: str, way: str) -> None:
    line = f"plugin switched failed in {hook} after "
    if way == "blocks":
        line = "plugin switched held the event loop for "
    await eventually(lambda: line in router.log[before:], what=f"{line} ({way})")


async def test_a_flood_of_news_delays_nobody(zoo: RouterDaemon) -> None:
    async with zoo.client() as client, aiohttp.ClientSession() as other:
        async with other.get(f"{client.url}/flood") as answer:
            await answer.read()
        await answers(client)
    assert zoo.memory_bytes() < 200 * 2**20
    assert zoo.log.count("the zoo: number ") == 100


async def test_selectors_routes_and_tasks_that_break_are_named(fleet: Fleet, tmp_path: Path) -> None:
    (path,) = settle_in(tmp_path, {"contributes": CONTRIBUTIONS})
    router = fleet.router(f"plugins.load=[{path!r}]", "plugins.blocked_seconds=0.3")
    fleet.expected_errors += ["in plugin contributes", "plugin contributes failed to choose", "Traceback"]
    fleet.expected_errors += [f"plugin contributes: {way} failed" for way in ("raises", "exits", "interrupts")]
    async with router.client() as client:
        for way in ("raises", "exits", "interrupts", "rubbish", "blocks"):
            for kind in ("handled", "relayed"):
                async with client.session.get(f"{client.url}/{kind}/{way}") as answer:
                    problem = await answer.json()
                assert answer.status == 500, (kind, way)
                assert "hidden-words" not in problem["detail"]
                assert f"GET /{kind}/{way} failed in plugin contributes" in router.log
            with pytest.raises(RequestFailed, match="plugin 'contributes' failed in choose") as failed:
                await client.create({"type": way}, "")
            assert failed.value.http_status == 500
            await answers(client)
    for way in ("raises", "exits", "interrupts"):
        assert f"plugin contributes: {way} failed" in router.log
    for what in ("GET /handled/blocks", "GET /relayed/blocks", "its selector blocks", "its task blocks"):
        assert re.search(f"plugin contributes held the event loop for \\d+\\.\\d\\d s in {what}", router.log), what


STARTS = {
    "exits": "raise SystemExit(0)",
    "never_answers": "import asyncio\n        await asyncio.sleep(600)",
}


@pytest.mark.parametrize("way", STARTS)
def test_one_that_fails_at_the_start_ends_it_by_name(fleet: Fleet, tmp_path: Path, way: str) -> None:
    head = "from prouter import hookimpl\nclass P:\n    @hookimpl\n    async def prouter_startup(self):\n        "
    (path,) = settle_in(tmp_path, {way: head + STARTS[way]})
    words = [f"plugins.load=[{path!r}]", "plugins.deadlines={'prouter_startup': 0.5}"]
    said = fleet.refused(*(word for setting in words for word in ("--set", setting)), status=1, traceback=True)
    assert f"the plugin {way!r} failed to start" in said.splitlines()[-1]
