"""Points for the agents that could take a job: every plugin is asked about every agent, within one bound of time.

Belongs here: asking and adding up. Does not: what the points are good for (model/selection.py, selectors).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prouter.errors import ProuterError
from prouter.model.access import Principal
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest
from prouter.model.plugin import Candidate, Score
from prouter.model.telling import clipped
from prouter.model.trail import current, milliseconds
from prouter.pluginkit.calling import Hooks

log = logging.getLogger(__name__)

SCORE_SECONDS = 10.0
"""For all plugins and agents together; who has not answered then is missing."""
AT_ONCE = 32
"""Agents that are asked about at the same time, for plugins that ask somebody else, and between two turns of others."""


async def score(
    hooks: Hooks, candidates: Sequence[Candidate], request: CreateRequest, principal: Principal
) -> Sequence[Candidate]:
    """The same candidates with their scores. Never raises for what a plugin does."""
    if not hooks.implemented("prouter_score_agent"):
        return candidates
    scoring = _Scoring(hooks, iter(candidates), request, principal)
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(SCORE_SECONDS) as deadline, asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(candidates))):
                group.create_task(scoring.work(), name="scores of agents")
    except TimeoutError:
        if not deadline.expired():
            raise
        missing = len(candidates) - len(scoring.totals)
        log.warning("%s of %s agents were not scored within %g s", missing, len(candidates), SCORE_SECONDS)
    trail = current.get()
    if trail is not None:
        trail.scoring_milliseconds = milliseconds(time.perf_counter() - begun)
    return [replace(candidate, score=scoring.totals.get(candidate.uid, 0.0)) for candidate in candidates]


class _Scoring:
    """One job's candidates on their way through the plugins."""

    def __init__(
        self, hooks: Hooks, candidates: Iterator[Candidate], request: CreateRequest, principal: Principal
    ) -> None:
        self.totals: dict[AgentUid, float] = {}
        self._hooks = hooks
        self._candidates = candidates
        self._request = request
        self._principal = principal
        self._failed: set[str] = set()
        self._trail = current.get()

    async def work(self) -> None:
        """One after another, as long as there are any."""
        for candidate in self._candidates:
            answers = await self._hooks.each(
                "prouter_score_agent", candidate=candidate, request=self._request, principal=self._principal
            )
            self._note(candidate.uid, answers)
            await asyncio.sleep(0)  # others have their turn, too, where no plugin waits for anything

    def _note(self, uid: AgentUid, answers: Sequence[tuple[str, Any]]) -> None:
        total = 0.0
        parts: list[Mapping[str, Any]] = []
        for plugin, answer in answers:
            if isinstance(answer, Score):
                total += answer.points
                parts.append({"plugin": plugin, "points": answer.points, "reason": clipped(answer.reason)})
            elif answer is not None:
                why = answer.detail if isinstance(answer, ProuterError) else f"it answered {type(answer).__name__}"
                if plugin not in self._failed:  # once is enough for a thousand agents
                    log.warning("the score of agent %s by plugin %s is missing: %s", uid, plugin, why)
                    self._failed.add(plugin)
                parts.append({"plugin": plugin, "points": None, "reason": clipped(why)})
        self.totals[uid] = total
        if self._trail is not None:
            self._trail.scored(uid, total, parts)
