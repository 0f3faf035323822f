"""What plugins of the router can ask of it: its jobs, its agents, what it decides and why, and itself.

Protocols, implemented by the core. The bundle in which a plugin gets them is `Router` (services.py), from where plugins
import them, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from prouter.model.access import Principal
from prouter.model.agents import AgentInfo
from prouter.model.contributions import Metric
from prouter.model.http import AgentAnswer, RequestHead
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, StartRequest
from prouter.model.plugin import Call, HealthCheck, Route
from prouter.model.traffic import HookCount, LoopCount


class JobStream(Protocol):
    """A connection to a job's port."""

    async def read(self) -> bytes:
        """What came, at least a byte; empty at the job's clean end. Raises ConnectionError when it was cut."""

    async def write(self, data: bytes) -> None:
        """Waits while the job does not read. Raises ConnectionError."""


class Jobs(Protocol):
    """Jobs on all connected agents. All raise JobNotFound, AgentNotFound, AgentAway, LinkClosed as fits."""

    def find(self, job: JobUid, agent: AgentUid | None = None) -> JobRef:
        """Where a job is, by its uid alone or with its agent's."""

    def get(self, ref: JobRef) -> JobRecord: ...

    def info(self, record: JobRecord, agent: AgentUid) -> dict[str, Any]:
        """The JobInfo of the API."""

    def shown(self, record: JobRecord, agent: AgentInfo) -> dict[str, Any]:
        """The same for an agent that need not be known any more."""

    def list(self) -> Sequence[tuple[AgentUid, JobRecord]]: ...

    async def create(self, request: CreateRequest, principal: Principal) -> tuple[AgentUid, JobRecord]:
        """Raises SchemaMismatch, AgentNotFound, NoAgent, Conflict, Forbidden (a veto)."""

    async def start(
        self, ref: JobRef, request: StartRequest, key: str | None = None, public_prefix: str | None = None
    ) -> JobRecord:
        """Until the process runs and serves. Raises JobInvalidState, StartFailed.

        `public_prefix` begins the job's `{base_path}`; None takes that of the configuration.

        Here and below: the same Idempotency-Key again is done once; with another request it is a Conflict.
        """

    async def restart(self, ref: JobRef, key: str | None = None) -> JobRecord:
        """A finished job runs again as it was started. Raises JobInvalidState, Conflict, StartFailed."""

    async def stop(
        self, ref: JobRef, signal: str, grace_seconds: float | None = None, key: str | None = None
    ) -> JobRecord:
        """A signal by its name ("TERM"), and the end of the tree after the grace (None: the agent's own default)."""

    async def signal(self, ref: JobRef, signal: str, key: str | None = None) -> JobRecord:
        """To the job's main process and its group. Raises JobInvalidState, InvalidRequest."""

    async def wait(self, ref: JobRef, timeout_seconds: float | None = None) -> JobRecord:
        """When the job has ended, or at the timeout as it is then."""

    def open_job(self, ref: JobRef, port: str | None = None) -> AbstractAsyncContextManager[JobStream]:
        """A stream of bytes to a job's port (None: its default port), closed with the context, reset by an error in it.

        Raises PortNotFound, JobInvalidState, UpstreamFailed, Unavailable.
        """

    async def remove(self, ref: JobRef, key: str | None = None) -> JobRecord:
        """Its tree killed, its sandbox deleted; the record as it was before."""


