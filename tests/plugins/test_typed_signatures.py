"""mypy finds a signature that does not fit its hook when it is marked by `implements`, and none in the examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from our_mypy import mypy
from prouter import hookspecs, implements
from prouter.model.access import Principal, Refusal, Resource

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples" / "plugins").glob("*/src"))
HEAD = """# mypy: disable-error-code=empty-body
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


@pytest.fixture(scope="module")
def plugin_text() -> str:
    text = HEAD + RIGHT
    for number, body in enumerate(WRONG.values()):
        body = body.replace("wrong", f"wrong_{number}")
        text += f"\n    @implements(hookspecs.prouter_authorize)\n    {body}\n"
    return text


@pytest.fixture(scope="module")
def said(plugin_text: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of that plugin and of the examples, in one run."""
    written = tmp_path_factory.mktemp("typed") / "right_and_wrong.py"
    written.write_text(plugin_text)
    sources = [example / "src" for example in EXAMPLES]
    status, said = mypy(written, *sources, sources=sources)
    assert status == 1, said
    return said


@pytest.mark.timeout(220)
def test_mypy_tells_right_signatures_from_wrong_ones(plugin_text: str, said: str) -> None:
    marks = [number for number, line in enumerate(plugin_text.splitlines(), 1) if line.startswith("    @implements")]
    wrong = marks[RIGHT.count("@implements") :]
    found = {int(line) for line in re.findall(r"right_and_wrong\.py:(\d+): error:", said)}
    for number, what in zip(wrong, WRONG, strict=True):
        assert found & {number, number + 1}, f"{what} is wrong, and mypy does not say so:\n{said}"
    assert min(found) >= wrong[0], said


@pytest.mark.timeout(220)
def test_mypy_finds_nothing_wrong_with_the_examples(said: str) -> None:
    assert EXAMPLES
    assert {Path(line.partition(":")[0]).name for line in said.splitlines() if ": error:" in line} == {
        "right_and_wrong.py"
    }, said


def test_the_examples_mark_by_implements() -> None:
    for example in EXAMPLES:
        texts = [path.read_text() for path in (example / "src").rglob("*.py")]
        marked = sum(text.count("@implements(") for text in texts)
        assert marked, f"{example.name} marks nothing that mypy can look at"


def test_the_typed_mark_says_its_place_like_the_other_one() -> None:
    class Ordered:
        @implements(hookspecs.prouter_authorize, before=("quota",), after=["sso"])
        def any_name(self, principal: Principal, action: str, resource: Resource) -> Refusal | None:
            return None

    marked = Ordered.any_name
    assert (marked.prouter_before, marked.prouter_after) == (("quota",), ("sso",))  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="sequences of names"):
        implements(hookspecs.prouter_authorize, before="quota")(Ordered.any_name)
    with pytest.raises(TypeError, match="is no hook"):
        implements(len)  # type: ignore[arg-type]
