"""Where plugins come from, what switches them, and what becomes of those that can not be loaded."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import pytest

from prouter import hookspecs
from prouter.errors import StartupError
from prouter.model.api_version import API_VERSION, OLDEST_API_VERSION, api_misfit
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.discovery import Switches, find
from prouter.pluginkit.host import PluginHost

GROUP = "prouter.plugins"
BUILT_IN = "health"
PLUGIN = """
from prouter import hookimpl

class {name}:
    {extra}
    @hookimpl
    def prouter_guards(self):
        return None
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs a distribution with one module and one entry point of the group."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(distribution: str, point: str, module: str, text: str) -> None:
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{point} = {module}:Plugin\n")
        importlib.invalidate_caches()

    return install


def states(switches: Switches) -> dict[str, dict[str, object]]:
    host = PluginHost(hookspecs)
    host.load(find(GROUP, switches), switches)
    return {str(plugin["name"]): dict(plugin) for plugin in host.describe()}


def plugin_file(place: Path, extra: str = "", name: str = "Plugin") -> str:
    path = place / "from_a_file.py"
    path.write_text(PLUGIN.format(name=name, extra=extra))
    return str(path)


def test_built_ins_come_by_the_same_loader() -> None:
    shown = states(Switches())[BUILT_IN]
    assert (shown["distribution"], shown["state"]) == ("prouter", "loaded")


def test_an_installed_package_is_found_by_its_entry_point(installed) -> None:
    installed("some-package", "mine", "mod_found", PLUGIN.format(name="Plugin", extra=""))
    shown = states(Switches())["mine"]
    assert (shown["distribution"], shown["version"], shown["state"]) == ("some-package", "1.0", "loaded")
    assert shown["hooks"] == ["prouter_guards (collect)"]


def test_files_and_modules_are_loaded_by_name(installed, tmp_path: Path) -> None:
    installed("another", "unused", "mod_named", PLUGIN.format(name="Plugin", extra=""))
    file = plugin_file(tmp_path, name="Mine")
    shown = states(Switches(load=[file, "mod_named", f"{file}:Mine"]))
    assert [shown[name]["state"] for name in ("from_a_file", "mod_named", "Mine")] == ["loaded"] * 3


@pytest.mark.parametrize("switches", [Switches(disabled=frozenset(["mine"])), Switches(safe=True)])
def test_what_is_switched_off_is_not_imported(installed, switches: Switches) -> None:
    installed("some-package", "mine", "mod_off", "raise SystemExit('imported')")
    shown = states(switches)
    assert shown.get("mine", {"state": "disabled"})["state"] == "disabled"
    assert "mod_off" not in importlib.sys.modules
    assert shown[BUILT_IN]["state"] == "loaded"


def test_a_foreign_name_beats_a_built_ins(installed) -> None:
    installed("some-package", BUILT_IN, "mod_beats", PLUGIN.format(name="Plugin", extra=""))
    assert states(Switches())[BUILT_IN]["distribution"] == "some-package"
    assert states(Switches(safe=True))[BUILT_IN]["distribution"] == "prouter"


def test_of_two_foreign_ones_of_one_name_neither_is_loaded_and_both_are_named(installed) -> None:
    for distribution in ("first-package", "second-package"):
        module = distribution.replace("-", "_")
        installed(distribution, BUILT_IN, module, "raise SystemExit('imported')")
    shown = states(Switches())[BUILT_IN]
    assert shown["state"] == "failed"
    for distribution in ("first-package", "second-package"):
        assert distribution in str(shown["why"])
        assert distribution.replace("-", "_") not in importlib.sys.modules
    with pytest.raises(StartupError, match=r"(?s)(?=.*first-package)(?=.*second-package)"):
        states(Switches(required=frozenset([BUILT_IN])))


