"""What is told of every request at the control endpoint once it has ended, for records that outlive the router."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """As it came, without the query."""
    action: str
    """What was asked to be authorized; empty when it did not come so far."""
    resource: Resource
    status: int
    """Of the answer; 0 for none."""
    reason: str
    """Why it was refused, as the client was told; empty when it was not."""
    decisions: Sequence[Decision]
    """Who was asked what, in order: the same as in an explanation."""
