"""What is told and asked of proxied requests and of bridges, beside the heads themselves (http.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prouter.model.jobs import JobRef
from prouter.model.plugin import JobTarget


@dataclass(frozen=True, slots=True)
class ProxyFinished:
    """A proxied request from its head to its end; of a Websocket or another upgrade the whole connection."""

    target: JobTarget
    method: str
    status: int
    """Of the job's answer, or of ours where the job gave none; 0 when the client had gone before."""
    request_bytes: int
    """Of the body, as the client sent it, framing of chunks included; after an upgrade all bytes that way."""
    response_bytes: int
    """The same the other way."""
    began_at: float
    """Seconds since the epoch."""
    wait_seconds: float | None
    """From the request's head until that of the job's answer; None when there was none."""
    seconds: float
    """Until the end."""
    cut: str = ""
    """Why it ended before it was whole, or why the job gave no answer; empty for a clean end."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A websocket of a job that is to be joined to one of the caller's."""

    ref: JobRef
    target: str
    """Raw path and query at the job."""
    url: str
    """Of the caller's websocket: ws or wss, the host in lower case, without user and password."""
    subprotocols: Sequence[str] = ()
