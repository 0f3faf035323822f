"""A configuration section of a plugin: its defaults, its place in errors and in --help, its secrets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prouter.testing import Fleet

PLUGIN = """
from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import ConfigSection, Route

class TeamQuotas:
    @hookimpl
    def prouter_config_sections(self):
        return [ConfigSection("quota", {
            "limit": {"type": "integer", "minimum": 1, "default": 7, "description": "Jobs of a team."},
            "teams": {
                "type": "object", "default": {}, "additionalProperties": {"type": "integer"}, "description": "Others."
            },
            "key": {
                "type": "string", "default": "", "pattern": "^[a-z]*$", "description": "Of accounts.", "writeOnly": True
            },
        })]

    @hookimpl
    def prouter_startup(self, router):
        self.section = router.config.section("quota")

    @hookimpl
    def prouter_routes(self):
        return [Route(("GET",), "/quota", "quota.read", "What is left.", self.show)]

    async def show(self, call):
        return Reply.json({name: self.section[name] for name in ("limit", "teams")} | {"key": len(self.section["key"])})
"""


@pytest.fixture
def load(tmp_path: Path) -> str:
    (tmp_path / "team_quotas.py").write_text(PLUGIN)
    return f"plugins.load=[{str(tmp_path / 'team_quotas.py')!r}]"


async def test_defaults_file_environment_and_flags_are_joined(fleet: Fleet, load: str, tmp_path: Path) -> None:
    (tmp_path / "router.yaml").write_text("quota:\n  limit: 3\n  teams: {a: 1}\n")
    environ = {"PROUTER_QUOTA__TEAMS": '{"b": 2}', "PROUTER_QUOTA__KEY": "abc"}
    told = []
    for router in (
        fleet.router(load),
        fleet.router(load, "quota.limit=4", environ=environ, flags=("--config", str(tmp_path / "router.yaml"))),
    ):
        async with router.client() as client:
            told.append(await client.request("GET", "/quota"))
    assert told[0] == {"limit": 7, "teams": {}, "key": 0}
    assert told[1] == {"limit": 4, "teams": {"b": 2}, "key": 3}


WRONG = {
    "quota.limit='many'": "quota.limit (of the plugin team_quotas): 'many' is not allowed; allowed: integer at least 1",
    "quota.teams={'a': 'b'}": "quota.teams.a (of the plugin team_quotas): 'b' is not allowed; allowed: integer",
    "quota.key='HUSH-HUSH'": "quota.key (of the plugin team_quotas): the value is not allowed; allowed: string",
    "quota.limt=5": "quota.limt: there is no such parameter; did you mean quota.limit",
}


def test_a_wrong_value_names_the_plugin_and_no_secret(fleet: Fleet, load: str) -> None:
    log = fleet.refused(*(word for setting in (load, *WRONG) for word in ("--set", setting)))
    for said in WRONG.values():
        assert f"prouter: {said}" in log
    assert "HUSH" not in log


def test_one_key_of_two_plugins_leaves_the_later_one_out_by_name(fleet: Fleet, load: str, tmp_path: Path) -> None:
    (tmp_path / "zwei.py").write_text(PLUGIN.replace("/quota", "/zwei"))
    both = load.replace("]", f", {str(tmp_path / 'zwei.py')!r}]")
    fleet.expected_errors.append("plugin zwei is left out")
    router = fleet.router(both)
    assert (
        "quota.limit: declared by the plugin team_quotas and by the plugin zwei; switch one of them off" in router.log
    )


def test_a_name_that_is_no_identifier_is_a_place_of_its_own() -> None:
    from prouter.pluginkit.state import plugin_directory

    state = Path("/state")
    places = {plugin_directory(state, name) for name in ("a", "..", ".", "../b", "a/b", "/etc", "a%2Fb", "")}
    assert len(places) >= 7
    assert all(place.parent == state / "plugins" for place in places if place != state / "plugins")


LIFE = """
import asyncio, json, os, stat
from prouter import hookimpl

class Life:
    @hookimpl
    async def prouter_startup(self, WHO):
        self.place = WHO.state_directory
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "below" / "deep").mkdir(parents=True)
        self.tell("started")
        WHO.tasks.start("work", self.work())
        WHO.tasks.start("short", self.short())
        WHO.tasks.start("broken", self.broken())

    def tell(self, word):
        with open(self.place / "told", "a") as file:
            print(word, file=file)

    async def work(self):
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.tell("cancelled")
            raise

    async def short(self):
        self.tell("done")

    async def broken(self):
        raise SystemExit("leave")

    @hookimpl
    def prouter_shutdown(self):
        self.tell("shut down")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX")
def test_tasks_and_the_state_directory_end_with_the_plugin_and_are_its_own(fleet: Fleet, tmp_path: Path) -> None:
    fleet.expected_errors += [
        "plugin life_of_router: broken failed",
        "plugin life_of_agent: broken failed",
        "Traceback",
    ]
    for who in ("router", "agent"):
        (tmp_path / f"life_of_{who}.py").write_text(LIFE.replace("WHO", who))
    router = fleet.router(f"plugins.load=[{str(tmp_path / 'life_of_router.py')!r}]")
    agent = fleet.agent(router, f"plugins.load=[{str(tmp_path / 'life_of_agent.py')!r}]")
    for daemon, who in ((agent, "agent"), (router, "router")):
        place = daemon.place / "state" / "plugins" / f"life_of_{who}"
        assert [path.stat().st_mode & 0o777 for path in (place, place.parent, place / "below" / "deep")] == [0o700] * 3
        assert daemon.stop() == 0
        told = (place / "told").read_text().split("\n")
        assert told == ["started", "done", "shut down", "cancelled", ""]
