"""Plugins that are broken in every way that came to mind, each as the text of a file.

Belongs here: the animals, and what a router or agent should say of them. Does not: the tests (test_zoo*.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CLASS = """
from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import ConfigSection, Route

class Selector:
    schema = {{"type": "object"}}
    def __init__(self, name):
        self.name = name
    async def choose(self, locator, candidates):
        return candidates[0].uid

def route(path):
    async def answer(call):
        return Reply.json({{}})
    return Route(("GET",), path, "zoo.read", "Of the zoo.", answer)

class Animal:
{body}
"""


@dataclass(frozen=True)
class Animal:
    """A plugin that is to be left out."""

    name: str
    text: str
    why: str
    """Part of the reason."""


def with_hooks(*functions: str) -> str:
    body = "\n".join(line for function in functions for line in ("@hookimpl", *function.split("\n")))
    return CLASS.format(body="\n".join(f"    {line}" for line in body.splitlines()))


def returning(hook: str, value: str) -> str:
    return with_hooks(f"def {hook}(self):\n    return {value}")


def section(name: str, key: str, schema: dict[str, object]) -> str:
    return returning("prouter_config_sections", f"[ConfigSection({name!r}, {{{key!r}: {schema!r}}})]")


ROUND = "from prouter import hookimpl\n@hookimpl(before=['{}'])\ndef prouter_failed(): ...\n"
LEFT_OUT = [
    Animal("at_import", "raise RuntimeError('broken')", "RuntimeError: broken"),
    Animal("exits_at_import", "raise SystemExit(7)", "SystemExit: 7"),
    Animal("interrupts_at_import", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    Animal("cancels_at_import", "import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    Animal("no_python", "def nonsense(", "SyntaxError"),
    Animal("lonely", "import a_library_that_nobody_has", "ModuleNotFoundError: No module named 'a_library_that"),
    Animal("empty", "", "it implements no hook"),
    Animal("unmakeable", returning("prouter_routes", "[]") + "    def __init__(self, needed): ...\n", "TypeError"),
    Animal("unknown_hook", returning("prouter_route", "[]"), "no hook prouter_route; did you mean prouter_routes"),
    Animal("wrong_signature", with_hooks("def prouter_routes(self, nonsense): ..."), "{'nonsense'}"),
    Animal("from_the_future", returning("prouter_routes", "[]") + "    prouter_api_version = 99\n", "version 99 of"),
    Animal("waits", with_hooks("async def prouter_routes(self):\n    return []"), "must be a plain function"),
    Animal("fails", with_hooks("def prouter_routes(self):\n    1 / 0"), "prouter_routes: ZeroDivisionError"),
    Animal("exits", with_hooks("def prouter_selectors(self):\n    raise SystemExit(7)"), "prouter_selectors: System"),
    Animal("interrupts", with_hooks("def prouter_routes(self):\n    raise KeyboardInterrupt"), "KeyboardInterrupt"),
    Animal("rubbish", returning("prouter_routes", "5"), "prouter_routes: TypeError"),
    Animal("rubbish_inside", returning("prouter_routes", "[route('/x'), 'a text']"), "answered list of Route and str"),
    Animal("rubbish_sections", returning("prouter_config_sections", "['text']"), "answered list of str instead of Seq"),
    Animal("half_done", with_hooks("def prouter_routes(self):\n    yield route('/half')\n    1 / 0"), "ZeroDivision"),
    Animal("no_selector", returning("prouter_selectors", "[Animal]"), "instead of Sequence of Selector"),
    Animal("wrong_schema", section("zoo", "x", {"type": "nonsense"}), "schema of zoo.x is wrong"),
    Animal("wrong_default", section("zoo", "x", {"type": "string", "default": 5}), "schema of zoo.x is wrong"),
    Animal(
        "takes_a_section",
        section("control", "port", {"type": "integer", "default": 1}),
        "control.port: declared by prouter and by the plugin takes_a_section",
    ),
    Animal("second_section", section("zoo", "only", {}), "declared by the plugin first_section and by"),
    Animal(
        "takes_a_selector",
        with_hooks(
            "def prouter_selectors(self):\n    return [Selector('uid')]",
            "def prouter_routes(self):\n    return [route('/left/over')]",
        ),
        "selector 'uid' is claimed by 'selector_uid' (prouter ",
    ),
    Animal(
        "takes_a_route",
        with_hooks(
            "def prouter_routes(self):\n    return [route('/left/behind'), route('/jobs')]",
            "def prouter_selectors(self):\n    return [Selector('left_behind')]",
        ),
        "GET /jobs is claimed by 'jobs_api' (prouter ",
    ),
    Animal("takes_info", returning("prouter_routes", "[route('/info')]"), "GET /info is claimed by prouter itself"),
    Animal("second_of_two", returning("prouter_routes", "[route('/only/one')]"), "claimed by 'first_of_two' ("),
    Animal("round_a", ROUND.format("round_b"), "want to be asked before each other"),
    Animal("round_b", ROUND.format("round_a"), "want to be asked before each other"),
]
"""Of the router: left out while it starts, whole."""
HEALTHY = {
    "first_of_two": returning("prouter_routes", "[route('/only/one')]"),
    "first_section": section("zoo", "only", {}),
}
"""Beside them, in whose way others are."""


def settle_in(place: Path, animals: dict[str, str]) -> list[str]:
    """Files for `plugins.load`."""
    paths = []
    for name, text in animals.items():
        (place / f"{name}.py").write_text(text)
        paths.append(str(place / f"{name}.py"))
    return paths


SWITCHED = """
import asyncio, time
from pathlib import Path
from prouter import hookimpl

