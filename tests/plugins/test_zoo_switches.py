"""What decides whether a router starts without a broken plugin, and what is never even imported: on real starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from zoo import LEFT_OUT, settle_in

from prouter.testing import Fleet

BROKEN = {animal.name: animal for animal in LEFT_OUT}


def words(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.mark.parametrize(
    ("switch", "name"),
    [
        ("required=['{name}']", "at_import"),
        ("required=['{name}']", "takes_a_section"),
        ("strict=true", "rubbish"),
        ("strict=true", "takes_a_route"),
    ],
)
def test_a_start_that_must_not_be_without_a_plugin_ends_with_its_name(
    fleet: Fleet, tmp_path: Path, switch: str, name: str
) -> None:
    paths = settle_in(tmp_path, {name: BROKEN[name].text})
    said = fleet.refused(*words(f"plugins.load={paths!r}", "plugins." + switch.format(name=name)), status=1)
    assert f"the plugin {name!r} " in said.splitlines()[-1]
    assert BROKEN[name].why in said.splitlines()[-1]


GUARD = """
from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import Route

class Guard:
    @hookimpl
    def prouter_authorize(self, principal, action, resource): ...

    @hookimpl
    def prouter_routes(self):
        async def answer(call): ...
        return [Route(("GET",), "/jobs", "guard.read", "Taken.", answer)]
"""


def test_one_that_refuses_is_not_left_out_in_silence(fleet: Fleet, tmp_path: Path) -> None:
    paths = settle_in(tmp_path, {"guard": GUARD})
    said = fleet.refused(*words(f"plugins.load={paths!r}"), status=1).splitlines()[-1]
    assert "the plugin 'guard' failed" in said
    assert "prouter_authorize" in said
    assert "--no-plugin guard" in said


SWITCHES = {
    "--no-plugin": ["--no-plugin", "evil"],
    "plugins.disabled": words("plugins.disabled=['evil']"),
    "--safe": ["--safe"],
}


@pytest.mark.parametrize("daemon", ["router", "agent"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_what_is_switched_off_is_not_imported(fleet: Fleet, tmp_path: Path, daemon: str, switch: str) -> None:
    """By a file that its import would write; once it is written, as a start without the switch shows."""
    mark = tmp_path / "imported"
    paths = settle_in(tmp_path, {"evil": f"open({str(mark)!r}, 'w').close()\n"})
    flags = [*words(f"plugins.load={paths!r}"), *SWITCHES[switch]]
    if daemon == "router":
        fleet.router(flags=tuple(flags))
    else:
        fleet.agent(flags=tuple(flags))
    assert not mark.exists()


def test_what_is_not_switched_off_is_imported(fleet: Fleet, tmp_path: Path) -> None:
    """Also where the switches come from the environment and a file, which are read before as well."""
    mark = tmp_path / "imported"
    paths = settle_in(tmp_path, {"evil": f"open({str(mark)!r}, 'w').close()\n"})
    (tmp_path / "config.yaml").write_text(f"plugins:\n  load: {paths}\n")
    fleet.expected_errors.append("plugin evil (")
    fleet.router(flags=("--config", str(tmp_path / "config.yaml")))
    assert mark.exists()
    os.unlink(mark)
    fleet.router(flags=("--config", str(tmp_path / "config.yaml")), environ={"PROUTER_PLUGINS__DISABLED": "['evil']"})
    assert not mark.exists()


def test_a_deadline_of_a_hook_that_is_none_is_named(fleet: Fleet) -> None:
    said = fleet.refused("--set", "plugins.deadlines={'prouter_autorize': 1}")
    assert "plugins.deadlines.prouter_autorize: there is no such hook; did you mean prouter_authorize" in said
