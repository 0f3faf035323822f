"""What plugins decided about one request or one new job, and why: recorded only where somebody wants to know.

Belongs here: the record and its bounds. Does not: who begins one (core/), how values are put into words (telling.py).
Written by the one place that calls hooks (pluginkit/calling.py), by core's selection, and by selectors that rank.
Never in it: tokens, values of headers or of environments. Reasons are the plugins' own words, meant for clients.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from prouter.model.access import Principal, Resource
from prouter.model.ids import AgentUid
from prouter.model.telling import Change, about, changes_of, clipped, one_line, reason_of
from prouter.model.times import rfc3339

MAX_DECISIONS = 1000
MAX_PASSED = 300
"""Of these, decisions of a plugin that had nothing to say; a filter is asked about every agent."""
MAX_AGENTS = 1000
MAX_CREATION_BYTES = 65536
"""Of what is told about a job's creation when its request has ended."""


class Outcome(StrEnum):
    """What one plugin made of one question."""

    ANSWERED = "answered"
    """It decided."""
    CHANGED = "changed"
    REFUSED = "refused"
    PASSED = "passed"
    """It had no objection, no change, or left the answer to others."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Decision:
    """One plugin, asked once."""

    hook: str
    plugin: str
    outcome: Outcome
    milliseconds: float
    about: str = ""
    """What was asked about: an agent's uid (prouter_filter_agent), an action (prouter_authorize)."""
    reason: str = ""
    changes: Sequence[Change] = ()

    def shown(self) -> dict[str, Any]:
        """Of the API."""
        return {
            "hook": self.hook,
            "plugin": self.plugin,
            "outcome": self.outcome.value,
            "about": self.about,
            "reason": self.reason,
            "changes": [dict(change) for change in self.changes],
            "milliseconds": self.milliseconds,
        }


@dataclass(slots=True)
class Choice:
    """The selector at work."""

    type: str
    """The locator's."""
    plugin: str
    milliseconds: float = 0.0
    would_dial: str | None = None
    """HOST:PORT that a create would have to dial first."""


@dataclass(slots=True)
class Considered:
    """One agent that could have taken the job."""

    name: str = ""
    rank: int | None = None
    """1 is the first choice; None where the selector does not say."""
    refused_by: str | None = None
    """The plugin that left it out; "prouter" for the router itself."""
    reason: str = ""
    score: float | None = None
    """The sum of all points; None where no plugin scores agents, or this one was not scored."""
    scores: Sequence[Mapping[str, Any]] = ()
    """What each plugin gave it: `plugin`, `points` (None: its answer is missing) and `reason`."""