class Agents(Protocol):
    """Connected agents."""

    def list(self) -> Sequence[AgentInfo]:
        """Those that are connected or away."""

    def returning(self) -> int:
        """How many were connected before the router started, and may still come back; 0 after ten seconds."""

    def connections(self) -> Sequence[Mapping[str, Any]]:
        """Links as /connections shows them; no tokens."""

    def get(self, uid: AgentUid) -> AgentInfo:
        """Raises AgentNotFound."""

    async def drain(self, uid: AgentUid, *, on: bool) -> AgentInfo:
        """Tell an agent to take no new jobs, or to take them again; the agent as it is then.

        Raises AgentNotFound, AgentAway, NotPossible (an original), LinkClosed, TimedOut, NoRoom.
        """

    async def disconnect(self, uid: AgentUid, why: str) -> None:
        """End an agent's link and what goes through its pipes; `why` is told to `prouter_agent_disconnected`.

        Its jobs go on there. It comes back as soon as it can, for prouter_authenticate_agent to refuse; one that the
        router dialed is dialed again. Raises AgentNotFound, AgentAway.
        """

    async def dial(self, address: str, token: str | None = None) -> AgentUid:
        """An agent that listens at HOST:PORT; a link to the same address with the same token is used again.

        Without a token the plugins are asked for one (prouter_agent_token).

        Raises AgentNotFound when nothing answers there or the token is refused.
        """

    async def call(self, uid: AgentUid, method: str, *args: Any, timeout_seconds: float | None = None) -> Any:
        """The result of a method that a plugin offers on an agent (prouter_rpc_methods, RpcKind.UNARY).

        Arguments and result are what JSON knows, and bytes; both are up to 4 MiB. None: the agent has as long as for
        the router's own calls (`jobs.call_timeout`). Raises AgentNotFound, AgentAway, NotPossible (an original; the
        agent's own methods), MethodNotFound, LinkClosed, TimedOut, TooLarge, and what the method raised.
        """

    async def http(
        self,
        uid: AgentUid,
        head: RequestHead,
        body: bytes = b"",
        *,
        timeout_seconds: float | None = None,
        max_bytes: int = 1024 * 1024,
    ) -> AgentAnswer:
        """The whole answer of an agent's own service, whatever its status, to a request of the plugin
        (prouter_agent_routes). For what is large, or a client's: a route with `relay`, which streams.

        The head's target is a path there, not quoted again; framing headers are the router's. `max_bytes` bounds the
        answer's body. Raises AgentNotFound, AgentAway, NotPossible (an original), InvalidRequest (what can be no
        request), Unavailable, UpstreamFailed, TimedOut, TooLarge.
        """


class Explanations(Protocol):
    """Which plugin decided what, and why."""

    async def creation(self, request: CreateRequest, principal: Principal) -> Mapping[str, Any]:
        """What a create would come to, as the API shows it. A dry run: nothing is made, nothing is dialed.

        A refusal is part of it. Raises InvalidRequest, SchemaMismatch.
        """

    async def job(self, call: Call) -> Mapping[str, Any]:
        """Why the job of this call is where it is, which driver runs it, and whom a proxied request would meet; of one
        that waits in the queue, where it waits there and what for.

        Raises NotPossible for a job of an original agent.
        """


class RouterDescription(Protocol):
    """Facts about the running router, and the one thing that may be asked of it as a whole."""

    def platform(self) -> Mapping[str, str]: ...

    def plugins(self) -> Sequence[Mapping[str, Any]]:
        """What is loaded, switched off or failed, and why."""

    def routes(self) -> Sequence[Route]:
        """Of the control endpoint, all plugins' together; empty before they are collected."""

    def ready(self) -> bool:
        """Listening and not shutting down."""

    def hook_calls(self) -> Sequence[HookCount]:
        """By plugin and hook, of all that were called since the start; read, never written, by plugins."""

    def loop(self) -> LoopCount:
        """How late the event loop was since the start; read, never written, by plugins."""

    async def state(self, most_bytes: int) -> Mapping[str, Any]:
        """What the router is like inside, for support: no secrets, and no more than so many bytes as JSON."""

    async def health(self) -> Sequence[HealthCheck]:
        """What the plugins say of their own health."""

    async def metrics(self) -> Sequence[tuple[str, Metric]]:
        """What the plugins count, each with its plugin: as they hand it over, nothing is checked."""

    async def reload(self) -> Mapping[str, Any]:
        """Read the configuration again: what is in force now, by plugin, and what failed.

        Raises ConfigError when it is wrong; then nothing changed.
        """

    async def ending(self) -> None:
        """Until the router is told to end: what would stay open for ever closes then."""

    def request_shutdown(self) -> None:
        """A graceful exit with status 0."""
