"""Ids that go with every line of the log: set where a request, a job's work or a link's work begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")
agent_id: ContextVar[str] = ContextVar("agent_id", default="")


@contextmanager
def about(*, request: str | None = None, job: str | None = None, agent: str | None = None) -> Iterator[None]:
    """What is logged within is about these; None leaves what is so already."""
    ids = ((request_id, request), (job_id, job), (agent_id, agent))
    tokens = [(variable, variable.set(value)) for variable, value in ids if value is not None]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


def ids() -> tuple[str, str]:
    """The job and the agent that this is about, for `stay_about` elsewhere."""
    return job_id.get(), agent_id.get()


def begin_about(request: str) -> None:
    """For all of a context that was copied from where something else was done."""
    request_id.set(request)
    job_id.set("")
    agent_id.set("")


def stay_about(job: str, agent: str) -> None:
    """For the rest of the task that answers a request."""
    job_id.set(job)
    agent_id.set(agent)