@dataclass(slots=True)
class Trail:
    """The decisions in the order in which they were made. Bounded; what does not fit is counted."""

    dry: bool = False
    """Nothing is made: an explanation was asked for, no job. Nothing is dialed either (core asks for this)."""
    keep_bytes: int = 0
    """How much of it an agent may keep with the job."""
    principal: Mapping[str, str] | None = None
    began_at: float = field(default_factory=time.time)
    decisions: list[Decision] = field(default_factory=list)
    left_out: int = 0
    """Decisions that did not fit."""
    agents: dict[str, Considered] = field(default_factory=dict)
    agents_left_out: int = 0
    scoring_milliseconds: float | None = None
    """Of all agents together; None: no plugin scores agents."""
    choice: Choice | None = None
    would_provision: Sequence[str] = ()
    """Plugins that a create would ask to start an agent."""
    chosen: str | None = None
    refused: Mapping[str, Any] | None = None
    """Why there is no job: the problem as a create answers it."""
    problem: str = ""
    """Of a request: what its client was told instead of an answer."""
    keeps_creation: bool = False
    """Of a request: somebody wants to have the next two, if a job is made, or refused, on its way."""
    creation: Mapping[str, Any] | None = None
    """As an explanation shows it."""
    made: Resource | None = None
    """The job."""
    closed: bool = False
    _passed: int = 0
    _request: Trail | None = None
    """Of the request on whose way this job is made."""
    _inherited: int = 0
    """How many decisions are that one's."""

    @classmethod
    def of(cls, principal: Principal, *, dry: bool = False, keep_bytes: int = 0) -> Trail:
        """For one job; what was decided about this request before belongs to it."""
        before = current.get()
        who = {"name": clipped(principal.name), "authenticator": clipped(principal.authenticator)}
        trail = cls(dry=dry, keep_bytes=keep_bytes, principal=who)
        if before is not None:
            trail.began_at = before.began_at
            trail.decisions = list(before.decisions)
            trail._request, trail._inherited = before, len(before.decisions)
        return trail

    # --- who decides tells ---

    def answered(
        self, hook: str, plugin: str, arguments: Mapping[str, Any], chained: str, value: Any, seconds: float
    ) -> None:
        """An implementation's answer: `chained` is the argument that a chain changes, empty for other kinds."""
        reason, refused = reason_of(value)
        changes = changes_of(arguments[chained], value) if chained else changes_of(None, value)
        outcome = Outcome.ANSWERED
        if value is None or (chained and value == arguments[chained]):
            outcome = Outcome.PASSED
        elif refused:
            outcome = Outcome.REFUSED
        elif chained and not reason:
            outcome = Outcome.CHANGED
        self._add(Decision(hook, plugin, outcome, milliseconds(seconds), about(arguments), reason, changes))

    def failed(self, hook: str, plugin: str, arguments: Mapping[str, Any], why: str, seconds: float) -> None:
        """An implementation raised."""
        self._add(Decision(hook, plugin, Outcome.FAILED, milliseconds(seconds), about(arguments), clipped(why)))

    def filtered(self, kept: Mapping[AgentUid, str], refused: Mapping[AgentUid, str]) -> None:
        """The agents (uid: name) that the selector sees, and those (uid: reason) that it does not."""
        for uid, name in kept.items():
            self._consider(uid, Considered(clipped(name)))
        by = {
            decision.about: decision.plugin
            for decision in self.decisions
            if decision.hook == "prouter_filter_agent" and decision.outcome is Outcome.REFUSED
        }
        for uid, reason in refused.items():
            self._consider(uid, Considered(refused_by=by.get(clipped(uid), "prouter"), reason=clipped(reason)))

    def scored(self, uid: AgentUid, total: float, scores: Sequence[Mapping[str, Any]]) -> None:
        """What the plugins gave an agent that the selector sees."""
        agent = self.agents.get(uid)
        if agent is not None:
            agent.score, agent.scores = total, scores

    def has_it(self, uid: AgentUid) -> None:
        """The job is there already: nothing was chosen."""
        self._consider(uid, Considered(reason="it has this job already"))

    def ranked(self, order: Sequence[AgentUid], reasons: Mapping[AgentUid, str]) -> None:
        """From a selector: agents by uid, the first choice first, with a word to each, and those that it can not use.

        Not called, an explanation says which agent was taken and no more.
        """
        for rank, uid in enumerate(order, 1):
            self._say(uid, rank, reasons.get(uid, ""))
        for uid, reason in reasons.items():
            if uid not in order:
                self._say(uid, None, reason)

    def _say(self, uid: str, rank: int | None, reason: str) -> None:
        known = self.agents.get(uid)
        if known is None:
            known = Considered()
            self._consider(uid, known)
        if known.refused_by is None:
            known.rank, known.reason = rank, clipped(reason)
            known.refused_by = None if rank is not None or self.choice is None else self.choice.plugin

    def _consider(self, uid: str, agent: Considered) -> None:
        if self.closed or (len(self.agents) >= MAX_AGENTS and uid not in self.agents):
            self.agents_left_out += 1
        else:
            self.agents[uid] = agent

    def _add(self, decision: Decision) -> None:
        if self.closed:
            return
        passed = decision.outcome is Outcome.PASSED
        if len(self.decisions) >= MAX_DECISIONS or (passed and self._passed >= MAX_PASSED):
            self.left_out += 1
            return
        self._passed += passed
        self.decisions.append(decision)

    # --- who wants to know reads ---

    def shown(self) -> dict[str, Any]:
        """All of it, of the API."""
        choice = self.choice
        return {
            "at": rfc3339(self.began_at),
            "principal": dict(self.principal) if self.principal is not None else None,
            "chosen": self.chosen,
            "refused": dict(self.refused) if self.refused is not None else None,
            "selector": {
                "type": choice.type,
                "plugin": choice.plugin,
                "would_dial": choice.would_dial,
                "milliseconds": choice.milliseconds,
            }
            if choice is not None
            else None,
            "scoring": {"milliseconds": self.scoring_milliseconds} if self.scoring_milliseconds is not None else None,
            "would_provision": list(self.would_provision),
            "agents": [
                {
                    "agent": uid,
                    "name": agent.name,
                    "rank": agent.rank,
                    "taken": uid == self.chosen,
                    "refused_by": agent.refused_by,
                    "score": agent.score,
                    "scores": [dict(part) for part in agent.scores],
                    "reason": agent.reason or self._silence(uid, agent),
                }
                for uid, agent in self.agents.items()
            ],
            "decisions": [decision.shown() for decision in self.decisions],
            "left_out": {"agents": self.agents_left_out, "decisions": self.left_out},
        }

    def _silence(self, uid: str, agent: Considered) -> str:
        """What is said of an agent of which nobody said anything."""
        passed_over = self.choice is not None and uid != self.chosen and agent.rank is None
        return "the selector does not say why not" if passed_over else ""

    def kept(self, limit_bytes: int) -> str | None:
        """As JSON of at most so many bytes, for the job's record: what tells least goes first. None: nothing fits."""
        document = self.shown()
        for _ in range(64):
            text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            if len(text) <= limit_bytes:
                return text.decode()
            if not _shorten(document):
                return None
        return None

    def close(self) -> None:
        """It was read; what still works in its context (a link that was dialed) adds nothing and keeps nothing.

        The request on whose way a job was made has its decisions; what is only explained has made none.
        """
        if self._request is not None and self._request.keeps_creation and not (self.dry or self.closed):
            self._request._take(self, self._inherited)
        self._request, self.closed = None, True
        self.decisions, self.agents = [], {}

    def _take(self, creation: Trail, begin: int) -> None:
        for decision in creation.decisions[begin:]:
            self._add(decision)
        self.left_out += creation.left_out
        self.made = creation.made
        kept = creation.kept(MAX_CREATION_BYTES)
        self.creation = json.loads(kept) if kept is not None else None

    def objections(self) -> str:
        """Who refused, and why, in one line: for the log."""
        said = [
            f"{decision.hook} of {decision.plugin}"
            + (f" about {one_line(decision.about)}" if decision.about else "")
            + f": {one_line(decision.reason) or decision.outcome}"
            for decision in self.decisions
            if decision.outcome in (Outcome.REFUSED, Outcome.FAILED)
        ]
        more = f"; and {len(said) - 10} more" if len(said) > 10 else ""
        return "; ".join(said[:10]) + more


