"""A client of the router's HTTP API, for programs: `from prouter.client import Client`. Knows HTTP only."""

from __future__ import annotations

from prouter.client.client import Client, Job, RequestFailed

__all__ = ["Client", "Job", "RequestFailed"]
