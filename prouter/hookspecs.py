"""Every hook of the router, in the order in which a start, a request and a job meet them.

A hook's kind (model/plugin.py `Kind`), the deadline of one implementation and the version that brought it stand on its
spec; pluginkit/calling.py is the one place that calls. Implementations are `def` or `async def` unless the kind is
collect, and may leave out arguments that they do not use. The examples in the docstrings are run by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pluggy

from prouter.model.access import Guards, Peer, Principal, Refusal, Resource, Secret
from prouter.model.activity import Activity
from prouter.model.agents import AgentInfo, Hello
from prouter.model.audit import AuditEvent
from prouter.model.contributions import CliCommand, Metric
from prouter.model.http import ForwardPlan, Reply, RequestHead, ResponseHead
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest, JobRecord
from prouter.model.plugin import (
    Candidate,
    ConfigSection,
    HealthCheck,
    JobTarget,
    Kind,
    Resolved,
    Route,
    Score,
    Selector,
)
from prouter.model.proxying import Bridge, ProxyFinished
from prouter.model.queue import QueuedJob
from prouter.model.reload import TakeOver
from prouter.model.services import Config, Router

PROJECT = "prouter"
_marker = pluggy.HookspecMarker(PROJECT)
F = TypeVar("F", bound=Callable[..., Any])


def hookspec(kind: Kind, deadline_seconds: float = 5.0, chained: str = "", since: str = "0.1") -> Callable[[F], F]:
    """Mark a hook's specification.

    `deadline_seconds` is that of one implementation, `chained` the argument that a chain changes, `since` the version
    of prouter that brought the hook.
    """

    def mark(function: F) -> F:
        function.prouter_kind = kind  # type: ignore[attr-defined]
        function.prouter_deadline = deadline_seconds  # type: ignore[attr-defined]
        function.prouter_chained = chained  # type: ignore[attr-defined]
        function.prouter_since = since  # type: ignore[attr-defined]
        return _marker(function)

    return mark


# --- start ---


@hookspec(Kind.COLLECT)
def prouter_config_sections() -> Sequence[ConfigSection]:
    """The plugin's parts of the configuration.

    Asked right after the import, before the configuration is read, and for `--help`: import nothing heavy here.

    Example::

        from prouter.model.plugin import ConfigSection

        class Example:
            @hookimpl
            def prouter_config_sections(self):
                limit = {"type": "integer", "minimum": 1, "default": 10, "description": "Jobs that a team may have."}
                return [ConfigSection("quota", {"max_jobs": limit})]
    """
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_commands() -> Sequence[CliCommand]:
    """Commands of the command line: `prouter NAME`.

    Asked when a command is named that does not ship, and for `--help`. No router runs then: `prouter_startup` is not
    called, and a command that wants something of a router asks it over HTTP. Those that ship can not be replaced.

    Example::

        from prouter.model.contributions import CliCommand

        class Example:
            @hookimpl
            def prouter_commands(self):
                return [CliCommand("quota", "show what is left", self.run)]

            def run(self, options, context):
                print(context.url)
                return 0
    """
    raise NotImplementedError


@hookspec(Kind.SETUP, deadline_seconds=30.0)
def prouter_startup(router: Router) -> None:
    """The router starts. Keep what you need of `router`: the services stay the same for the life of this plugin.

    Asked once the configuration is valid; nothing listens yet, no agent is there. If you raise, the start fails with
    your name, and what was started before is shut down in reverse.

    Example::

        class Example:
            @hookimpl
            def prouter_startup(self, router):
                self.jobs = router.jobs
    """
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_selectors() -> Sequence[Selector]:
    """Ways to choose an agent, each by its own `type` of the locator.

    Asked once, after start-up. One type twice is an error.

    Example::

        class First:
            name = "first"
            schema = {"type": "object", "properties": {"type": {"const": "first"}}, "additionalProperties": False}

            async def choose(self, locator, candidates):
                return min(candidate.uid for candidate in candidates)

        class Example:
            @hookimpl
            def prouter_selectors(self):
                return [First()]
    """
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_routes() -> Sequence[Route]:
    """HTTP routes of the control endpoint, with the same authorization, limits and description as those that ship.

    Asked once, after start-up. One verb and path twice is an error.

    Example::

        from prouter.model.http import Reply
        from prouter.model.plugin import Route

        class Example:
            @hookimpl
            def prouter_routes(self):
                return [Route(("GET",), "/quota", "quota.read", "What is left.", self.show, media_type="text/plain")]

            async def show(self, call):
                return Reply(200, (("Content-Type", "text/plain"),), b"3 jobs\\n")
    """
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_guards() -> Guards:
    """What this authenticator guards, as it is configured.

    Asked after start-up of those in access.authenticators, and again at a reload unless its TakeOver says what it will
    guard then. An endpoint beyond loopback starts only when somebody guards it with credentials that are strong enough.

    Example::

        from prouter.model.access import Guards

        class Example:
            @hookimpl
            def prouter_guards(self):
                return Guards(requests=True)
    """
    raise NotImplementedError


# --- an agent comes ---


@hookspec(Kind.FIRST, deadline_seconds=30.0)
def prouter_connect_agent(address: str) -> str | None:
    """Where to connect to for an agent that the router is about to dial: a tunnel that you opened, a name you know.

    Asked with the address of the locator, as the client wrote it, each time before a link is dialed, again after it was
    lost. Returns HOST:PORT, where the link's data connections go as well for as long as it lives. None: not mine; when
    nobody answers, the address itself is dialed. If you raise, the dial fails and is tried again as if nothing had
    answered there.

    Example::

        class Example:
            @hookimpl
            async def prouter_connect_agent(self, address):
                return "127.0.0.1:7001" if address == "gpu.lab:5050" else None
    """


@hookspec(Kind.FIRST, deadline_seconds=10.0)
def prouter_agent_token(address: str) -> Secret | None:
    """The token for an agent that the router dials.

    Asked where the locator names none, before a link to `address` is looked for or dialed, again after it was lost.
    None: I know none; when nobody answers, the agent is dialed with an empty token.

    Example::

        from prouter.model.access import Secret

        class Example:
            @hookimpl
            def prouter_agent_token(self, address):
                return Secret("of the lab") if address.endswith(".lab:5050") else None
    """


@hookspec(Kind.FIRST, deadline_seconds=10.0)
def prouter_authenticate_agent(hello: Hello, peer: Peer) -> Principal | Refusal | None:
    """Whether the agent that dialed in is who it says.

    Asked of the plugins in access.authenticators only, when the handshake has been read and before anything is
    answered. None: not my kind of credentials. When nobody answers, the agent is refused; so it is when you fail.

    Example::

        from prouter.model.access import Principal, Secret

        class Example:
            @hookimpl
            def prouter_authenticate_agent(self, hello, peer):
                return Principal(hello.name, "example") if Secret("s3cret").matches(hello.token) else None
    """


@hookspec(Kind.NOTIFY)
def prouter_agent_connected(agent: AgentInfo) -> None:
    """An agent's link is up.

    Told when its jobs are known, after a lost link as well as the first time.

    Example::

        class Example:
            @hookimpl
            def prouter_agent_connected(self, agent):
                print(agent.uid, "is here")
    """


@hookspec(Kind.NOTIFY)
def prouter_agent_disconnected(agent: AgentInfo, why: str) -> None:
    """An agent's link ended.

    Its jobs go on there, and it may come back.

    Example::

        class Example:
            @hookimpl
            def prouter_agent_disconnected(self, agent, why):
                print(agent.uid, "is away:", why)
    """


@hookspec(Kind.NOTIFY)
def prouter_agent_draining(agent: AgentInfo) -> None:
    """An agent takes no new jobs from now on, or takes them again: `agent.draining` says which.

    Told when the agent itself has said so.

    Example::

        class Example:
            @hookimpl
            def prouter_agent_draining(self, agent):
                print(agent.uid, "drains" if agent.draining else "is back")
    """


# --- a request comes ---


@hookspec(Kind.FIRST, deadline_seconds=10.0)
def prouter_authenticate_request(head: RequestHead, peer: Peer) -> Principal | Refusal | None:
    """Who makes this request, HTTP or Websocket.

    Asked first of all, of the plugins in access.authenticators only, with a head that is complete and valid. The
    principal's `findings` travel with the request to all hooks below. None: not my kind of credentials. When nobody
    answers and somebody guards requests, the answer is 401. If you fail, the request does.

    Example::

        from prouter.model.access import Principal, Refusal, Secret

        class Example:
            @hookimpl
            def prouter_authenticate_request(self, head, peer):
                key = head.get("x-api-key")
                if key is None:
                    return None
                if not Secret("s3cret").matches(key):
                    return Refusal("this key is unknown")
                return Principal("lab", "example", used_headers=frozenset({"x-api-key"}))
    """


@hookspec(Kind.CHAIN, chained="principal")
def prouter_principal(principal: Principal, head: RequestHead) -> Principal | None:
    """Add to what is known of who makes a request, whoever authenticated it: a team, roles, another name.

    Asked of every request once it is authenticated, of all plugins; each gets what the last one made of it. What
    authenticated (the authenticator, the headers and cookies that it used) stays as it was. None leaves it as it is.

    Example::

        from dataclasses import replace

        class Example:
            @hookimpl
            def prouter_principal(self, principal, head):
                team = {"ada": "engines"}.get(principal.name, "guests")
                return replace(principal, findings={**principal.findings, "team": team})
    """


@hookspec(Kind.FIRST)
def prouter_resolve_route(head: RequestHead) -> Resolved | None:
    """Whether this host and path stand for a job's port, and which.

    Asked of every request once it is authenticated, before the table of routes; of the paths that are open to all
    before that, and who makes such a request is asked when you take it. None: not for a job as far as I know.

    Example::

        from prouter.model.plugin import Resolved

        class Example:
            @hookimpl
            def prouter_resolve_route(self, head):
                job, dot, _ = (head.get("host") or "").partition(".jobs.example.com")
                return Resolved(None, job, None, "", head.target, by_host=True) if dot else None
    """


@hookspec(Kind.VETO)
def prouter_authorize(principal: Principal, action: str, resource: Resource) -> Refusal | None:
    """Whether `principal` may do `action` with `resource`.

    Asked of every request that is authenticated, when the job that it is about is found ("job.proxy", or the action of
    the route). Any refusal wins and is 403 with its reason. None: no objection.

    Example::

        from prouter.model.access import Refusal

        class Example:
            @hookimpl
            def prouter_authorize(self, principal, action, resource):
                if not action.endswith(".read") and principal.name == "guest":
                    return Refusal("guests may only look")
                return None
    """


@hookspec(Kind.CHAIN, chained="head")
def prouter_proxy_request(head: RequestHead, target: JobTarget) -> RequestHead | Reply | None:
    """Change or answer a proxied request's head before it is planned.

    Asked once the request is authorized and the job's port is known; each gets what the last one made of it. The verb
    and the headers of framing (lengths, upgrades) stay the client's. A Reply ends it: the job is not asked. None leaves
    the head as it is.

    Example::

        from dataclasses import replace

        class Example:
            @hookimpl
            def prouter_proxy_request(self, head, target):
                return replace(head, headers=(*head.headers, ("X-Client", target.principal.name)))
    """


@hookspec(Kind.FIRST)
def prouter_plan(head: RequestHead, target: JobTarget) -> ForwardPlan | Reply | None:
    """How the request looks when the job gets it, or an answer without asking the job.

    Asked after the request hooks, right before the bytes go: no I/O here. None: not mine; when nobody answers, the path
    is 404. `http_proxy`, which ships, answers for every job; a plan of yours is asked before it.

    Example::

        from prouter.model.http import ForwardPlan

        class Example:
            @hookimpl
            def prouter_plan(self, head, target):
                return ForwardPlan(target="/raw" + target.rest, host="job") if target.port.name == "raw" else None
    """


@hookspec(Kind.VETO)
def prouter_bridge_open(bridge: Bridge, principal: Principal) -> Refusal | None:
    """Whether a job's websocket may be joined to one of the caller's own (`wsconnect`).

    Asked once the request is authorized ("job.bridge"), before anything is connected, also when an Idempotency-Key is
    repeated. Any refusal wins and is 403 with its reason. None: no objection.

    Example::

        from prouter.model.access import Refusal

        class Example:
            @hookimpl
            def prouter_bridge_open(self, bridge, principal):
                return None if bridge.url.startswith("wss://") else Refusal("only to websockets with TLS")
    """


@hookspec(Kind.CHAIN, chained="answer")
def prouter_proxy_response(answer: ResponseHead, target: JobTarget) -> ResponseHead | None:
    """Change the head of a job's answer before it goes to the client.

    Asked when the head has come; what its Connection names is gone. What is left when all were asked is made the
    router's own: hop-by-hop headers go, places (Location) and the paths of cookies are rewritten. The status of an
    upgrade and the headers of framing can not be changed. None leaves it as it is.

    Example::

        from dataclasses import replace

        class Example:
            @hookimpl
            def prouter_proxy_response(self, answer, target):
                return replace(answer, headers=(*answer.headers, ("X-Frame-Options", "DENY")))
    """


@hookspec(Kind.NOTIFY)
def prouter_proxy_finished(finished: ProxyFinished) -> None:
    """A proxied request has ended, whole or cut; of a Websocket the whole connection.

    Told when the last byte has gone to the client, or the client has. Requests that a hook refused or answered before
    they were planned are not among them (see prouter_audit); one that was planned is, also when its job gave no answer.

    Example::

        class Example:
            @hookimpl
            def prouter_proxy_finished(self, finished):
                print(finished.target.ref.job, finished.status, finished.response_bytes)
    """


@hookspec(Kind.NOTIFY)
def prouter_proxy_activity(agent: AgentInfo, record: JobRecord, activity: Activity) -> None:
    """What went through a job's ports until now, whichever router it came through.

    Told when the agent reports other counts than before: every few seconds (`jobs.activity_interval` of the agent)
    while something moves, and what there was until then when an agent connects. Original agents report none.

    Example::

        class Example:
            @hookimpl
            def prouter_proxy_activity(self, agent, record, activity):
                print(record.uid, activity.bytes_in, activity.bytes_out)
    """


@hookspec(Kind.NOTIFY)
def prouter_audit(event: AuditEvent) -> None:
    """A request at the control endpoint has ended: who did what, and who decided so.

    Told of every request with a valid head, refused ones and proxied ones too; of a Websocket or another upgrade when
    it is open, with status 101. Told as well of every agent that dials in, once its handshake was read: action
    "agent.connect", status 101 or what its refusal would be over HTTP. While somebody implements this, each proxied
    request is decided about anew and the decisions about all requests are recorded: about 0.2 ms of CPU time each. Who
    must not miss one keeps up, or looks at prouter_news_missed.

    Example::

        class Example:
            @hookimpl
            def prouter_audit(self, event):
                print(event.principal, event.action, event.resource.job, event.status, event.reason)
    """


# --- a job is made ---


@hookspec(Kind.CHAIN, chained="request")
def prouter_job_spec(request: CreateRequest, principal: Principal) -> CreateRequest | None:
    """Change what was asked for before an agent is chosen.

    Asked when a job is to be made and its request has the form of one. None leaves it as it is.

    Example::

        from dataclasses import replace

        class Example:
            @hookimpl
            def prouter_job_spec(self, request, principal):
                return replace(request, labels={**request.labels, "owner": principal.name})
    """


@hookspec(Kind.VETO)
def prouter_admit_job(request: CreateRequest, principal: Principal) -> Refusal | None:
    """Whether this job may be made at all.

    Asked after every change of the request, before an agent is looked for. Any refusal is 403 with its reason. None: no
    objection.

    Example::

        from prouter.model.access import Refusal

        class Example:
            @hookimpl
            def prouter_admit_job(self, request, principal):
                return None if request.name else Refusal("a job needs a name")
    """


@hookspec(Kind.VETO)
def prouter_filter_agent(candidate: Candidate, request: CreateRequest, principal: Principal) -> Refusal | None:
    """Whether this agent may take the job.

    Asked for each connected agent that takes jobs and has what the job needs, before the selector sees those that are
    left; the reasons are in the refusal when none is. None: it may.

    Example::

        from prouter.model.access import Refusal

        class Example:
            @hookimpl
            def prouter_filter_agent(self, candidate, request, principal):
                team = candidate.properties.get("team")
                return Refusal(f"it belongs to {team}") if team not in (None, principal.name) else None
    """


@hookspec(Kind.GATHER)
def prouter_score_agent(candidate: Candidate, request: CreateRequest, principal: Principal) -> Score | None:
    """How well this agent suits the job.

    Asked for each agent that no filter refused, before the selector chooses. The points of all plugins are added up and
    the selectors that compare agents take those with the most, the least loaded among equals. None: no opinion; one
    that fails has none either, nor has who did not answer for an agent when scoring all of them took 10 seconds.

    Example::

        from prouter.model.plugin import Score

        class Example:
            @hookimpl
            def prouter_score_agent(self, candidate, request, principal):
                return Score(10, "it has the data") if candidate.properties.get("data") == "near" else None
    """


@hookspec(Kind.GATHER)
def prouter_job_priority(request: CreateRequest, principal: Principal) -> int | None:
    """How urgent a job is that may have to wait for an agent: the higher is before the lower in the queue.

    Asked once, when it is admitted and its client would wait (`?queue=SECONDS`), whether there is room or not. What all
    plugins say is added up; each may say up to a million either way. Equal ones are first come, first served. None: no
    opinion; one that fails has none either.

    Example::

        class Example:
            @hookimpl
            def prouter_job_priority(self, request, principal):
                return 100 if principal.findings.get("team") == "engines" else None
    """


@hookspec(Kind.FIRST, deadline_seconds=3660.0)
def prouter_provision_agent(
    request: CreateRequest, principal: Principal, considered: Mapping[AgentUid, str], progress: Callable[[str], None]
) -> AgentUid | Refusal | None:
    """Start an agent for a job that none of those connected can take.

    Asked when the selector found nobody, once for each job; `considered` says why each was not taken. Returns the uid
    of an agent that is connected or will be in a moment: the router waits for it for what is left of
    `selection.provision_timeout` (seconds, for everything; 300), and lets the selector choose again, which is final.
    Beyond that time you are cancelled and the job is refused (503), as when you return a Refusal, with its reason; you
    are cancelled, too, when the client goes away. For a job that waits in the queue you are asked in the background: it
    keeps its place whatever you answer, and whoever is the next gets the agent; after a Refusal, a failure or a time
    that was over you are asked again, after 5 s, later after up to a minute, while it waits. `progress` tells whoever
    watches /events, in a sentence, how far it is. None: I start none for such a job. Not asked in a dry run, nor while
    `selection.max_provisioning` jobs wait.

    Example::

        from prouter.model.access import Refusal

        class Example:
            @hookimpl
            async def prouter_provision_agent(self, request, principal, considered, progress):
                if request.locator.get("type") != "labels":
                    return None
                progress("asking the cluster for a node")
                return Refusal("the cluster is full")
    """


@hookspec(Kind.NOTIFY)
def prouter_job_not_made(request: CreateRequest, principal: Principal, why: str) -> None:
    """A job that was asked for is not there: it was refused, no agent could take it, or making it failed.

    Told of every request that `prouter_admit_job` was asked about and that did not become a job, as the plugins had
    changed it, with what its client was told: give back here what you took when it was admitted. Not told of a dry run.

    Example::

        class Example:
            @hookimpl
            def prouter_job_not_made(self, request, principal, why):
                print(principal.name, "gets no job:", why)
    """


@hookspec(Kind.NOTIFY)
def prouter_queue_changed(jobs: Sequence[QueuedJob], moved: bool) -> None:
    """The queue of jobs that wait for an agent is another one.

    Told of one job that has a place now, is made (`agent`), was given up or removed (`state`), and with `moved` of all
    that have another position than was told before, once a second at most.

    Example::

        class Example:
            @hookimpl
            def prouter_queue_changed(self, jobs, moved):
                for job in jobs:
                    print(job.uid, job.position, job.detail)
    """


@hookspec(Kind.NOTIFY)
def prouter_agent_provisioning(request: CreateRequest, plugin: str, detail: str) -> None:
    """How far it is with an agent that `plugin` starts for a job which found none.

    Told whenever that plugin says so, in its words, and when the agent is waited for, is connected, or was given up.

    Example::

        class Example:
            @hookimpl
            def prouter_agent_provisioning(self, request, plugin, detail):
                print(request.name, plugin, detail)
    """


@hookspec(Kind.NOTIFY)
def prouter_job_state_changed(agent: AgentInfo, record: JobRecord) -> None:
    """A job changed: created, started, serving, finished, removed.

    Told in order for each job, whoever changed it. A router that was away hears of the newest state only.

    Example::

        class Example:
            @hookimpl
            def prouter_job_state_changed(self, agent, record):
                if record.ended:
                    print(record.uid, record.reason, record.exit_code)
    """


# --- around ---


@hookspec(Kind.NOTIFY)
def prouter_failed(about: str, detail: str) -> None:
    """Something went wrong for which nobody waits: a bridge that broke, a plugin's work in the background.

    Told what `router.failed` was told.

    Example::

        class Example:
            @hookimpl
            def prouter_failed(self, about, detail):
                print(about, detail)
    """


@hookspec(Kind.NOTIFY)
def prouter_handle_exception(error: BaseException, about: str) -> None:
    """An exception that nobody expected: a mistake in prouter or in a plugin, with its traceback.

    Told where it was caught and logged (a hook, a route, an RPC method, a background task), for reporters like Sentry.
    Failures of this hook itself are not told.

    Example::

        class Example:
            @hookimpl
            def prouter_handle_exception(self, error, about):
                print(about, type(error).__name__)
    """


@hookspec(Kind.NOTIFY)
def prouter_news_missed(count: int) -> None:
    """You did not keep up with what notify hooks told you: so many were dropped here, before what you are told next.

    Told in the place of what was dropped.

    Example::

        class Example:
            @hookimpl
            def prouter_news_missed(self, count):
                print(count, "were missed")
    """


@hookspec(Kind.GATHER)
def prouter_health() -> HealthCheck | None:
    """A line of /readyz; a check that is not ok makes the router not ready.

    Asked at each request for /readyz, all within the deadline. None: nothing to say.

    Example::

        from prouter.model.plugin import HealthCheck

        class Example:
            @hookimpl
            def prouter_health(self):
                return HealthCheck("licences", ok=True, detail="12 left")
    """


@hookspec(Kind.GATHER)
def prouter_metrics() -> Sequence[Metric] | None:
    """Metrics of the plugin as they are now, shown under its name.

    Asked at each scrape of /metrics. None: nothing to show.

    Example::

        from prouter.model.contributions import Metric, MetricKind

        class Example:
            @hookimpl
            def prouter_metrics(self):
                return [Metric("licences", "Licences that are free.", MetricKind.GAUGE, [({"product": "solver"}, 12)])]
    """


@hookspec(Kind.GATHER)
def prouter_reload(config: Config) -> TakeOver | None:
    """The configuration was read again and fits its schemas: check what you could take over while running.

    Asked at SIGHUP and POST /reload. Read and check everything here, files too, and change nothing: what changes things
    is `TakeOver.apply`, which is called once all plugins have answered and nobody found a mistake. If you raise
    (ConfigError with a line for each mistake), nobody takes over anything. None: nothing of yours can change without a
    restart.

    Example::

        from prouter.model.reload import TakeOver

        class Example:
            limit = 1

            @hookimpl
            def prouter_reload(self, config):
                fresh = 2
                return TakeOver(["quota.max_jobs"], lambda: setattr(self, "limit", fresh))
    """


@hookspec(Kind.NOTIFY, deadline_seconds=10.0)
def prouter_shutdown() -> None:
    """The router ends: nothing listens any more.

    Asked in the reverse order of start-up, of those that were started; their tasks are cancelled afterwards.

    Example::

        class Example:
            @hookimpl
            async def prouter_shutdown(self):
                print("bye")
    """
