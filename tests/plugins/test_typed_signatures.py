"""mypy finds a signature that does not fit its hook when it is marked by `implements`, and none in the examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples" / "plugins").glob("*/src"))
HEAD = """
from __future__ import annotations

from collections.abc import Mapping

from prouter import agent_hookspecs, hookspecs, implements
from prouter.model.access import Principal, Refusal, Resource
from prouter.model.jobs import JobRecord, StartRequest


class Plugin:
"""
RIGHT = """
    @implements(hookspecs.prouter_authorize)
    def sync(self, principal: Principal, action: str, resource: Resource) -> Refusal | None:
        return None

    @implements(hookspecs.prouter_authorize)
    async def awaited(self, principal: Principal, action: str, resource: Resource) -> Refusal | None:
        return Refusal("no")

    @implements(hookspecs.prouter_authorize)
    def wider(self, principal: object, action: object, resource: object) -> None:
        return None

    @implements(agent_hookspecs.prouter_job_environment)
    async def environment(
        self, env: Mapping[str, str], record: JobRecord, request: StartRequest
    ) -> dict[str, str]:
        return {**env, "NAME": record.name}

    @implements(hookspecs.prouter_shutdown)
    async def ends(self) -> None:
        pass
"""
WRONG = {
    "a name": "def wrong(self, principal: Principal, verb: str, resource: Resource) -> Refusal | None: ...",
    "a type": "def wrong(self, principal: Principal, action: int, resource: Resource) -> Refusal | None: ...",
    "a return": "def wrong(self, principal: Principal, action: str, resource: Resource) -> bool: ...",
    "an awaited return": "async def wrong(self, principal: Principal, action: str, resource: Resource) -> bool: ...",
    "one too few": "def wrong(self, principal: Principal, action: str) -> Refusal | None: ...",
    "one too many": "def wrong(self, principal: Principal, action: str, resource: Resource, more: int) -> None: ...",
    "the order": "def wrong(self, action: str, principal: Principal, resource: Resource) -> Refusal | None: ...",
}


def mypy(place: Path, *words: str | Path, path: str = "") -> tuple[int, str]:
    cache = ROOT / ".mypy_cache" / "typed_signatures"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), *map(str, words)]
    environ = os.environ | {"MYPYPATH": os.pathsep.join([str(ROOT), path]).rstrip(os.pathsep)}
    done = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(220)
def test_mypy_tells_right_signatures_from_wrong_ones(tmp_path: Path) -> None:
    text = HEAD + RIGHT
    for number, body in enumerate(WRONG.values()):
        body = body.replace("wrong", f"wrong_{number}")
        text += f"\n    @implements(hookspecs.prouter_authorize)\n    {body}\n"
    (tmp_path / "plugin.py").write_text(text)
    lines = text.splitlines()
    marks = [number for number, line in enumerate(lines, 1) if line.startswith("    @implements")]
    right = RIGHT.count("@implements")
    status, said = mypy(tmp_path, "--disable-error-code", "empty-body", "plugin.py")
    found = {int(line) for line in re.findall(r"plugin\.py:(\d+): error:", said)}
    for number, what in zip(marks[right:], WRONG, strict=True):
        assert found & {number, number + 1}, f"{what} is wrong, and mypy does not say so:\n{said}"
    first_wrong = marks[right]
    assert not {line for line in found if line < first_wrong}, said
    assert status == 1


@pytest.mark.timeout(220)
@pytest.mark.skipif(not EXAMPLES, reason="the examples are not here")
def test_mypy_finds_nothing_wrong_with_the_examples(tmp_path: Path) -> None:
    path = os.pathsep.join(str(example / "src") for example in EXAMPLES)
    status, said = mypy(tmp_path, *(example / "src" for example in EXAMPLES), path=path)
    assert status == 0, said


def test_the_examples_mark_by_implements() -> None:
    for example in EXAMPLES:
        texts = [path.read_text() for path in (example / "src").rglob("*.py")]
        marked = sum(text.count("@implements(") for text in texts)
        assert marked, f"{example.name} marks nothing that mypy can look at"
