"""Every hook is documented in one form, and has an example that works, a test, and somebody who uses it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hook_samples import samples, samples_of_the_agent
from test_order_of_hooks import SOMETIMES

from prouter import agent_hookspecs, hookimpl, hookspecs
from prouter.errors import ProuterError
from prouter.model.plugin import Kind
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.discovery import Found, Switches
from prouter.pluginkit.host import PluginHost

ROOT = Path(__file__).parents[2]
MOST_LINES = 20
"""Of an example; longer ones are in examples/plugins."""
SIDES = {"router": (hookspecs, samples), "agent": (agent_hookspecs, samples_of_the_agent)}
HOOKS = [
    pytest.param(side, name, id=f"{side}-{name}")
    for side, (specs, _) in SIDES.items()
    for name in vars(specs)
    if name.startswith("prouter_")
]
every_hook = pytest.mark.parametrize(("side", "name"), HOOKS)


def spec(side: str, name: str) -> Any:
    return getattr(SIDES[side][0], name)


def documentation(side: str, name: str) -> tuple[str, str]:
    """What a hook's docstring says, and its example."""
    text, _, example = inspect.cleandoc(spec(side, name).__doc__).partition("\nExample::\n")
    return text.strip(), textwrap.dedent(example).strip("\n")


@every_hook
def test_its_documentation_has_the_form_of_all_others(side: str, name: str) -> None:
    text, example = documentation(side, name)
    first, _, rest = text.partition("\n\n")
    assert first.endswith((".", "?")) or "\n" in first, "a first sentence"
    told = "Told" if spec(side, name).prouter_kind is Kind.NOTIFY else "Asked|Awaited"
    assert re.search(rf"\b({told}|Asked|Its jobs)\b", rest), "when it is asked or told"
    assert example, "an example"
    assert len(example.splitlines()) <= MOST_LINES, "an example that is read at a glance"
    assert re.fullmatch(r"\d+\.\d+", spec(side, name).prouter_since)


@every_hook
def test_it_says_what_none_means_where_it_may_be_answered(side: str, name: str) -> None:
    returned = get_type_hints(spec(side, name))["return"]
    if type(None) in get_args(returned):
        assert re.search(r"\bNone\b", documentation(side, name)[0])


@every_hook
async def test_its_example_is_a_plugin_that_answers_as_the_hook_promises(side: str, name: str, tmp_path: Path) -> None:
    specs, values = SIDES[side]
    namespace: dict[str, Any] = {"hookimpl": hookimpl}
    exec(documentation(side, name)[1], namespace)
    hooks = loaded(specs, namespace["Example"])
    if "prouter_startup" in vars(namespace["Example"]) and name != "prouter_startup":
        await called(hooks, spec(side, "prouter_startup"), values(tmp_path))
    answer = await called(hooks, spec(side, name), values(tmp_path))
    assert fits(answer, get_type_hints(spec(side, name))["return"]), answer


def loaded(specs: ModuleType, plugin: Any) -> Hooks:
    host = PluginHost(specs)
    host.load([Found("example", "example", "1", lambda: plugin)], Switches())
    assert host.loaded() == ["example"], [state["why"] for state in host.describe()]
    return Hooks(host)


async def called(hooks: Hooks, hook: Any, values: Mapping[str, Any]) -> Any:
    arguments = {name: values[name] for name in inspect.signature(hook).parameters}
    if hook.prouter_kind is Kind.COLLECT:
        ((_, answer),) = hooks.collect(hook.__name__)
        return answer
    ((_, answer),) = await hooks.each(hook.__name__, **arguments)
    if isinstance(answer, ProuterError):
        raise answer
    return answer


def fits(value: Any, wanted: Any) -> bool:
    if get_origin(wanted) in (Union, UnionType):
        return any(fits(value, one) for one in get_args(wanted))
    origin = get_origin(wanted) or getattr(wanted, "__supertype__", wanted)
    if getattr(origin, "_is_protocol", False):
        return hasattr(value, "name")
    return isinstance(value, origin)


def implemented(places: list[Path]) -> str:
    return "\n".join(path.read_text() for place in places for path in place.rglob("*.py"))


USERS = implemented([ROOT / "prouter" / "plugins", ROOT / "examples" / "plugins"])
CALLERS = {
    side: implemented([ROOT / "prouter" / room, ROOT / "prouter" / "pluginkit"])
    for side, room in (("router", "core"), ("agent", "agent"))
}
CALLERS["router"] += implemented([ROOT / "prouter" / "cli"])
CALLERS["agent"] += implemented([ROOT / "prouter" / "cli"])
TESTS = "\n".join(
    path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path.name != "test_order_of_hooks.py"
)


@every_hook
def test_a_plugin_that_ships_or_an_example_uses_it(side: str, name: str) -> None:
    assert re.search(rf"(def {name}\(|hookspecs\.{name}\b)", USERS)


@every_hook
def test_somebody_asks_it(side: str, name: str) -> None:
    assert f'"{name}"' in CALLERS[side]


@every_hook
def test_a_test_comes_to_it(side: str, name: str) -> None:
    """The one story that meets nearly all of them, else a test of its own."""
    assert name not in SOMETIMES[side] or name in TESTS


def test_every_hook_is_in_exactly_one_picture() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import pictures; print(*pictures.hooks_in_pictures())"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    named = {("agent:" if side == "agent" else "") + name for side, name in (param.values for param in HOOKS)}
    assert sorted(found) == sorted(named)
