"""What plugins hand over: frozen registration values, no side effects.

Belongs here: the values that hooks return and handlers get. Does not: the hooks (hookspecs.py, agent_hookspecs.py),
the services that plugins call (services.py). The door for plugins: what those of the agent alone hand over, drivers and
methods, can be imported here; it is at home in drivers.py and methods.py, from where prouter's own modules import it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, cast

from prouter.errors import InvalidRequest
from prouter.model.access import ANONYMOUS, Peer, Principal
from prouter.model.drivers import Driver, LaunchRequest, Running
from prouter.model.http import ForwardPlan, Reply, RequestHead
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import JobRef, Port
from prouter.model.methods import RpcHandler, RpcKind, RpcMethod, RpcStream
from prouter.model.queue import QueuedJob

if TYPE_CHECKING:
    from aiohttp import web

__all__ = [
    "MAX_KEY_CHARACTERS",
    "MAX_POINTS",
    "AgentService",
    "Call",
    "Candidate",
    "ConfigSection",
    "Driver",
    "Handler",
    "HealthCheck",
    "JobPort",
    "JobTarget",
    "Kind",
    "LaunchRequest",
    "Relay",
    "RelayChoice",
    "Resolved",
    "Route",
    "RpcHandler",
    "RpcKind",
    "RpcMethod",
    "RpcStream",
    "Running",
    "Score",
    "Selector",
    "idempotency_key",
    "relay_to_agent",
]

MAX_KEY_CHARACTERS = 255
"""Of an Idempotency-Key; what Stripe takes."""


class Kind(StrEnum):
    """How the implementations of a hook are called; see docs for what happens when one fails."""

    COLLECT = "collect"
    FIRST = "first"
    CHAIN = "chain"
    VETO = "veto"
    GATHER = "gather"
    SETUP = "setup"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class ConfigSection:
    """A part of the configuration, described by JSON schema (2020-12).

    `name` is the dotted place of the section ("server", "jobs.environment"). `properties` are property schemas, each
    with `description` (with its unit) and `default`; several plugins may add different properties to one section.
    A property that holds a secret has `"writeOnly": true`, so that its value is never shown. `reloadable` says that
    the owner reads the section again when the configuration is reloaded.
    """

    name: str
    properties: Mapping[str, Mapping[str, Any]]
    reloadable: bool = False


@dataclass(frozen=True, slots=True)
class JobPort:
    """Relay to a port of a job."""

    ref: JobRef
    port: str
    """The port's name."""


@dataclass(frozen=True, slots=True)
class AgentService:
    """Relay to the agent's own HTTP service (files, archives, output)."""

    agent: AgentUid


@dataclass(frozen=True, slots=True)
class Relay:
    """A route's result: this request, as `plan` says, to that target; the answer comes back the same way."""

    target: JobPort | AgentService
    plan: ForwardPlan
    follows: bool = False
    """The answer waits for what is still to happen: it may be silent for as long as it likes, and is cut at once when
    the router ends."""
    resume: Callable[[int], ForwardPlan] | None = None
    """How the answer goes on from a place when it was cut on its way; only for an AgentService, whose half answers in
    frames (model/frames.py). None: it is cut for the client, too."""


@dataclass(frozen=True, slots=True)
class JobTarget:
    """What a proxied path stands for, once the job was found: what the policy plans with."""

    ref: JobRef
    port: Port
    prefix: str
    """The raw path prefix as the client sent it, without a slash at its end: `/jobs/A/J/http`. Empty for a host of
    the job's own."""
    rest: str
    """The raw remainder of the target, with query; begins with `/`, or is empty for the prefix alone."""
    peer: Peer
    principal: Principal
    request_id: str
    public_origin: str
    """Scheme, host and port under which the client reaches the router: "http://localhost:8080"."""
    public_prefix: str = ""
    """The path in front of the router's own under which the client reaches it: "/lab"."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A proxied path or host, taken apart: which job, which of its ports, and what is left of the target."""

    agent: AgentUid | None
    """None: the short form, the router finds the agent that has the job."""
    job: JobUid
    port: str | None
    """The port's name; None for the default port (`http`, else the first)."""
    prefix: str
    rest: str
    by_host: bool = False
    """True: the request's Host named the job, so that a host which is not the router's own is right."""
    lasting: bool = False
    """Every target that begins with `prefix` and a slash means the same, with another `rest`."""
    reads: frozenset[str] | None = None
    """Lower-case names of the headers by which it was decided, beside the verb and the target; None: it may be any."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a route's handler gets it."""

    head: RequestHead
    params: Mapping[str, str]
    """The path's parameters, percent-decoded (surrogateescape for bytes that are not UTF-8)."""
    raw: Mapping[str, str]
    """The same, as they came."""
    query: Mapping[str, str]
    """Decoded; the last value of a name that occurs more than once."""
    peer: Peer
    request_id: str
    public_prefix: str = ""
    """The path in front of the router's own under which the client reaches it: "/lab"."""
    principal: Principal = ANONYMOUS
    job: JobRef | None = None
    """For paths with {job}: found, and its agent connected."""
    queued: QueuedJob | None = None
    """Instead of it, for routes with `queued_ok`: a job that waits for an agent, or did in vain."""
    body: Any = None
    """The JSON body, validated, for routes with a schema."""
    request: web.BaseRequest | None = None
    """aiohttp's request, for handlers that stream; None for relay routes."""

    def job_ref(self) -> JobRef:
        """The job of a `{job}` route. Raises InvalidRequest on a route without one."""
        if self.job is None:
            raise InvalidRequest("Invalid request: this path names no job")
        return self.job


