"""The services that plugins get, as Protocols: the smallest set. The core and the agent implement them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prouter.model.access import Principal, Refusal
from prouter.model.activity import Activity
from prouter.model.agents import AgentInfo, Identity
from prouter.model.contributions import Metric
from prouter.model.http import AgentAnswer, RequestHead
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, StartRequest
from prouter.model.output import OutputPiece, OutputStream
from prouter.model.plugin import Call, HealthCheck, LaunchRequest, Route, Running
from prouter.model.process import Exit
from prouter.model.proxying import Bridge
from prouter.model.queue import Queue
from prouter.model.reached import JobPorts
from prouter.model.repeats import Repeats
from prouter.model.traffic import HookCount, LoopCount, Traffic


class Tasks(Protocol):
    """Background work owned by the plugin's life: cancelled and awaited when it shuts down; failures are logged."""

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None: ...


class Config(Protocol):
    """The validated configuration, defaults filled in."""

    def section(self, name: str) -> Mapping[str, Any]:
        """The values of a dotted section. Raises KeyError for one that nobody declared."""


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


async def _everybody_may(bridge: Bridge, principal: Principal) -> None:
    """Where nobody is asked."""


@dataclass(frozen=True, slots=True)
class Router:
    """What a plugin of the router gets at its start-up."""

    identity: Identity
    version: str
    config: Config
    jobs: Jobs
    agents: Agents
    tasks: Tasks
    state_directory: Path
    """The plugin's own, made when first asked for by `mkdir`."""
    describe: RouterDescription
    explanations: Explanations
    repeats: Repeats
    queue: Queue
    """Jobs that wait for an agent with room."""
    failed: Callable[[str, str], None] = lambda subject, detail: None
    """Tell that something went wrong for which nobody waits: (subject, detail) become an event and a log line."""
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    """Requests and connections by endpoint, "control" and "server"; read, never written, by plugins."""
    endpoints: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Where "control" and "server" listen, host and port, whatever the configuration left open; empty before that."""
    may_bridge: Callable[[Bridge, Principal], Awaitable[None]] = _everybody_may
    """Before a job's websocket is joined to one of the caller's: asks all of `prouter_bridge_open`. Raises Forbidden
    with the reason of the plugin that refused."""


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


class Guarded(Protocol):
    """Process trees held by guardians: they end with the agent, whatever happens to it, unless jobs survive it."""

    async def launch(self, request: LaunchRequest) -> Running: ...

    async def recover(self, job: JobUid, job_directory: str) -> Running | Exit | None:
        """After a restart of the agent: the tree when its guardian has waited (`jobs.survive_agent`); else how it ended
        if that is known, and nothing of it is left on return."""

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        """Of a job that is deleted: whatever is left of its tree is gone on return. May be called again."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Something in a directory of a sandbox, itself and not what a symlink points to."""

    name: str
    """Surrogate escapes stand for bytes that are not UTF-8."""
    type: str
    """"file", "directory", "symlink", "other"."""
    size: int
    mode: int
    """The permission bits."""
    modified_at: float


FoundEntry = tuple[str, FileEntry]
"""A path below the directory that was walked, and what is there."""
Condition = Callable[[str | None], None]
"""Asked before a change with the ETag of what is there, None for nothing. Raises what the change is refused with."""