BROKEN = {
    "fails at import": "raise RuntimeError('at import')",
    "exits at import": "raise SystemExit(0)",
    "does not parse": "def",
    "fails when it is made": PLUGIN.format(name="Plugin", extra="def __init__(self): raise RuntimeError"),
    "wants a later API": PLUGIN.format(name="Plugin", extra="prouter_api_version = 99"),
    "wants an API that is no more": PLUGIN.format(name="Plugin", extra="prouter_api_version = 0"),
    "names an API that is no number": PLUGIN.format(name="Plugin", extra="prouter_api_version = '1'"),
    "interrupts": "raise KeyboardInterrupt",
    "wants a package that is not there": "import package_that_nobody_has",
    "implements nothing": "class Plugin: pass",
    "wants an argument that there is not": (
        "from prouter import hookimpl\nclass Plugin:\n    @hookimpl\n    def prouter_guards(self, nonsense): ..."
    ),
    "implements a hook that there is not": (
        "from prouter import hookimpl\nclass Plugin:\n    @hookimpl\n    def prouter_nonsense(self): ..."
    ),
    "is a pluggy wrapper": (
        "from prouter import hookimpl\nclass Plugin:\n    @hookimpl(wrapper=True)\n"
        "    def prouter_guards(self):\n        return (yield)"
    ),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_named_and_left_out_unless_it_is_required(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with caplog.at_level(logging.ERROR):
        shown = states(Switches(load=[str(path)]))
    assert shown["broken"]["state"] == "failed"
    assert shown["broken"]["why"]
    assert shown["broken"]["hooks"] == []
    assert shown[BUILT_IN]["state"] == "loaded"
    assert "broken" in caplog.text
    for strictly in (Switches(load=[str(path)], required=frozenset(["broken"])), Switches([str(path)], strict=True)):
        with pytest.raises(StartupError, match="'broken'"):
            states(strictly)
    assert states(Switches(load=[str(path)], strict=True, forgiving=True))["broken"]["state"] == "failed"


def test_what_is_wrong_with_its_arguments_is_told_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN["wants an argument that there is not"])
    why = str(states(Switches(load=[str(path)]))["broken"]["why"])
    assert "nonsense" in why
    assert "`prouter plugins check` says what may have been meant" in why


def test_a_required_plugin_must_be_there_and_on() -> None:
    with pytest.raises(StartupError, match="not installed"):
        states(Switches(required=frozenset(["nobody"])))
    with pytest.raises(StartupError, match="switched off"):
        states(Switches(required=frozenset([BUILT_IN]), disabled=frozenset([BUILT_IN])))


GUARD = """
from prouter import hookimpl
class Plugin:
    prouter_api_version = {version}
    def __init__(self): {init}
    @hookimpl
    def prouter_{name}(self, {argument}): ...
    @hookimpl
    def prouter_routes(self): {routes}
"""
SOUND = {"version": 1, "init": "...", "name": "authorize", "argument": "action", "routes": "..."}


def routes_of(switches: Switches) -> None:
    """As far as a start goes."""
    host = PluginHost(hookspecs)
    host.load(find(GROUP, switches), switches)
    Hooks(host).collect("prouter_routes")


@pytest.mark.parametrize(
    "broken",
    [
        {"version": 99},
        {"argument": "nonsense"},
        {"routes": "raise RuntimeError"},
        {"init": "raise RuntimeError"},
        {"name": "authorise"},
    ],
    ids=["another API", "another signature", "no routes", "can not be made", "misspelt"],
)
def test_one_that_refuses_is_never_left_out(tmp_path: Path, broken: dict[str, object]) -> None:
    """Without it more would be allowed than its deployer wanted."""
    (tmp_path / "guard.py").write_text(GUARD.format(**SOUND | broken))
    switches = Switches(load=[str(tmp_path / "guard.py")])
    with pytest.raises(StartupError, match=r"'guard' failed.*prouter_authori.e.*--no-plugin guard"):
        routes_of(switches)
    assert states(Switches(load=switches.load, disabled=frozenset(["guard"])))["guard"]["state"] == "disabled"


async def test_one_that_breaks_when_it_is_asked_again_stays(tmp_path: Path) -> None:
    """At a reload, say: the error ends what was asked for, and who refuses goes on to refuse."""
    (tmp_path / "guard.py").write_text(GUARD.format(**SOUND | {"routes": "raise RuntimeError"}))
    switches = Switches(load=[str(tmp_path / "guard.py")])
    host = PluginHost(hookspecs)
    host.load(find(GROUP, switches), switches)
    hooks = Hooks(host)
    with pytest.raises(StartupError):
        hooks.collect("prouter_routes")
    assert hooks.plugins("prouter_authorize") == ["guard"]


def test_versions_of_the_plugin_api_that_fit() -> None:
    assert OLDEST_API_VERSION <= API_VERSION
    for version in range(OLDEST_API_VERSION, API_VERSION + 1):
        assert api_misfit(version) == ""
    for version in (OLDEST_API_VERSION - 1, API_VERSION + 1, "1", 1.0, True, None):
        assert api_misfit(version), version


def test_those_that_ship_are_loaded_first(tmp_path: Path) -> None:
    """So that the others are asked before them, and what both claim is theirs."""
    path = tmp_path / "aaa.py"
    path.write_text(PLUGIN.format(name="Plugin", extra=""))
    found = [plugin.built_in for plugin in find(GROUP, Switches(load=[str(path)]))]
    assert found == sorted(found, reverse=True)
    assert found[-1] is False
