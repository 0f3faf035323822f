"""Every hook of the agent, in the order in which a start and a job meet them. Same form as hookspecs.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prouter.hookspecs import hookspec
from prouter.model.jobs import JobRecord, StartRequest
from prouter.model.plugin import ConfigSection, Driver, Kind, Route, RpcMethod
from prouter.model.services import AgentHost


@hookspec(Kind.COLLECT)
def prouter_config_sections() -> Sequence[ConfigSection]:
    """The plugin's parts of the agent's configuration. Asked before it is read, and for `--help`."""
    raise NotImplementedError


@hookspec(Kind.SETUP, deadline_seconds=30.0)
def prouter_startup(agent: AgentHost) -> None:
    """The agent starts: its configuration is valid, nothing listens or dials yet."""


@hookspec(Kind.COLLECT)
def prouter_drivers() -> Sequence[Driver]:
    """Ways to run a job's process, by name. Asked once, after start-up."""
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_agent_routes() -> Sequence[Route]:
    """HTTP routes of the agent's own service, reached by routers through pipes only; `{job}` is a job's uid there."""
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_rpc_methods() -> Sequence[RpcMethod]:
    """Methods that routers can call over their links: what an original router asks of a feature. Asked once, after
    start-up."""
    raise NotImplementedError


@hookspec(Kind.CHAIN, chained="env")
def prouter_job_environment(
    env: Mapping[str, str], record: JobRecord, request: StartRequest
) -> Mapping[str, str] | None:
    """What a job inherits of the agent's environment; what the start names comes on top afterwards."""


@hookspec(Kind.NOTIFY)
def prouter_job_ended(record: JobRecord) -> None:
    """A job's tree is gone."""


@hookspec(Kind.NOTIFY)
def prouter_news_missed(count: int) -> None:
    """You did not keep up with what notify hooks told you: so many were dropped here, before what you are told next."""


@hookspec(Kind.NOTIFY, deadline_seconds=10.0)
def prouter_shutdown() -> None:
    """The agent ends; its jobs are over by now."""
