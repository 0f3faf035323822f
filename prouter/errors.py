"""The one exception tree of prouter.

Every failure that a user, a peer or a plugin can cause is a subclass of `ProuterError`. A class carries what the
outside needs to know of the situation: `code` (the last part of the problem type `urn:prouter:CODE`), `status` (HTTP),
`title`, `retryable`, and `wire` (the cause type under which it crosses a control link, see `from_wire`). The text of
an instance (`detail`) is always safe to show: it never holds a token, an environment value or a traceback.

Belongs here: situations with a name. Does not: how they are rendered (web/problem.py), who raises them.
Called by everyone; imports nothing of prouter.

Tree::

    ProuterError
    ├── RequestError                 the caller's fault, 4xx
    │   ├── InvalidRequest           400   SchemaMismatch
    │   ├── Unauthorized 401, Forbidden 403
    │   ├── NotFound                 404   RouteNotFound, AgentNotFound (AgentNotHere), JobNotFound, PortNotFound,
    │   │                                  FileMissing
    │   ├── MethodNotAllowed 405, NotAcceptable 406, TooSlow 408
    │   ├── Conflict                 409   JobInvalidState
    │   ├── PreconditionFailed 412, TooLarge 413, TargetTooLong 414, UnsupportedMediaType 415
    │   ├── RangeNotSatisfiable 416, Misdirected 421
    │   ├── StartFailed              422   ProgramMissing, DirectoryMissing, ProcessExited, PortNotServed
    │   └── TooManyRequests 429, HeadTooLarge 431
    ├── ServiceError                 not the caller's fault, 5xx
    │   ├── Internal                 500   PluginFailure
    │   ├── NotPossible 501, UpstreamFailed 502, Unavailable 503 (AgentAway, NoAgent, JobQueued)
    │   ├── TimedOut 504, NoRoom 507
    ├── LinkError                    a control link or pipe
    │   ├── LinkClosed               ended while something was under way (503)
    │   ├── Incompatible             the peer is of a version that does not fit
    │   ├── MethodNotFound           the peer has no such method (501)
    │   ├── RemoteError              the peer's method failed in a way that has no class here   PeerBusy 503
    │   │   └── OriginalError        what an original agent would say
    │   ├── LocalProtocolError       a bug on our side of a wire
    │   └── RemoteProtocolError      the peer broke the protocol: close the link
    ├── ConfigError                  the process can not start as configured (exit status 2)
    └── StartupError                 the process can not start here and now (exit status 1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class ProuterError(Exception):
    """The root. `detail` is one or two sentences: what was wrong and what to do; safe to show to anybody.

    `headers` go into an HTTP answer (Allow, Retry-After); `extra` holds further members of the problem document.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    wire: ClassVar[str] = ""

    def __init__(
        self,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.detail = detail or self.title
        self.headers: Mapping[str, str] = headers or {}
        self.extra: Mapping[str, Any] = extra or {}
        super().__init__(self.detail)

    @classmethod
    def wire_name(cls) -> str:
        """The cause type that stands for this class in a pRpc error; the class's name where `wire` is not set."""
        return cls.__dict__.get("wire") or cls.__name__


class RequestError(ProuterError):
    """The caller asked for something that can not be had as asked."""

    code = "request"
    status = 400
    title = "Invalid request"


class InvalidRequest(RequestError):
    """A body, query, header or path that does not say what it should. The title is what original clients look for."""

    code = "invalid-request"


class SchemaMismatch(InvalidRequest):
    """A JSON body against its schema; `mistakes` are (JSON pointer, message) pairs."""

    code = "schema"

    def __init__(self, mistakes: Sequence[tuple[str, str]]) -> None:
        self.mistakes = tuple(mistakes)
        listed = "; ".join(f"{pointer or '/'}: {message}" for pointer, message in self.mistakes)
        errors = [{"pointer": pointer, "message": message} for pointer, message in self.mistakes]
        super().__init__(f"Invalid request: {listed}", extra={"errors": errors})


class Unauthorized(RequestError):
    code = "unauthorized"
    status = 401
    title = "No valid credentials"

    def __init__(self, detail: str = "", **more: Any) -> None:
        more.setdefault("headers", {"WWW-Authenticate": 'Bearer realm="prouter"'})
        super().__init__(detail, **more)


class Forbidden(RequestError):
    code = "forbidden"
    status = 403
    title = "Not allowed"


class NotFound(RequestError):
    code = "not-found"
    status = 404
    title = "Not found"


class RouteNotFound(NotFound):
    """No route (or no plugin that serves it) at this path."""

    code = "route-not-found"


class AgentNotFound(NotFound):
    """An agent that was never seen, is gone for good, or (on create) is not connected."""

    code = "agent-not-found"
    title = "Agent connection not found"

    def __init__(self, agent: str, detail: str = "", **more: Any) -> None:
        self.agent = agent
        super().__init__(detail or f"agent connection {agent!r} is not found", **more)


class AgentNotHere(AgentNotFound):
    """On create: an agent that is away and may still return. The same create with the same uid may be asked again."""

    retryable = True

    def __init__(self, agent: str, detail: str = "", **more: Any) -> None:
        more.setdefault("headers", {"Retry-After": "1"})
        super().__init__(agent, detail or f"agent connection {agent!r} is not found: it is away for the moment", **more)


class JobNotFound(NotFound):
    code = "job-not-found"
    title = "Job not found"
    wire = "JobNotFoundError"

    def __init__(self, job: str, detail: str = "", **more: Any) -> None:
        self.job = job
        super().__init__(detail or f"job {job!r} is not found", **more)


class PortNotFound(NotFound):
    code = "port-not-found"
    title = "The job has no such port"


class FileMissing(NotFound):
    code = "file-not-found"
    title = "File not found"
    wire = "FileNotFoundError"


class MethodNotAllowed(RequestError):
    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"{method} is not allowed here; allowed: {', '.join(allowed)}",
            headers={"Allow": ", ".join(allowed)},
        )


