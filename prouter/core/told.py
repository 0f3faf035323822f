"""What plugins are told of requests at the control endpoint: their end (prouter_audit, prouter_proxy_finished).

Belongs here: the events, put together from what the dispatcher and the exchange found. Does not: when a request has
ended (web/exchange.py), what was decided about it (model/trail.py). Where nobody listens nothing of it is built.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from prouter.errors import ProuterError
from prouter.model.access import ANONYMOUS, Peer, Principal, Resource
from prouter.model.audit import AuditEvent
from prouter.model.ids import AgentUid
from prouter.model.plugin import JobTarget
from prouter.model.proxying import ProxyFinished
from prouter.model.telling import clipped
from prouter.model.trail import Trail, current, recorded
from prouter.pluginkit import context
from prouter.pluginkit.calling import Hooks
from prouter.rpc.websocket import PATH
from prouter.web.outcomes import Ending, Incoming, Tell

AUDIT, FINISHED = "prouter_audit", "prouter_proxy_finished"
CONNECT = "agent.connect"
"""The action of an agent that dials in."""
MAX_PATH = 2000
"""Characters of a path that are told."""
SWITCHED = 101


class Told:
    """Hands the callbacks to a request that its exchange calls."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def of_all(self, incoming: Incoming) -> None:
        """At a request's beginning: from here on its decisions are recorded, if somebody wants to have them."""
        if not self._hooks.implemented(AUDIT):
            return
        at, trail = time.time(), Trail(keeps_creation=True)
        current.set(trail)

        def answered(ending: Ending) -> None:
            event = AuditEvent(
                at=at,
                request_id=incoming.request_id,
                peer=incoming.peer,
                principal=clipped(incoming.principal.name),
                authenticator=clipped(incoming.principal.authenticator),
                method=incoming.head.method,
                path=incoming.head.path[:MAX_PATH],
                action=incoming.action,
                resource=trail.made or incoming.resource,
                status=ending.status,
                reason=clipped(trail.problem),
                decisions=tuple(trail.decisions),
                creation=trail.creation,
            )
            trail.close()
            self._hooks.notify(AUDIT, subject=incoming.request_id, event=event)

        incoming.on_answer = answered

    def of_proxied(self, incoming: Incoming, target: JobTarget) -> None:
        """When a request is about to go to a job."""
        if self._hooks.implemented(FINISHED):
            incoming.on_end = partial(self._proxied_ended, target, incoming.head.method)

    def of_alike(self, target: JobTarget) -> Tell | None:
        """Of requests like one that went there; None where nobody wants to know."""
        if not self._hooks.implemented(FINISHED):
            return None

        def ended(peer: Peer, method: str, request_id: str, rest: str, ending: Ending) -> None:
            self._proxied_ended(another(target, rest, peer, request_id), method, ending)

        return ended

    def _proxied_ended(self, target: JobTarget, method: str, ending: Ending) -> None:
        finished = ProxyFinished(
            target=target,
            method=method,
            status=ending.status,
            request_bytes=ending.request_bytes,
            response_bytes=ending.response_bytes,
            began_at=time.time() - ending.seconds,
            wait_seconds=ending.wait_seconds,
            seconds=ending.seconds,
            cut=ending.cut,
        )
        with context.about(job=target.ref.job, agent=target.ref.agent):
            self._hooks.notify(FINISHED, subject=target.request_id, finished=finished)

    @contextmanager
    def of_agent(self, agent: AgentUid, peer: Peer) -> Iterator[Callable[[Principal], None]]:
        """Around the decision whether an agent that dialed in may; what it gives takes who that is."""
        if not self._hooks.implemented(AUDIT):
            yield lambda principal: None
            return
        at, status, found = time.time(), 0, [ANONYMOUS]
        with recorded(Trail()) as trail:
            try:
                yield found.append
                status = SWITCHED
            except ProuterError as error:
                status, trail.problem = error.status, error.detail
                raise
            finally:
                event = AuditEvent(
                    at=at,
                    request_id=context.request_id.get(),
                    peer=peer,
                    principal=clipped(found[-1].name),
                    authenticator=clipped(found[-1].authenticator),
                    method="GET",
                    path=PATH,
                    action=CONNECT,
                    resource=Resource(agent),
                    status=status,
                    reason=clipped(trail.problem),
                    decisions=tuple(trail.decisions),
                )
                trail.close()
                self._hooks.notify(AUDIT, subject=agent, event=event)


def another(target: JobTarget, rest: str, peer: Peer, request_id: str) -> JobTarget:
    """The same for another request. dataclasses.replace takes twice as long."""
    return JobTarget(
        target.ref,
        target.port,
        target.prefix,
        rest,
        peer,
        target.principal,
        request_id,
        target.public_origin,
        target.public_prefix,
    )
