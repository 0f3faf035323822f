"""The pages that are made from the program itself: hooks, configuration, HTTP API, the cookbook of examples.

`python docs/generate.py` writes them, `--check` says which are not as they would be written (the gate does that).
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pictures import STORIES, picture
from screens import top_picture
from values import links, values_page

from prouter import agent_hookspecs, hookspecs
from prouter.cli import agent as agent_command
from prouter.cli import options
from prouter.cli import router as router_command
from prouter.pluginkit.config import Sources
from prouter.pluginkit.schema import allowed, default_of

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples" / "plugins"
COMMON = ("4XX", "501", "502", "503", "504", "507")
"""Statuses that every route may answer."""
MADE = "<!-- Made by docs/generate.py: change the program, not this page. -->\n"
VALUES = """
# Values and services

What hooks get and give, as their signatures name it: frozen values, the services that `prouter_startup` hands over,
errors, and the classes of the kit. A field without a default must be given. Import each from the module in whose part
it stands.
"""
SIDES: tuple[tuple[str, ModuleType], ...] = (("router", hookspecs), ("agent", agent_hookspecs))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is out of date")
    check = parser.parse_args().check
    stale = []
    for place, text in pages().items():
        if not place.exists() or place.read_text("utf-8") != text:
            stale.append(place)
            if not check:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, "utf-8")
    for place in stale:
        print(f"{place.relative_to(ROOT)}: {'is out of date (make docs)' if check else 'written'}")
    return 1 if check and stale else 0


def pages() -> Mapping[Path, str]:
    return {
        DOCS / "plugins" / "reference.md": hooks_page(),
        DOCS / "plugins" / "values.md": values_page(MADE + VALUES, SIDES),
        DOCS / "plugins" / "cookbook.md": cookbook_page(),
        DOCS / "reference" / "configuration.md": configuration_page(),
        DOCS / "reference" / "http-api.md": api_page(),
        **{DOCS / "images" / f"hooks-{name}.svg": picture(name) for name in STORIES},
        DOCS / "images" / "top.svg": top_picture(),
    }


# --- hooks ---


def hooks_page() -> str:
    parts = [
        MADE,
        "# All hooks\n",
        "In the order in which a start, a request and a job meet them. What each kind promises is in",
    ]
    parts.append("[Calling](calling.md); who uses a hook is a good place to look how.\n")
    for side, specs in SIDES:
        parts.append(f"## Hooks of the {side}\n")
        for heading, names in areas(specs):
            parts.append(f"### {heading[0].upper()}{heading[1:]} ({side})\n")
            parts += [hook_text(side, getattr(specs, name)) for name in names]
    return "\n".join(parts)


def areas(specs: ModuleType) -> Iterator[tuple[str, list[str]]]:
    """(heading, hooks) as the comments in the source divide them."""
    pieces = re.split(r"(?m)^# --- (.+) ---$", inspect.getsource(specs))
    for heading, text in zip(pieces[1::2], pieces[2::2], strict=True):
        yield heading, re.findall(r"(?m)^def (prouter_\w+)\(", text)


def hook_text(side: str, spec: Any) -> str:
    text, _, example = inspect.cleandoc(spec.__doc__).partition("\nExample::\n")
    first, _, rest = text.strip().partition("\n\n")
    chained = f", changes `{spec.prouter_chained}`" if spec.prouter_chained else ""
    facts = f"{spec.prouter_kind}{chained} · {spec.prouter_deadline:g} s · since {spec.prouter_since}"
    signature = re.sub(r"'([^']*)'", r"\1", str(inspect.signature(spec)))
    lines = [
        f"({side}-{spec.__name__})=",
        f"#### {spec.__name__}\n",
        f"{' '.join(first.split())}\n",
        f"*{facts} · used by {', '.join(users(side, spec.__name__)) or 'nobody'}*\n",
        "```python",
        f"def {spec.__name__}{signature}",
        "```\n",
        " ".join(rest.split()) + "\n" if rest else "",
        f"Values: {named}.\n" if (named := links(spec)) else "",
        "```python",
        re.sub(r"\n+(?=class )", "\n\n\n", textwrap.dedent(example).strip("\n")),
        "```\n",
    ]
    return "\n".join(line for line in lines if line != "")


def users(side: str, hook: str) -> list[str]:
    """Plugins of this side, shipped and examples, that implement a hook."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    group = "prouter.plugins" if side == "router" else "prouter.agent_plugins"
    found = []
    for name, place in points[group].items():
        module, _, klass = place.partition(":")
        if hook in implemented(source_of(ROOT, module), klass):
            found.append(f"`{name}`")
    for project in examples():
        for name, place in entry_points(project, group).items():
            module, _, klass = place.partition(":")
            if hook in implemented(source_of(project.parent / "src", module), klass):
                found.append(f"[{name}](cookbook.md#{project.parent.name.replace('_', '-')})")
    return found


def entry_points(project: Path, group: str) -> Mapping[str, str]:
    found: Mapping[str, str] = tomllib.loads(project.read_text())["project"].get("entry-points", {}).get(group, {})
    return found


def source_of(top: Path, module: str) -> Path:
    place = top / module.replace(".", "/")
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def implemented(file: Path, klass: str) -> set[str]:
    """Hooks that a class of a file implements."""
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == klass:
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            return {hook for method in methods for hook in marked(method)}
    return set()