def idempotency_key(head: RequestHead) -> str | None:
    """The request's Idempotency-Key, by which a repeated request is done once. Raises InvalidRequest for a bad one."""
    found = head.all("idempotency-key")
    if not found:
        return None
    key = found[0].strip()
    if len(found) > 1 or not 0 < len(key) <= MAX_KEY_CHARACTERS or not (key.isascii() and key.isprintable()):
        raise InvalidRequest(
            f"Invalid request: Idempotency-Key is one text of up to {MAX_KEY_CHARACTERS} printable ASCII characters"
        )
    return key


def relay_to_agent(call: Call, action: str, *, follows: bool = False) -> Relay:
    """A job's request to its agent's own service, as it came; `action` is the raw path below the job.

    Credentials that were meant for the router stay here. `follows` as in Relay.
    """
    ref, query = call.job_ref(), f"?{call.head.query}" if call.head.query else ""
    plan = ForwardPlan(
        target=f"/jobs/{ref.job}/{action}{query}",
        host="agent",
        drop=frozenset(("host", "origin", "x-request-id")) | call.principal.used_headers,
        drop_cookies=call.principal.used_cookies,
        set_headers=(("X-Request-Id", call.request_id),),
    )
    return Relay(AgentService(ref.agent), plan, follows=follows)


Handler = Callable[[Call], Awaitable["Reply | web.StreamResponse"]]
RelayChoice = Callable[[Call], Awaitable[Relay | Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One verb and path of an HTTP endpoint. There is no route without an `action`, so none without a decision.

    `path` begins with `/`; segments are literals or `{name}`; a last `{name...}` takes the rest, slashes and all.
    On the router a path beginning with `/jobs/{job}` is served in both forms, `/jobs/AGENT/JOB/...` and
    `/jobs/JOB/...`. Exactly one of `handler` and `relay` is given. With `schema` the body must be JSON that fits it;
    with `schema_optional` an empty body is taken as `{}`.
    """

    methods: Sequence[str]
    """Upper case; `HEAD` must be named where it is served."""
    path: str
    action: str
    """What authorization decides on: "job.create", "files.read". A verb that only reads ends in `.read`."""
    summary: str
    handler: Handler | None = None
    relay: RelayChoice | None = None
    schema: Mapping[str, Any] | None = None
    schema_optional: bool = False
    gone_ok: bool = False
    """Answers, too, for a job that a request with the same Idempotency-Key removed."""
    binary_body: bool = False
    """The body is bytes, not JSON; a browser must send it as application/octet-stream."""
    changes: bool | None = None
    """Whether it changes state; None: every verb but GET and HEAD does."""
    public: bool = False
    """Served without credentials (health checks only)."""
    recorded: bool = False
    """What plugins decide about a request is recorded from its beginning (trail.py); the path must end in a literal."""
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Schemas of the query's parameters, each with a `description`; an array may come as often as it has items.
    What does not fit is 400 before the route is asked; what is not named is ignored."""
    answer: Mapping[str, Any] | None = None
    """JSON schema of the answer of a success."""
    answers: Mapping[int, str] = field(default_factory=dict)
    """Statuses below 400 other than 200, each with what it means."""
    media_type: str = "application/json"
    """Of the answer of a success; empty for one without a body."""
    away_ok: bool = False
    """For {job} paths: also called while the job's agent is away (then from what the router remembers)."""
    queued_ok: bool = False
    """For {job} paths: also called for a job that waits for an agent or did in vain (`Call.queued`); others are 503."""
    follows: bool = False
    """The answer goes on until the router ends (`describe.ending()`): a client that does not read is cut then."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent as a selector sees it."""

    uid: AgentUid
    name: str
    properties: Mapping[str, str]
    jobs: int
    """Jobs PENDING or RUNNING there."""
    waiting: int = 0
    """Jobs NEW there: made, not started yet."""
    capacity: Mapping[str, int] = field(default_factory=dict)
    """How much of each counted resource the agent has in all; `jobs` is one, and not limited where it is not named."""
    used: Mapping[str, int] = field(default_factory=dict)
    """What its jobs hold of these."""
    score: float = 0.0
    """The points of all `prouter_score_agent` together; the higher the better."""


MAX_POINTS = 1_000_000
"""Of one score, either way."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well an agent suits a job, in the eyes of one plugin.

    Raises ValueError for points that can not be added up, TypeError for what is no number and no text.
    """

    points: float
    """Added up over all plugins; 0 is neutral. Between minus MAX_POINTS and MAX_POINTS."""
    reason: str = ""
    """For whoever asks for an explanation."""

    def __post_init__(self) -> None:
        points, reason = cast("tuple[object, object]", (self.points, self.reason))  # plugins need not be typed
        if not isinstance(points, int | float) or not isinstance(reason, str):
            raise TypeError("a score is points and a reason: a number and a text")
        if not -MAX_POINTS <= self.points <= MAX_POINTS:  # NaN neither
            raise ValueError(f"{self.points!r} points: there are at most {MAX_POINTS} either way")


class Selector(Protocol):
    """Chooses the agent for a new job by a locator's `type`."""

    @property
    def name(self) -> str:
        """The locator's `type`."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of the whole locator object, `type` included."""

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> AgentUid:
        """One of the candidates, or an agent that the plugin had connected by a service.

        Raises AgentNotFound when the agent that is meant is not connected, NoAgent when none can take the job.
        """


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One line of /readyz."""

    name: str
    ok: bool
    detail: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