class NotAcceptable(RequestError):
    code = "not-acceptable"
    status = 406
    title = "Not acceptable"


class TooSlow(RequestError):
    """A request's head or body did not come in time, or as fast as it must (RFC 9110 15.5.9)."""

    code = "too-slow"
    status = 408
    title = "Request timeout"


class Conflict(RequestError):
    code = "conflict"
    status = 409
    title = "Conflict"


class JobInvalidState(Conflict):
    code = "job-state"
    title = "The job is in another state"
    wire = "JobInvalidStateError"


class PreconditionFailed(RequestError):
    code = "precondition-failed"
    status = 412
    title = "Precondition failed"


class TooLarge(RequestError):
    code = "too-large"
    status = 413
    title = "Too large"


class TargetTooLong(RequestError):
    code = "target-too-long"
    status = 414
    title = "Request target too long"


class UnsupportedMediaType(RequestError):
    code = "media-type"
    status = 415
    title = "Unsupported media type"


class RangeNotSatisfiable(RequestError):
    code = "range"
    status = 416
    title = "Range not satisfiable"


class Misdirected(RequestError):
    code = "misdirected"
    status = 421
    title = "Not a host of this router"


class StartFailed(RequestError):
    """The job's process could not be started, or did not come to serve. The detail carries the last lines of output."""

    code = "start-failed"
    status = 422
    title = "The job could not be started"


class ProgramMissing(StartFailed):
    code = "program-missing"
    wire = "FileNotFoundError"


class DirectoryMissing(StartFailed):
    """The working directory that a start names is not in the sandbox."""

    wire = "StartFailed"


class ProcessExited(StartFailed):
    code = "process-exited"
    wire = "ProcessExitedError"


class PortNotServed(StartFailed):
    code = "port-not-served"
    wire = "TimeoutError"


class TooManyRequests(RequestError):
    code = "too-many"
    status = 429
    title = "Too many requests"
    retryable = True


class HeadTooLarge(RequestError):
    code = "head-too-large"
    status = 431
    title = "Request header fields too large"


class ServiceError(ProuterError):
    """Not the caller's fault."""

    status = 500


class Internal(ServiceError):
    """A bug of ours, or a failure that nobody named. Outsiders get a code and a request id, the log gets the rest."""


class PluginFailure(Internal):
    """An implementation of a hook failed, took too long, or answered nonsense; `seconds` is how long it took."""

    code = "plugin-failure"
    title = "A plugin failed"

    def __init__(self, plugin: str, hook: str, why: str, seconds: float | None = None, **more: Any) -> None:
        self.plugin, self.hook, self.why, self.seconds = plugin, hook, why, seconds
        after = f" after {seconds:.3f} s" if seconds is not None else ""
        super().__init__(f"plugin {plugin!r} failed in {hook}{after}: {why}", **more)