def _shorten(document: dict[str, Any]) -> bool:
    """Leave out half of what can be missed most easily. False: there is nothing left of that kind."""
    decisions, agents, left = document["decisions"], document["agents"], document["left_out"]
    passed = [d for d in decisions if d["outcome"] == Outcome.PASSED.value]
    others = [agent for agent in agents if not agent["taken"]]
    for name, entries, candidates in (
        ("decisions", decisions, passed),
        ("agents", agents, others),
        ("decisions", decisions, decisions),
    ):
        if candidates:
            gone = {id(entry) for entry in candidates[len(candidates) // 2 :]}
            left[name] += len(gone)
            document[name] = [entry for entry in entries if id(entry) not in gone]
            return True
    return False


def milliseconds(seconds: float) -> float:
    """As the API shows it."""
    return round(seconds * 1000, 3)


current: ContextVar[Trail | None] = ContextVar("trail", default=None)
"""Where the decisions of this request go; None, as nearly always: nobody asks, and nothing is recorded."""


@contextmanager
def recorded(trail: Trail) -> Iterator[Trail]:
    """Record in this context, until its end."""
    token = current.set(trail)
    try:
        yield trail
    finally:
        current.reset(token)


@contextmanager
def choosing(type_: str, plugin: str) -> Iterator[None]:
    """A selector chooses."""
    trail = current.get()
    if trail is None:
        yield
        return
    choice = trail.choice = Choice(type_, plugin)
    begun = time.perf_counter()
    try:
        yield
    finally:
        choice.milliseconds = milliseconds(time.perf_counter() - begun)


def tell_ranking(order: Sequence[AgentUid], reasons: Mapping[AgentUid, str]) -> None:
    """From a selector, to whoever asks for an explanation: as Trail.ranked. Costs nothing where nobody does."""
    trail = current.get()
    if trail is not None:
        trail.ranked(order, reasons)


def is_dry_run() -> bool:
    """Whether an explanation is asked for and no job follows: for plugins whose choice has effects of its own."""
    trail = current.get()
    return trail is not None and trail.dry
