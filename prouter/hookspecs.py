"""Every hook of the router, in the order in which a start, a request and a job meet them.

A hook's kind (model/plugin.py `Kind`) and deadline stand on its spec; pluginkit/calling.py is the one place that calls.
Implementations are `def` or `async def` unless the kind is collect, and may leave out arguments that they do not use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pluggy

from prouter.model.access import Guards, Peer, Principal, Refusal, Resource
from prouter.model.agents import AgentInfo, Hello
from prouter.model.http import ForwardPlan, Reply, RequestHead, ResponseHead
from prouter.model.jobs import CreateRequest, JobRecord
from prouter.model.plugin import Candidate, ConfigSection, HealthCheck, JobTarget, Kind, Resolved, Route, Selector
from prouter.model.reload import TakeOver
from prouter.model.services import Config, Router

PROJECT = "prouter"
_marker = pluggy.HookspecMarker(PROJECT)
F = TypeVar("F", bound=Callable[..., Any])


def hookspec(kind: Kind, deadline_seconds: float = 5.0, chained: str = "") -> Callable[[F], F]:
    """Mark a hook's specification with its kind, the deadline of one implementation, and the chained argument."""

    def mark(function: F) -> F:
        function.prouter_kind = kind  # type: ignore[attr-defined]
        function.prouter_deadline = deadline_seconds  # type: ignore[attr-defined]
        function.prouter_chained = chained  # type: ignore[attr-defined]
        return _marker(function)

    return mark


# --- start ---


@hookspec(Kind.COLLECT)
def prouter_config_sections() -> Sequence[ConfigSection]:
    """The plugin's parts of the configuration.

    Asked before the configuration is read, and for `--help`: import nothing heavy here.
    """
    raise NotImplementedError


@hookspec(Kind.SETUP, deadline_seconds=30.0)
def prouter_startup(router: Router) -> None:
    """The router starts: the configuration is valid, nothing listens yet. Keep what you need of `router`.

    If you raise, the start fails with the plugin's name, and what was started before is shut down in reverse.
    """


@hookspec(Kind.COLLECT)
def prouter_guards() -> Guards:
    """What this authenticator guards, as it is configured. Asked after start-up of those in access.authenticators, and
    again at a reload unless its TakeOver says what it will guard then.

    An endpoint beyond loopback starts only when somebody guards it with credentials that are strong enough.
    """
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_routes() -> Sequence[Route]:
    """HTTP routes of the control endpoint. Asked once, after start-up. One verb and path twice is an error."""
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_selectors() -> Sequence[Selector]:
    """Ways to choose an agent, by the locator's `type`. Asked once, after start-up."""
    raise NotImplementedError


# --- an agent comes ---


@hookspec(Kind.FIRST, deadline_seconds=10.0)
def prouter_authenticate_agent(hello: Hello, peer: Peer) -> Principal | Refusal | None:
    """Whether the agent that dialed in is who it says. Only plugins in access.authenticators are asked.

    None: not my kind of credentials. When nobody answers, the agent is refused.
    """


@hookspec(Kind.NOTIFY)
def prouter_agent_connected(agent: AgentInfo) -> None:
    """An agent's link is up and its jobs are known."""


@hookspec(Kind.NOTIFY)
def prouter_agent_disconnected(agent: AgentInfo, why: str) -> None:
    """An agent's link ended. Its jobs go on there."""


@hookspec(Kind.NOTIFY)
def prouter_agent_draining(agent: AgentInfo) -> None:
    """An agent takes no new jobs from now on, or takes them again: `agent.draining` says which."""


# --- a request comes ---


@hookspec(Kind.FIRST, deadline_seconds=10.0)
def prouter_authenticate_request(head: RequestHead, peer: Peer) -> Principal | Refusal | None:
    """Who makes this request, HTTP or Websocket. Asked first of all, of the plugins in access.authenticators only.

    None: not my kind of credentials. When nobody answers and somebody guards requests, the answer is 401.
    """


@hookspec(Kind.FIRST)
def prouter_resolve_route(head: RequestHead) -> Resolved | None:
    """Whether this host and path stand for a job's port, and which. The request is authenticated by now."""


@hookspec(Kind.VETO)
def prouter_authorize(principal: Principal, action: str, resource: Resource) -> Refusal | None:
    """Whether `principal` may do `action` with `resource`. Any refusal wins; None has no objection."""


@hookspec(Kind.FIRST)
def prouter_plan(head: RequestHead, target: JobTarget) -> ForwardPlan | Reply | None:
    """How the request looks when the job gets it, or an answer without asking the job. No I/O here."""


@hookspec(Kind.CHAIN, chained="head")
def prouter_proxy_request(head: RequestHead, target: JobTarget) -> RequestHead | Reply | None:
    """Change or answer a proxied request's head before it is planned. Each gets what the last one made of it.

    The verb and the headers of framing (lengths, upgrades) stay the client's.
    """


@hookspec(Kind.CHAIN, chained="answer")
def prouter_proxy_response(answer: ResponseHead, target: JobTarget) -> ResponseHead | None:
    """Change the head of a job's answer before it goes to the client. Framing headers can not be changed."""


# --- a job is made ---


@hookspec(Kind.CHAIN, chained="request")
def prouter_job_spec(request: CreateRequest, principal: Principal) -> CreateRequest | None:
    """Change what was asked for before an agent is chosen."""


@hookspec(Kind.VETO)
def prouter_admit_job(request: CreateRequest, principal: Principal) -> Refusal | None:
    """Whether this job may be made at all. Asked after every change of the request, before an agent is chosen."""


@hookspec(Kind.VETO)
def prouter_filter_agent(candidate: Candidate, request: CreateRequest, principal: Principal) -> Refusal | None:
    """Whether this agent may take the job; the reasons are in the refusal when none is left."""


@hookspec(Kind.NOTIFY)
def prouter_job_state_changed(agent: AgentInfo, record: JobRecord) -> None:
    """A job changed: created, started, serving, finished, removed. In order for each job."""


# --- around ---


@hookspec(Kind.NOTIFY)
def prouter_failed(about: str, detail: str) -> None:
    """Something went wrong for which nobody waits: a bridge that broke, a plugin's work in the background."""


@hookspec(Kind.NOTIFY)
def prouter_news_missed(count: int) -> None:
    """You did not keep up with what notify hooks told you: so many were dropped here, before what you are told next."""


@hookspec(Kind.GATHER)
def prouter_health() -> HealthCheck | None:
    """A line of /readyz; a check that is not ok makes the router not ready."""


@hookspec(Kind.GATHER)
def prouter_reload(config: Config) -> TakeOver | None:
    """The configuration was read again and fits its schemas: check what you could take over while running.

    Read and check everything here, files too, and change nothing: what changes things is `TakeOver.apply`, which is
    called once all plugins have answered and nobody found a mistake. If you raise (ConfigError with a line for each
    mistake), nobody takes over anything. None: nothing of yours can change without a restart.
    """


@hookspec(Kind.NOTIFY, deadline_seconds=10.0)
def prouter_shutdown() -> None:
    """The router ends: nothing listens any more. Asked in the reverse order of start-up."""
