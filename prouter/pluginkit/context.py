"""Ids that go with every line of the log: set where a request, a job's work or a link's work begins."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")
agent_id: ContextVar[str] = ContextVar("agent_id", default="")