class NotPossible(ServiceError):
    """This agent can not do it: a plugin is missing or switched off, or its protocol has no word for it."""

    code = "not-possible"
    status = 501
    title = "Not possible here"


class UpstreamFailed(ServiceError):
    """The job's own server refused, broke off or answered nonsense."""

    code = "upstream"
    status = 502
    title = "The job's server failed"


class Unavailable(ServiceError):
    """For the moment; always comes with Retry-After (seconds)."""

    code = "unavailable"
    status = 503
    title = "Unavailable for the moment"
    retryable = True

    def __init__(self, detail: str = "", *, retry_after: int = 1, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, extra=extra)


class AgentAway(Unavailable):
    """An agent that was seen not long ago and is not connected now."""

    code = "agent-away"
    title = "The agent is away"


class NoAgent(Unavailable):
    """No agent can take the job; the detail says which were considered and why each was not taken."""

    code = "no-agent"
    title = "No agent can take the job"


class JobQueued(Unavailable):
    """A job that waits for an agent with room: it can be looked at, waited for and removed, nothing else yet."""

    code = "job-queued"
    title = "The job waits for an agent"


class TimedOut(ServiceError):
    code = "timeout"
    status = 504
    title = "Timed out"
    retryable = True


class NoRoom(ServiceError):
    code = "no-room"
    status = 507
    title = "No room"


class LinkError(ProuterError):
    """A control link or a pipe."""

    code = "link"
    status = 502
    title = "The link to the agent failed"


class LinkClosed(LinkError):
    """The link ended while a call was under way, or before it began."""

    code = "link-closed"
    status = 503
    title = "The link to the agent ended"
    retryable = True


class Incompatible(LinkError):
    """The peer is one of ours, of a version that does not fit."""

    code = "incompatible"


class MethodNotFound(LinkError):
    """The peer has no such RPC method (pRpc status 20)."""

    code = "method-not-found"
    status = 501
    title = "The agent can not do this"


class RemoteError(LinkError):
    """The peer's method failed in a way that has no class here; `cause` is the type it named (pRpc status 10, 30)."""

    code = "remote"

    def __init__(self, detail: str, *, cause: str = "", **more: Any) -> None:
        self.cause = cause
        super().__init__(detail, **more)


class PeerBusy(RemoteError):
    """The peer could not take a call, or not as fast as it was sent (pRpc status 30): nobody knows how much it did."""

    code = "peer-busy"
    status = 503
    title = "The agent could not keep up"
    retryable = True


class OriginalError(RemoteError):
    """What a method tells an original router: the type that the original would have raised, and its words.

    `ours` is what we would say to one of ours; it goes where the original has a traceback.
    """

    def __init__(self, cause: str, detail: str, ours: str = "") -> None:
        self.ours = ours or detail
        super().__init__(detail, cause=cause)


class LocalProtocolError(LinkError):
    """We were about to break the protocol: a bug here."""

    code = "local-protocol"
    status = 500


class RemoteProtocolError(LinkError):
    """The peer broke the protocol: the link is closed."""

    code = "remote-protocol"


class ConfigError(ProuterError):
    """The configuration is wrong. `mistakes` are lines: key, what is wrong, what is allowed; a text is one. Exit
    status 2."""

    code = "config"

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = (mistakes,) if isinstance(mistakes, str) else tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class StartupError(ProuterError):
    """The process can not start here and now: a port in use, a locked directory. Exit status 1."""

    code = "startup"


NOT_OF_A_PEER = (ProuterError, RequestError, ServiceError, LinkError, Unauthorized)
"""No peer's method can make these: a client's credentials are the router's matter."""


def _descendants(cls: type[ProuterError]) -> list[type[ProuterError]]:
    return [cls] + [below for child in cls.__subclasses__() for below in _descendants(child)]


def from_wire(cause: str, detail: str) -> ProuterError:
    """The error that a peer named by its cause type, with the peer's text; `RemoteError` when the name is not ours.

    Instances are made without running `__init__` of the subclass, whose arguments the wire does not carry.
    """
    for cls in _descendants(ProuterError):
        if cls.wire_name() == cause and cls not in NOT_OF_A_PEER:
            error = cls.__new__(cls)
            later = {"Retry-After": "1"} if issubclass(cls, Unavailable | TooManyRequests) else {}
            ProuterError.__init__(error, detail, headers=later)
            return error
    return RemoteError(detail, cause=cause)
