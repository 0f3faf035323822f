"""Requests for a job's ports that are like one before: what was decided about that one, and until when it holds.

Belongs here: what of the whole way may be left out, and what ends that. Does not: which requests are alike
(web/again.py), the whole way (dispatch.py).
"""

from __future__ import annotations

from time import monotonic

from prouter.core.access import Access
from prouter.core.agents.directory import AgentDirectory
from prouter.core.told import AUDIT, Told
from prouter.model.access import Guards, Principal, Resource
from prouter.model.forwarded import OTHERS as FORWARDED_OTHERS
from prouter.model.http import ForwardPlan
from prouter.model.jobs import JobRecord
from prouter.model.plugin import JobTarget, Resolved
from prouter.model.trail import current as trail
from prouter.pipe.bind import JobBinding
from prouter.pipe.upstream import UpstreamPipe
from prouter.pluginkit.calling import Hooks
from prouter.web.outcomes import Anew, Lasting
from prouter.web.unread import Unread, unread

PROXY = "job.proxy"
"""The action of a proxied request."""
NO_NAMES: frozenset[str] = frozenset()
OURS = frozenset(("host", "origin", "forwarded", "x-forwarded-prefix", *FORWARDED_OTHERS))
"""Headers by which the router itself decides (origin.py)."""


class AlikeRequests:
    """Of one router."""

    def __init__(self, hooks: Hooks, access: Access, directory: AgentDirectory, told: Told) -> None:
        self._hooks = hooks
        self._access = access
        self._directory = directory
        self._told = told

    def decided(
        self,
        record: JobRecord,
        target: JobTarget,
        begun: tuple[Guards, int] | None,
        resolved: Resolved,
        young_seconds: float | None,
        plan: ForwardPlan,
        anew: Anew | None,
    ) -> Lasting | None:
        """What was decided holds until the configuration is read again, a plugin comes or goes, the job changes or its
        agent has another link; it takes pipes that were idle for `young_seconds` at most. None where one of these was
        so while it was decided, or where a plugin wants to know what was decided about each. `anew` asks those who
        want to see each."""
        guards, hooks, entry = self._access.lasting(), self._hooks, self._directory.entry(target.ref.agent)
        link = entry.link
        if guards is None or link is None or trail.get() is not None or not self._alone():
            return None
        generation, job = hooks.generation, target.ref.job
        if begun is None or begun[0] is not guards or begun[1] != generation:
            return None
        line = JobBinding(job, target.port.name, link.hello.link).line()
        resource = Resource(target.ref.agent, job, record.labels)
        judge = self._access.judge(target.principal, PROXY, resource)

        access, records, shelf = self._access, entry.mirror.records, link.pool.shelf(line)

        def holds() -> bool:
            return (
                entry.link is link
                and records.get(job) is record
                and hooks.generation == generation
                and access.guards is guards
            )

        def take() -> UpstreamPipe | None:
            if (  # the same once more and not by a call: this is the way of most requests
                shelf
                and entry.link is link
                and records.get(job) is record
                and hooks.generation == generation
                and access.guards is guards
            ):
                return shelf.pop()
            return None

        def take_young() -> UpstreamPipe | None:
            return take() if shelf and monotonic() - shelf[-1].idle_since <= (young_seconds or 0.0) else None

        tell = self._told.of_alike(target)
        unread = _unread(guards, resolved, plan, target.principal) if anew is None else None
        taking = take if young_seconds is None else take_young
        return Lasting(target.prefix, holds, taking, judge, tell, resource, unread, anew)

    def _alone(self) -> bool:
        """Whether one plugin says which paths are a job's, one how requests look, and nobody wants to know what was
        decided about each."""
        hooks = self._hooks
        return (
            len(hooks.plugins("prouter_resolve_route")) == 1
            and len(hooks.plugins("prouter_plan")) == 1
            and not hooks.implemented(AUDIT)
        )


def _unread(guards: Guards, resolved: Resolved, plan: ForwardPlan, principal: Principal) -> Unread | None:
    """Header lines by which nothing of this was decided, and that the job gets as they came."""
    if guards.reads is None or resolved.reads is None or plan.reads is None:
        return None
    said = frozenset(name.lower() for name, _ in plan.set_headers)
    cookies = frozenset(("cookie",)) if plan.drop_cookies or principal.used_cookies else NO_NAMES
    named = (guards.reads, resolved.reads, plan.reads, plan.drop, said, cookies, principal.used_headers)
    return unread(OURS, *map(frozenset, named))