def marked(method: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    marks = " ".join(ast.unparse(decorator) for decorator in method.decorator_list)
    named = set(re.findall(r"hookspecs\.(prouter_\w+)", marks))
    return named or ({method.name} if "hookimpl" in marks and method.name.startswith("prouter_") else set())


# --- examples ---


def examples() -> list[Path]:
    """The project files of those that say what they are."""
    return [place for place in sorted(EXAMPLES.glob("*/pyproject.toml")) if (place.parent / "README.md").exists()]


def cookbook_page() -> str:
    parts = [MADE, "# Cookbook\n"]
    parts.append(
        "Plugins that do real work in under 150 lines each, with packaging and tests; start yours from the nearest.\n"
    )
    for project in examples():
        place = project.parent
        readme = (place / "README.md").read_text("utf-8")
        paragraphs = [p for p in readme.split("\n\n") if p.strip() and not p.startswith(("#", "    ", "```"))]
        parts.append(f"## {place.name}\n\n{unlinked(' '.join(paragraphs[0].split()))}\n")
        hooks = [
            f"[{hook}](#{side}-{hook})"
            for side, specs in SIDES
            for name, point in entry_points(project, f"prouter.{'agent_' if side == 'agent' else ''}plugins").items()
            for hook in sorted(hooks_of(place, point))
            if hasattr(specs, hook)
        ]
        parts.append(f"Hooks: {', '.join(dict.fromkeys(hooks))}.\n")
        for file in sorted((place / "src").rglob("*.py")):
            if file.read_text("utf-8").strip():
                shown = file.relative_to(DOCS.parent)
                parts.append(f"```{{literalinclude}} ../../{shown}\n:language: python\n:caption: {shown}\n```\n")
    return "\n".join(parts)


def hooks_of(place: Path, point: str) -> set[str]:
    module, _, klass = point.partition(":")
    return implemented(source_of(place / "src", module), klass)


def unlinked(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\((?!http)[^)]+\)", r"\1", text)


# --- configuration ---


def configuration_page() -> str:
    parts = [MADE, "# Configuration\n"]
    parts.append("Every key of the router and of the agent as they ship; what other plugins add is in `--help`.")
    how = "How they are set, in files, the environment and by flags, is in [Operations](../operations.md#parameters).\n"
    parts.append(how)
    for kind in (router_command.KIND, agent_command.KIND):
        parts.append(f"## {kind.name.capitalize()}\n\n| key | default | what it is | owner |\n|---|---|---|---|")
        safe = argparse.Namespace(no_plugin=(), safe=True)
        _, _, schema = options._plugins(kind, Sources(None, {}, kind.prefix, ()), safe)
        for parameter in schema:
            default = "hidden" if parameter.secret else f"`{json.dumps(default_of(parameter.schema))}`"
            text = str(parameter.schema.get("description", "")).strip()
            words = f"{text} Allowed: {allowed(parameter.schema)}.".replace("|", "\\|").replace("<", "&lt;")
            parts.append(f"| `{parameter.key}` | {default} | {words} | {parameter.owner.removeprefix('the plugin ')} |")
        parts.append("")
    return "\n".join(parts)


# --- HTTP ---


def api_page() -> str:
    document = openapi()
    parts = [MADE, "# HTTP API\n"]
    parts.append(
        "Every route of a router with the plugins that ship, from its own OpenAPI document (`GET /openapi.json`, which "
        "has the schemas too; a page at `/docs` reads it). Errors are problem+json everywhere (RFC 9457).\n"
    )
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            if verb not in ("get", "put", "post", "delete", "patch") and not (verb == "head" and "get" not in verbs):
                continue
            about = f"{operation.get('summary', '')} {operation.get('description', '')}"
            parts.append(f"## {verb.upper()} {path}\n\n{plain(about)}\n")
            rows = [
                f"| `{p['name']}` | {p['in']} | {plain(p.get('description', ''))} |"
                for p in operation.get("parameters", ())
            ]
            if rows:
                parts.append("| parameter | in | what it is |\n|---|---|---|\n" + "\n".join(rows) + "\n")
            answers = [
                f"{status}: {plain(answer.get('description', ''))}"
                for status, answer in operation["responses"].items()
                if status not in COMMON
            ]
            parts.append(" ".join(answers) + "\n")
    return "\n".join(parts)


def plain(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def openapi() -> Mapping[str, Any]:
    """Of a router that is started for it, with nothing but what ships."""
    with tempfile.TemporaryDirectory() as place:
        ready = Path(place, "ready.json")
        words = ["--safe", "--ready-file", str(ready), "--set", "control.port=0", "--set", "server.port=0"]
        state = ["--set", f"state.directory={str(Path(place, 'state'))!r}"]
        router = subprocess.Popen([sys.executable, "-m", "prouter", *words, *state], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while not ready.exists():
                if router.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the router whose API is described did not start")
                time.sleep(0.02)
            url = json.loads(ready.read_text())["control"]["url"]
            with urllib.request.urlopen(url + "/openapi.json", timeout=10) as answer:
                found: Mapping[str, Any] = json.load(answer)
                return found
        finally:
            router.terminate()
            router.wait(10)


if __name__ == "__main__":
    sys.exit(main())
