"""Comparing agents: what selectors share. Which agents are compared is each selector's own.

Called by selectors, shipped and third-party.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter.errors import AgentAway, AgentNotFound, NoAgent, ProuterError
from prouter.model.ids import AgentUid
from prouter.model.plugin import Candidate
from prouter.model.router_services import Agents
from prouter.model.trail import current, tell_ranking

AWAY = "it is away for the moment"
"""Why an agent is not taken that was connected not long ago."""
KEPT = "what is free there is for jobs that wait in the queue"
"""Why it is not taken by who does not wait there."""


def is_connected(agents: Agents, uid: AgentUid) -> bool | None:
    """False: it is away and may still return, to a router that was started again, too. None: nobody knows it."""
    try:
        return agents.get(uid).connected
    except AgentAway:
        return False
    except AgentNotFound:
        return None


def least_loaded(candidates: Sequence[Candidate], not_taken: Mapping[AgentUid, str]) -> AgentUid:
    """The agent with the highest score, then the fewest running jobs for its capacity; equal ones by jobs not started
    yet, then by uid.

    An agent that states no capacity is never full, and counts as one with a single slot when it is compared.
    `not_taken` says of the others why they were left out. Raises NoAgent with all reasons when nobody is left.
    """
    reasons = dict(not_taken)
    free = []
    for candidate in candidates:
        slots = candidate.capacity.get("jobs")
        if slots is not None and candidate.jobs + candidate.waiting >= slots:
            reasons[candidate.uid] = f"it is full: {candidate.jobs + candidate.waiting} jobs, capacity {slots}"
        else:
            free.append(candidate)
    order = sorted(free, key=_load)
    if current.get() is not None:
        tell_ranking([candidate.uid for candidate in order], reasons | {c.uid: _in_words(c) for c in order})
    if not order:
        raise no_agent(reasons)
    return order[0].uid


def no_agent(reasons: Mapping[AgentUid, str]) -> NoAgent:
    """The refusal that says which agents were considered and why each was not taken."""
    listed = "; ".join(f"{uid}: {reason}" for uid, reason in sorted(reasons.items()))
    detail = f"none of {len(reasons)} agents can take the job: {listed}" if reasons else "no agent is connected"
    return NoAgent(detail, extra=considered(reasons))


def considered(reasons: Mapping[AgentUid, str]) -> dict[str, Any]:
    """What a refusal says beside its detail: each agent that was considered, and why it was not taken."""
    return {"considered": [{"agent": uid, "reason": reason} for uid, reason in sorted(reasons.items())]}


def reasons(error: ProuterError) -> dict[AgentUid, str]:
    """Of a refusal: each agent that was considered, and why it was not taken."""
    return {AgentUid(str(agent["agent"])): str(agent["reason"]) for agent in error.extra.get("considered", ())}


def _load(candidate: Candidate) -> tuple[float, float, int, AgentUid]:
    slots = candidate.capacity.get("jobs", 1)
    return -candidate.score, candidate.jobs / max(slots, 1), candidate.waiting, candidate.uid


def _in_words(candidate: Candidate) -> str:
    slots = candidate.capacity.get("jobs")
    of = f"capacity {slots}" if slots is not None else "no capacity stated"
    score = f"score {candidate.score:g}, " if candidate.score else ""
    return f"{score}{candidate.jobs} jobs run, {candidate.waiting} wait, {of}"
