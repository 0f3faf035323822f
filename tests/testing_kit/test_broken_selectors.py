"""Selectors that break each promise of their contract, and what the author is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from prouter.errors import NoAgent
from prouter.model.plugin import Candidate
from prouter.testing import ContractBroken, assert_contract
from prouter.testing.contracts import watching


class Good:
    """A selector that does all right: it waits in the middle."""

    name = "good"
    schema: ClassVar[Any] = {
        "type": "object",
        "properties": {"type": {"const": "good"}},
        "required": ["type"],
        "additionalProperties": False,
    }

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        await asyncio.sleep(0)
        if not candidates:
            raise NoAgent("none is there")
        return candidates[0].uid


class Nameless(Good):
    name = ""


class NoSchema(Good):
    schema: ClassVar[Any] = {"type": "nonsense"}


class Lax(Good):
    schema: ClassVar[Any] = {"type": "object"}


class Foreign(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        return "somebody else"


class NoUid(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        return candidates[0] if candidates else None


class Crashes(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        return min(candidate.uid for candidate in candidates)


class Sleeps(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        time.sleep(0.15)
        return await super().choose(locator, candidates)


class Swallows(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        try:
            await asyncio.sleep(0)
        except BaseException:
            pass
        return await super().choose(locator, candidates)


class Counts(Good):
    """Keeps a licence for good when it is cancelled."""

    def __init__(self) -> None:
        self.left = 20

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        if not self.left:
            raise NoAgent("all licences are taken")
        self.left -= 1
        chosen = await super().choose(locator, candidates)
        self.left += 1
        return chosen


class Mixes(Good):
    """Two that ask at once get each other's answers, and nonsense."""

    asked = 0

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        self.asked += 1
        try:
            chosen = await super().choose(locator, candidates)
            await asyncio.sleep(0.001)
            return chosen if self.asked == 1 else "mixed up"
        finally:
            self.asked -= 1


class Exits(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        raise SystemExit(1)


class CancelsItself(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        raise asyncio.CancelledError


class NeverEnds(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await asyncio.sleep(0.6)
        return await super().choose(locator, candidates)


class Leaves(Good):
    kept: Any = None

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        self.kept = asyncio.ensure_future(asyncio.sleep(600))
        return await super().choose(locator, candidates)


SELECTORS = {
    Nameless: "it is the `type` of its locators",
    NoSchema: "its schema is no JSON schema",
    Lax: "its schema takes the wrong locator",
    Foreign: "which is none of the 12 candidates",
    NoUid: "which is no uid",
    Crashes: "it raised ValueError",
    Sleeps: "it held the event loop for",
    Swallows: "it answered 'agent-0'; let CancelledError pass",
    Counts: "after 20 calls that were cancelled",
    Leaves: "left tasks behind",
    Mixes: "asked 10 times at once, it chose 'mixed up'",
    Exits: "it raised SystemExit",
    CancelsItself: "it raised CancelledError though nobody",
    NeverEnds: "it did not end; let CancelledError pass",
}


@pytest.mark.parametrize("kind", SELECTORS)
async def test_selectors(kind: type[Good], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "CANCEL_SECONDS", 0.3)
    before = asyncio.all_tasks()
    with pytest.raises(ContractBroken, match=SELECTORS[kind]):
        await assert_contract(kind(), "selector")
    for task in asyncio.all_tasks() - before:
        task.cancel()


async def test_a_good_selector_and_samples_that_are_wrong() -> None:
    await assert_contract(Good(), "selector", wrong=[{"type": "good", "more": 1}])
    with pytest.raises(ContractBroken, match="its schema takes the wrong locator"):
        await assert_contract(Good(), "selector", wrong=[{"type": "good"}])
    with pytest.raises(ContractBroken, match="its schema refuses the locator"):
        await assert_contract(Good(), "selector", locators=[{"type": "good", "rack": 7}])
    with pytest.raises(ContractBroken, match="its locators have the type 'good'"):
        await assert_contract(Good(), "selector", locators=[{"type": "better"}])
    with pytest.raises(TypeError, match="there is no contract"):
        await assert_contract(Good(), "selektor")  # type: ignore[arg-type]
