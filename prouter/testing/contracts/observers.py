"""What prouter expects of a plugin that is told what happens: it neither fails, nor answers, nor holds others up."""

from __future__ import annotations

from typing import Any

from prouter.model.plugin import Kind
from prouter.testing.contracts import samples
from prouter.testing.contracts.hooks import Hosted
from prouter.testing.contracts.watching import broken

AT_END = "prouter_shutdown"
"""Told last."""


async def assert_observer(plugin: Any) -> None:
    """Raises ContractBroken. The plugin has been started, where it needs that; it is told of its end at last, twice."""
    hosted = Hosted(plugin)
    specs = hosted.specs
    told = [hook for hook in hosted.implemented() if getattr(specs, hook).prouter_kind is Kind.NOTIFY]
    if not told:
        broken(hosted.name, "it implements no hook of the kind notify")
    for hook in sorted(told, key=lambda name: name == AT_END):
        for news in samples.questions(getattr(specs, hook)):
            await _tell(hosted, hook, news)
        if hook != AT_END:
            await hosted.survives_cancellation(hook, **samples.arguments(getattr(specs, hook), 0))


async def _tell(hosted: Hosted, hook: str, news: dict[str, Any]) -> None:
    answer = await hosted.answer(hook, **news)
    if answer is not None:
        broken(hosted.who(hook), f"it answered {answer!r}; nobody hears what an observer answers")