MODE = Path(__file__).with_name("mode")

async def act(hook):
    wanted, _, mode = MODE.read_text().partition(" ")
    if wanted != hook:
        return None
    if mode == "raises":
        raise RuntimeError("hidden-words")
    if mode == "exits":
        raise SystemExit(0)
    if mode == "interrupts":
        raise KeyboardInterrupt
    if mode == "never answers":
        await asyncio.sleep(600)
    if mode == "blocks":
        await asyncio.sleep(0)
        time.sleep(0.5)
    return [object()] if mode == "says rubbish" else None

class Switched:
"""


def switched(*hooks: str) -> str:
    """A plugin of these hooks that does what the file `mode` beside it says: "HOOK WAY"."""
    methods = (f"    @hookimpl\n    async def {hook}(self):\n        return await act('{hook}')\n" for hook in hooks)
    return SWITCHED + "\n".join(methods)


WAYS = ("raises", "exits", "interrupts", "says rubbish", "never answers", "blocks")
"""How a plugin breaks when it is asked."""

CONTRIBUTIONS = """
import asyncio, time
from prouter import hookimpl
from prouter.model.plugin import Route

async def way(name):
    if name == "raises":
        raise RuntimeError("hidden-words")
    if name == "exits":
        raise SystemExit(0)
    if name == "interrupts":
        raise KeyboardInterrupt
    if name == "blocks":
        await asyncio.sleep(0)
        time.sleep(0.4)
    return 5

class Chooses:
    schema = {"type": "object"}

    def __init__(self, name):
        self.name = name

    async def choose(self, locator, candidates):
        return await way(self.name)

class Contributes:
    @hookimpl
    def prouter_startup(self, router):
        for name in ("raises", "exits", "interrupts", "blocks"):
            router.tasks.start(name, way(name))

    @hookimpl
    def prouter_selectors(self):
        return [Chooses(name) for name in WAYS]

    @hookimpl
    def prouter_routes(self):
        def served(name):
            return lambda call: way(name)
        return [
            route
            for name in WAYS
            for route in (
                Route(("GET",), f"/handled/{name}", "zoo.read", "Of the zoo.", handler=served(name)),
                Route(("GET",), f"/relayed/{name}", "zoo.read", "Of the zoo.", relay=served(name)),
            )
        ]

WAYS = ("raises", "exits", "interrupts", "rubbish", "blocks")
"""
"""A plugin whose selectors, routes and tasks break in each way."""
