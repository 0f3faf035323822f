"""What is told of every request at the control endpoint once it has ended, for records that outlive the router."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prouter.model.access import Peer, Resource
from prouter.model.trail import Decision


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what with which outcome, and which plugins said so. No tokens, no bodies, no values of headers."""

    at: float
    """When the request came, in seconds since the epoch."""
    request_id: str
    peer: Peer
    principal: str
    """The name that its authenticator gave; "anonymous" where nobody was found."""
    authenticator: str
    """The plugin that knew it; empty for nobody."""
    method: str
    path: str
    """As it came, without the query; cut behind 2,000 characters."""
    action: str
    """What was asked to be authorized ("job.create", "job.proxy"), or "agent.connect" for an agent that dialed in;
    empty when it did not come so far."""
    resource: Resource
    """What the action is about; of a job that was made on the way, that job."""
    status: int
    """Of the answer; 0 for none: its client had gone, or was cut off."""
    reason: str
    """Why the router refused it, as the client was told; empty when it did not, or when the job or the agent did."""
    decisions: Sequence[Decision]
    """Who was asked what, in order: the same as in an explanation. Of an explanation itself without what was only
    rehearsed in it."""
    creation: Mapping[str, Any] | None = None
    """Where a job was made, or not made in the end: all of that as POST /jobs/explain shows it (agents, scores,
    selector, decisions); of a long one what tells least is left out."""
