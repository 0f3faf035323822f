"""The page of the values and services that hooks get and give: what their signatures name, and what these name in turn.

Belongs here: how classes of prouter.model become text. Does not: the hooks themselves (generate.py).
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from prouter import errors
from prouter.model import plugin, services
from prouter.testing.contracts import samples

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ("least_loaded", "no_agent", "relay_to_agent", "idempotency_key", "any_matches", "token_bits")
"""Functions of the model that are made for plugins."""
OWN = re.compile(r"to_wire|from_wire|prouter_\w+|pipe_\w+|job_count_\w+")
"""Methods that are prouter's own affair, or the answers of a `FakeAgent`."""
HANDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "prouter.testing": {
        "testing/here.py": ("Here", "RouterHere", "AgentHere", "InProcess"),
        "testing/fake_agent.py": ("FakeAgent", "crowd"),
    },
    "prouter.client": {"client/client.py": ("Client", "Job", "RequestFailed")},
}
"""What tests hold in their hands, by module and file."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Found:
    """A name of the model, as its module defines it."""

    module: str
    """From where plugins import it: the door whose `__all__` names it, else where it is defined."""
    node: ast.stmt


def values_page(intro: str, sides: tuple[tuple[str, ModuleType], ...]) -> str:
    """The whole page; `intro` is what stands at its top."""
    known = definitions()
    parts = [intro]
    places: dict[str, list[str]] = {}
    for name in reached(known, {name for _, specs in sides for name in in_signatures(specs)}):
        places.setdefault(known[name].module, []).append(name)
    for module, names in sorted(places.items()):
        parts.append(f"## {module}\n")
        parts += [value_text(name, known[name]) for name in sorted(names, key=list(known).index)]
    parts.append(errors_text())
    parts.append(kit_text())
    return "\n".join(parts)


def links(spec: Any) -> str:
    """Of the values in a hook's signature, to their places on the page."""
    known = definitions()
    return ", ".join(f"[{name}](#value-{name.lower()})" for name in in_signature(spec) if name in known)


# --- which ---


def definitions() -> Mapping[str, Found]:
    """Public classes, aliases and helpers of prouter.model by name."""
    found: dict[str, Found] = {}
    doors = {name: door.__name__ for door in (plugin, services) for name in door.__all__}
    for file in sorted((ROOT / "prouter" / "model").glob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            name = name_of(node)
            if name and not name.startswith("_") and (not isinstance(node, Definition) or name in HELPERS):
                found[name] = Found(doors.get(name, f"prouter.model.{file.stem}"), node)
    return found


def name_of(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef | Definition):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
        return name if not name.isupper() and len(name) > 1 else ""
    return ""


def in_signatures(specs: ModuleType) -> Iterator[str]:
    for name, spec in vars(specs).items():
        if name.startswith("prouter_"):
            yield from in_signature(spec)


def in_signature(spec: Any) -> list[str]:
    return list(dict.fromkeys(re.findall(r"[A-Z]\w+", str(inspect.signature(spec)))))


def reached(known: Mapping[str, Found], begin: set[str]) -> set[str]:
    """What annotations lead to, from these names on."""
    seen: set[str] = set()
    waiting = {name for name in begin | set(HELPERS) if name in known}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for other in re.findall(r"[A-Z]\w+", " ".join(annotated(known[name].node))):
            if other in known and other not in seen:
                waiting.add(other)
    return seen


def annotated(node: ast.stmt) -> Iterator[str]:
    """Of fields and public methods; of an alias what it stands for."""
    if isinstance(node, ast.Assign):
        yield ast.unparse(node.value)
    elif isinstance(node, Definition):
        yield signature(node)
    elif isinstance(node, ast.ClassDef):
        for member in node.body:
            if isinstance(member, ast.AnnAssign):
                yield ast.unparse(member.annotation)
            elif isinstance(member, Definition) and not member.name.startswith("_") and not OWN.fullmatch(member.name):
                yield signature(member)


# --- how they look ---


def value_text(name: str, found: Found) -> str:
    node = found.node
    head = f"(value-{name.lower()})=\n### {name}\n"
    if isinstance(node, ast.Assign):
        return f"{head}\n```python\n{ast.unparse(node)}\n```\n"
    assert isinstance(node, ast.ClassDef | Definition)
    text = f"{head}\n{paragraphs(ast.get_docstring(node) or '')}\n"
    shown = signature(node) if isinstance(node, Definition) else "\n".join(class_lines(node))
    return f"{text}\n```python\n{shown}\n```\n"


def class_lines(node: ast.ClassDef) -> Iterator[str]:
    bases = f"({', '.join(ast.unparse(base) for base in node.bases)})" if node.bases else ""
    yield f"class {node.name}{bases}:"
    body = node.body[1:] if ast.get_docstring(node) else node.body
    for member, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(member, Definition) and OWN.fullmatch(member.name):
            continue
        if isinstance(member, Definition) and (not member.name.startswith("_") or member.name == "__init__"):
            yield from method_lines(member)
        elif isinstance(member, ast.AnnAssign | ast.Assign) and not ast.unparse(member).startswith("_"):
            note = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            yield from comment(str(note))
            yield f"    {ast.unparse(member)}"


def method_lines(method: Definition) -> Iterator[str]:
    yield ""
    yield from comment(ast.get_docstring(method) or "")
    marks = [ast.unparse(mark) for mark in method.decorator_list]
    for mark in marks:
        if mark in ("classmethod", "staticmethod", "asynccontextmanager"):
            yield f"    @{mark}"
    if "property" in marks:
        yield f"    {method.name}: {ast.unparse(method.returns) if method.returns else 'Any'}"
    else:
        yield f"    {signature(method)}"


def comment(text: str) -> Iterator[str]:
    for paragraph in filter(None, text.split("\n\n")):
        for line in textwrap.wrap(" ".join(paragraph.split()), 110):
            yield f"    # {line}"


def signature(node: Definition) -> str:
    """A generator's as its caller sees it: nobody awaits it."""
    generates = any(isinstance(inner, ast.Yield) for inner in ast.walk(node))
    begin = "async def" if isinstance(node, ast.AsyncFunctionDef) and not generates else "def"
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{begin} {node.name}({ast.unparse(node.args)}){answer}"


def paragraphs(text: str) -> str:
    """As it stands, but for what Markdown would take for its own."""
    return text.replace("<", "&lt;")


# --- errors and the kit ---


def errors_text() -> str:
    rows = ["## prouter.errors\n", "What you raise on purpose; the text is shown to the client.\n"]
    rows += ["| class | status | title | what it means |", "|---|---|---|---|"]
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.ProuterError):
            first = (kind.__doc__ or "").split("\n\n")[0] if "__doc__" in vars(kind) else ""
            rows.append(f"| `{name}` | {kind.status} | {kind.title} | {' '.join(first.split()).replace('|', '/')} |")
    return "\n".join(rows) + "\n"


def kit_text() -> str:
    parts = []
    for module, files in HANDS.items():
        parts.append(f"## {module}\n\nWhat tests have in hand; [testing](testing.md) says how.\n")
        for file, names in files.items():
            for node in ast.parse((ROOT / "prouter" / file).read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef | Definition) and node.name in names:
                    parts.append(value_text(f"kit-{node.name}", Found(module, node)).replace("### kit-", "### "))
    parts.append("## prouter.testing.contracts.samples\n\nValues as hooks get them.\n\n```python")
    tree = ast.parse(inspect.getsource(samples))
    parts += [signature(node) for node in tree.body if isinstance(node, Definition) and node.name[0] != "_"]
    return "\n".join([*parts, "```\n"])
