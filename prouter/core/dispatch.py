"""What becomes of a request at the control endpoint: the steps in their order, the same for the API and the proxy.

host → authenticate → route of a job (proxied) or of the table → browser guard → find the job → authorize → outcome.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Mapping
from functools import partial

from prouter.core.access import Access
from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.returning import Returning
from prouter.core.alike import PROXY, AlikeRequests
from prouter.core.jobs.unheard import Unheard
from prouter.core.openers import Openers, young_seconds
from prouter.core.origin import Origins
from prouter.core.planning import Planning, without_cookies
from prouter.core.resuming import Resuming
from prouter.core.told import Told
from prouter.errors import (
    AgentAway,
    JobInvalidState,
    JobNotFound,
    JobQueued,
    PluginFailure,
    PortNotFound,
    ProuterError,
    RouteNotFound,
    Unavailable,
)
from prouter.http1.policy import forward_request, without_credentials
from prouter.model import query, sound, unexpected
from prouter.model.access import ANONYMOUS, Guards, Principal, Resource
from prouter.model.frames import FOLLOWED_HEADER
from prouter.model.http import Reply, RequestHead
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import JobRef
from prouter.model.plugin import AgentService, Call, JobPort, JobTarget, Relay, Resolved, idempotency_key
from prouter.model.queue import Queue, QueuedJob
from prouter.model.traffic import PROXIED
from prouter.model.trail import Trail
from prouter.model.trail import current as trail
from prouter.pipe.bind import AgentBinding, JobBinding
from prouter.pipe.steps import in_a_task
from prouter.pluginkit import context
from prouter.pluginkit.calling import Hooks
from prouter.web.accept import check_acceptable
from prouter.web.accounting import ENDING
from prouter.web.browser import guard_change
from prouter.web.outcomes import Forward, Incoming, Outcome
from prouter.web.routes import Match, RouteTable
from prouter.web.serve import BodyLimits, serve_route

log = logging.getLogger(__name__)

SLASHES = re.compile("//+")

_Named = tuple[JobRef | None, Mapping[str, str], QueuedJob | None]


class ControlDispatcher:
    """A Dispatcher for the control endpoint."""

    def __init__(
        self,
        hooks: Hooks,
        access: Access,
        directory: AgentDirectory,
        routes: RouteTable,
        origins: Origins,
        *,
        body_limits: BodyLimits,
        missing: Callable[[], str],
        told: Told,
        returning: Returning,
        resuming: Resuming,
        queue: Queue,
        unheard: Unheard,
    ) -> None:
        self._hooks = hooks
        self._access = access
        self._directory = directory
        self._routes = routes
        self._origins = origins
        self._body_limits = body_limits
        self._missing = missing
        self._told = told
        self._openers = Openers(directory, returning)
        self._planning = Planning(hooks, told, missing)
        self._returning = returning
        self._queue = queue
        self._resuming = resuming
        self._unheard = unheard
        self._alike = AlikeRequests(hooks, access, directory, told)
        self._ending = False

    def end(self) -> None:
        """From now on all but health checks is refused."""
        self._ending = True

    async def dispatch(self, incoming: Incoming) -> Outcome:
        self._told.of_all(incoming)
        head = incoming.head
        ours = self._origins.host_is_ours(head)
        principal, begun = ANONYMOUS, (self._access.guards, self._hooks.generation)
        special = self._routes.special(head.method, head.path)
        if self._ending and not (special is not None and special.public):
            raise Unavailable(ENDING)
        if special is not None and special.recorded and incoming.on_answer is None:
            trail.set(Trail())
        public = ours and special is not None and special.public
        if not public:
            principal = incoming.principal = await self._access.check(head, incoming.peer)
        resolved = await self._resolve(incoming)
        if public and resolved is not None:  # a plugin takes it for a job's, so that it is not the public route
            principal = incoming.principal = await self._access.check(head, incoming.peer)
        if not ours and (resolved is None or not resolved.by_host):
            self._origins.refuse_host(head)
        if resolved is not None:
            incoming.route = PROXIED
            return await self._proxied(incoming, principal, resolved, begun)
        return await self._routed(incoming, principal)

    async def _authorize(self, incoming: Incoming, principal: Principal, action: str, resource: Resource) -> None:
        incoming.action, incoming.resource = action, resource
        judged = self._access.judge(principal, action, resource)
        if judged is not None:
            await judged()

    async def _authorize_queued(self, incoming: Incoming, principal: Principal, action: str, job: JobUid) -> None:
        """Who may not use a job is not told how it waits."""
        queued = self._queue.find(job)
        if queued is not None:
            await self._authorize(incoming, principal, action, Resource(None, job, queued.labels))

    # --- proxied requests ---

    async def rehearse(self, incoming: Incoming, principal: Principal) -> None:
        """Decide about a proxied request and send nothing. Raises what answers such a request instead of the job."""
        resolved = await self._resolve(incoming)
        if resolved is None:
            raise RouteNotFound(f"no plugin that is loaded takes this path for a job's{self._missing()}")
        await self._proxied(incoming, principal, resolved, None)

    async def _resolve(self, incoming: Incoming) -> Resolved | None:
        if not self._hooks.implemented("prouter_resolve_route"):
            return None
        answer = await self._hooks.first("prouter_resolve_route", head=incoming.head)
        if answer is None:
            return None
        plugin, resolved = answer
        if not isinstance(resolved, Resolved):
            raise PluginFailure(plugin, "prouter_resolve_route", "it answered something else than Resolved")
        return resolved

    async def _proxied(
        self, incoming: Incoming, principal: Principal, resolved: Resolved, begun: tuple[Guards, int] | None
    ) -> Outcome:
        """`begun`: who guarded what, and which plugins there were, before anybody decided anything about it."""
        try:
            ref = await self._proxied_job(resolved)
        except (JobQueued, JobInvalidState):
            await self._authorize_queued(incoming, principal, PROXY, resolved.job)
            raise
        context.stay_about(ref.job, ref.agent)
        record = self._directory.entry(ref.agent).mirror.get(ref.job)
        await self._authorize(incoming, principal, PROXY, Resource(ref.agent, ref.job, record.labels))
        port = record.find_port(resolved.port)
        if port is None:  # it may have been started through another router
            await self._unheard.ask(ref.job, ref.agent, record)
            record = self._directory.entry(ref.agent).mirror.get(ref.job)
            await self._authorize(incoming, principal, PROXY, Resource(ref.agent, ref.job, record.labels))
            port = record.find_port(resolved.port)
        if port is None:
            named = "no port" if resolved.port is None else f"no port {resolved.port!r}"
            raise PortNotFound(f"job {ref.job!r} is {record.state.value} and serves {named}; port not found")
        target = JobTarget(
            ref=ref,
            port=port,
            prefix=resolved.prefix,
            rest=resolved.rest,
            peer=incoming.peer,
            principal=principal,
            request_id=incoming.request_id,
            public_origin=self._origins.public_origin(incoming.head, incoming.peer),
            public_prefix=self._origins.prefix(incoming.head, incoming.peer),
        )
        opener = self._openers.opener(ref.agent, JobBinding(ref.job, port.name, 0), incoming.head, waits=True)
        decided = partial(self._alike.decided, record, target, begun, resolved, young_seconds(incoming.head))
        return await self._planning.planned(incoming, target, opener, decided if resolved.lasting else None)

    async def _proxied_job(self, resolved: Resolved) -> JobRef:
        def find() -> JobRef:
            return self._directory.find_job(resolved.job, resolved.agent)

        try:
            try:
                return find()
            except AgentAway as away:  # the router has just started
                return await self._returning.found(away, find)
        except JobNotFound:
            await self._unheard.ask(resolved.job, resolved.agent)
            return find()

    # --- routes ---

    async def _routed(self, incoming: Incoming, principal: Principal) -> Outcome:
        await in_a_task()  # what plugins do for a route may need one
        head = incoming.head
        try:
            match = self._routes.match(head.method, head.path)
        except RouteNotFound as error:
            if (elsewhere := self._with_single_slashes(incoming)) is not None:
                return Reply(308, (("Location", elsewhere),))
            raise RouteNotFound(f"{error.detail}{self._missing()}") from error
        route = match.route
        incoming.route = route.path
        changes = head.method not in ("GET", "HEAD") if route.changes is None else route.changes
        action = route.action
        asked = query.read(head.query, route.query)
        if asked.get("remove", "") not in ("", "0"):
            changes, action = True, _changing(action)
        if changes:
            guard_change(head, self._origins.own_origins(head, incoming.peer))
        try:
            ref, labels, queued = await self._job(match, head)
        except (JobQueued, JobInvalidState):
            await self._authorize_queued(incoming, principal, action, JobUid(match.job or ""))
            raise
        if ref is not None:
            context.stay_about(ref.job, ref.agent)
        resource = Resource(ref.agent, ref.job, labels) if ref else Resource(_agent_of(match))
        if queued is not None:
            context.stay_about(queued.uid, "")
            resource = Resource(None, queued.uid, labels)
        await self._authorize(incoming, principal, action, resource)
        if not changes:  # a change is not left undone for the form in which it would be told
            check_acceptable(head, route.media_type)
        call = Call(
            head=head,
            params=match.params,
            raw=match.raw,
            query=asked,
            peer=incoming.peer,
            request_id=incoming.request_id,
            public_prefix=self._origins.prefix(head, incoming.peer),
            principal=principal,
            job=ref,
            queued=queued,
        )
        return await self._perform(match, call)

    def _with_single_slashes(self, incoming: Incoming) -> str | None:
        """Where a path with doubled slashes leads, as on an original: a redirect, so that whatever stands in front of
        this router and looks at paths sees the one that counts. None: nowhere."""
        head = incoming.head
        path = SLASHES.sub("/", head.path)
        if path == head.path:
            return None
        try:
            self._routes.match(head.method, path)
        except ProuterError:
            return None
        return self._origins.prefix(head, incoming.peer) + path + (f"?{head.query}" if head.query else "")

    async def _job(self, match: Match, head: RequestHead) -> _Named:
        """The job that a path names, and its labels."""
        if match.job is None:
            return None, {}, None
        job = JobUid(match.job)
        try:
            return self._told_job(match, job, head)
        except JobNotFound:
            await self._unheard.ask(job, match.agent)
            return self._told_job(match, job, head)

    def _told_job(self, match: Match, job: JobUid, head: RequestHead) -> _Named:
        try:
            ref = self._directory.find_job(job, match.agent)
        except JobNotFound:
            key = idempotency_key(head) if match.route.gone_ok else None
            gone = self._directory.removed_job(job, match.agent, key) if key is not None else None
            if gone is None:
                unqueued = self._queue.removed(job, key) if key is not None and match.route.queued_ok else None
                if unqueued is None:
                    raise
                return None, unqueued.labels, unqueued
            return gone[0], gone[1].labels, None
        except (JobQueued, JobInvalidState):
            queued = self._queue.find(job) if match.route.queued_ok else None
            if queued is None:
                raise
            return None, queued.labels, queued
        if not match.route.away_ok:
            self._directory.connected(ref.agent)
        return ref, self._directory.entry(ref.agent).mirror.get(ref.job).labels, None

    async def _perform(self, match: Match, call: Call) -> Outcome:
        if match.route.relay is None:
            return serve_route(match.route, call, self._body_limits, match.owner)
        try:
            chosen = await match.route.relay(call)
            if not isinstance(chosen, Relay | Reply):
                raise TypeError(f"{match.route.path} answered {type(chosen).__name__} instead of Relay or Reply")
            if why := sound.wrong(chosen.plan if isinstance(chosen, Relay) else chosen):
                raise ValueError(f"{match.route.path} answered {type(chosen).__name__} {why}")
        except ProuterError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            log.exception("%s %s failed in plugin %s", call.head.method, call.head.path, match.owner)
            unexpected.tell(error, f"{call.head.method} {call.head.path}")
            raise PluginFailure(match.owner, match.route.path, type(error).__name__) from error
        if isinstance(chosen, Relay):
            return self._relay(chosen, call)
        return chosen

    def _relay(self, relay: Relay, call: Call) -> Forward:
        target = relay.target
        if isinstance(target, AgentService):
            opener = self._openers.opener(target.agent, AgentBinding(0), call.head)
        else:
            assert isinstance(target, JobPort)
            opener = self._openers.opener(target.ref.agent, JobBinding(target.ref.job, target.port, 0), call.head)
        plan = without_cookies(relay.plan, call.principal)
        head = without_credentials(call.head, call.head, call.principal.used_headers)
        resume = relay.resume
        if resume is None or not isinstance(target, AgentService):
            return Forward(opener, plan, head, follows=relay.follows)

        def again(place: int, followed: str | None) -> bytes:
            plan = resume(place)
            if followed is not None:
                plan = dataclasses.replace(plan, set_headers=(*plan.set_headers, (FOLLOWED_HEADER, followed)))
            return forward_request(head, without_cookies(plan, call.principal))

        return Forward(self._resuming.opener(target.agent, opener, again), plan, head, follows=relay.follows)


def _agent_of(match: Match) -> AgentUid | None:
    uid = match.params.get("agent")
    return AgentUid(uid) if uid is not None else None


def _changing(action: str) -> str:
    """The action of a reading verb that was asked to remove what it reads: who may only look may not do that."""
    return f"{action.removesuffix('.read')}.write" if action.endswith(".read") else action