class OpenedFile(Protocol):
    """A regular file of a sandbox, open for reading; closed by the context that opened it."""

    @property
    def fd(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str:
        """Strong, with its quotes."""

    @property
    def modified_at(self) -> float: ...


class Upload(Protocol):
    """A file being written; it appears under its name at `commit`, whole, or not at all."""

    async def write(self, chunk: bytes) -> None:
        """Raises NoRoom."""

    async def commit(self) -> tuple[int, str]:
        """(bytes, SHA-256 in hex), once the file is on disk under its name."""


class Unpacking(Protocol):
    """Files and directories on their way into a sandbox: all of them at `place`, or none. Raises as Upload does.

    Paths are relative to the sandbox; parents are made. Raises InvalidRequest for a path that is none, or comes twice.
    """

    async def directory(self, path: str, mode: int) -> None:
        """Of the mode the permission bits count, and its owner can always use it; one that is there keeps its own."""

    async def file(self, path: str, mode: int, size: int | None = None) -> None:
        """Begins a file, ends the one before. Of the mode the permission bits count; its owner can read and write.

        `size` in bytes where the archive says it before. Raises Forbidden where plugins refuse the file.
        """

    async def write(self, data: bytes) -> None:
        """To the file that was begun last. Raises NoRoom."""

    async def place(self) -> None:
        """Raises Conflict when a file stands where a directory is needed, or the other way; nothing changed then."""


@dataclass(frozen=True, slots=True)
class PartsBounds:
    """Of the uploads in parts of one job that were begun and are not finished."""

    count: int
    age_seconds: float
    """Since the last part came; older ones are forgotten."""


class PartedUpload(Protocol):
    """The bytes of a file that came so far; what was written stays, whatever happens then."""

    @property
    def offset(self) -> int:
        """How many there are."""

    async def write(self, chunk: bytes) -> None:
        """At the end. Raises TooManyRequests for one unfinished upload too many, NoRoom."""

    async def keep(self) -> None:
        """On return all that was written is on disk."""

    def content(self) -> AsyncIterator[bytes]: ...

    async def done(self) -> None:
        """Forget the bytes."""


class SandboxFiles(Protocol):
    """Files beneath one sandbox; nothing outside can be reached, nothing runs on the event loop.

    What is written (not what is removed) is a client's: plugins are asked (prouter_before_file_write), and what one of
    them refuses raises Forbidden and leaves nothing.
    """

    def reading(self, path: str) -> AbstractAsyncContextManager[OpenedFile]:
        """Raises FileMissing, InvalidRequest (not a regular file, a path that leaves the sandbox)."""

    def writing(
        self,
        path: str,
        *,
        executable: bool = False,
        expected_size: int | None = None,
        condition: Condition | None = None,
    ) -> AbstractAsyncContextManager[Upload]:
        """Left without a commit, nothing remains. Raises InvalidRequest, Conflict (a directory), NoRoom.

        The condition is asked at the beginning and again when the file takes its place.
        """

    async def remove(self, path: str, *, directories: bool = False, condition: Condition | None = None) -> None:
        """A file, or a symlink itself; with `directories` an empty directory too.

        Raises FileMissing, InvalidRequest (a directory), Conflict (one that is not empty).
        """

    def unpacking(self) -> AbstractAsyncContextManager[Unpacking]:
        """Left without `place`, nothing remains."""

    def in_parts(self, path: str, total: int, bounds: PartsBounds) -> AbstractAsyncContextManager[PartedUpload]:
        """An upload of so many bytes to `path` that was begun, or a new one; kept outside the sandbox.

        Raises InvalidRequest, Conflict with `offset` while another request is at it.
        """

    async def list(self, path: str, choose: Callable[[Iterable[str]], Sequence[str]]) -> Sequence[FileEntry]:
        """What is in a directory ("": the sandbox itself): those of its names that `choose`, in a thread, picks.

        Raises FileMissing, Conflict (no directory), TooLarge, and what `choose` raises.
        """

    def walk(self, path: str, skip: Callable[[str], bool], most: int) -> AsyncIterator[Sequence[FoundEntry]]:
        """All regular files and directories below a directory, some at a time: each directory before what is in it,
        sorted within. Directories that `skip` names by their path below `path` are told of and not entered.

        Raises FileMissing, Conflict (no directory), TooLarge: more than `most` names on the way, or directories
        deeper than paths can say.
        """

    async def make_directory(self, path: str) -> FileEntry:
        """With those above it. Raises Conflict when something is there already."""

    async def move(self, path: str, to: str) -> FileEntry:
        """In one step, the directories above `to` made; a file may take the place of a file.

        Raises FileMissing, Conflict (a directory is in the way, or is to take a file's place), InvalidRequest.
        """


class JobOutput(Protocol):
    """What a job wrote to its standard streams; without a stream: both, in the order in which they were read."""

    async def end(self, stream: OutputStream | None) -> int:
        """The offset behind the newest byte."""

    async def tail(self, stream: OutputStream | None, lines: int) -> int:
        """The offset where the last lines begin."""

    @property
    def run(self) -> int:
        """The number of the job's run that is the current one, or the one to come; from 1 on."""

    def read(
        self, stream: OutputStream | None, offset: int, *, follow: bool, run: int | None = None
    ) -> AsyncIterator[Sequence[OutputPiece]]:
        """Pieces from `offset` on, as many as one look finds, gaps where bytes were dropped. Nothing is read ahead.

        With `follow` it ends when the job has ended and all was read, or with that `run` (the current one without);
        a job that was not started yet is waited for, and after some seconds of silence there is an empty sequence, so
        that the reader can show that it is alive.

        Raises Conflict for an earlier run of which is not known where it ended, JobNotFound when the job is removed
        meanwhile.
        """


class AgentJobs(Protocol):
    """The jobs of this agent."""

    def get(self, job: JobUid) -> JobRecord:
        """Raises JobNotFound."""

    def files(self, job: JobUid) -> AbstractAsyncContextManager[SandboxFiles]:
        """The job's sandbox, held open for the length of one request. Raises JobNotFound."""

    def output(self, job: JobUid) -> JobOutput:
        """Raises JobNotFound."""

    def changes(self) -> AsyncIterator[JobRecord]: ...

    def list(self) -> Sequence[JobRecord]: ...

    def activity(self, job: JobUid) -> Activity:
        """What went through its ports until now. Raises JobNotFound."""

    async def cpu_seconds(self, job: JobUid) -> float | None:
        """CPU time of its tree; None without one, and where it can not be told. Raises JobNotFound."""

    async def may_end_idle(self, job: JobUid, idle_seconds: float) -> Refusal | None:
        """Asked before a job is ended for doing nothing: why it is to be kept, in the words of the plugin that objects
        (prouter_job_idle). Raises JobNotFound, and PluginFailure: then it is to be kept, too.
        """

    async def stop(self, job: JobUid) -> JobRecord:
        """SIGTERM, and the end of its tree after the agent's own grace.

        Raises JobNotFound, JobInvalidState, TimedOut.
        """


async def _tells_nothing(most_bytes: int) -> Mapping[str, Any]:
    """Where there is no daemon around a plugin."""
    return {}


async def _removes_nothing(finished_seconds: float | None, disk_bytes: int | None) -> Mapping[str, Any]:
    """Where there is no daemon around a plugin."""
    return {}


@dataclass(frozen=True, slots=True)
class AgentHost:
    """What a plugin of the agent gets at its start-up."""

    identity: Identity
    version: str
    config: Config
    guarded: Guarded
    jobs: AgentJobs
    ports: JobPorts
    repeats: Repeats
    tasks: Tasks
    state_directory: Path
    state: Callable[[int], Awaitable[Mapping[str, Any]]] = _tells_nothing
    """What the agent is like inside, for support: no secrets, and no more than so many bytes as JSON."""
    would_remove: Callable[[float | None, int | None], Awaitable[Mapping[str, Any]]] = _removes_nothing
    """Which finished jobs the agent would remove by itself now, under its `jobs.finished_ttl` (seconds) and
    `jobs.disk_quota` (bytes), or others where they are given; as JSON. Nothing is removed."""
