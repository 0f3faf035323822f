"""News of agents and jobs on their way to the plugins that want to know. They can never hurt or delay anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from prouter.core.jobs.acting import Acting
from prouter.model.agents import AgentInfo
from prouter.model.events import (
    AgentConnected,
    AgentDisconnected,
    AgentDraining,
    AgentForgotten,
    AgentProvisioning,
    Event,
    Failed,
    JobChanged,
    JobsActive,
)
from prouter.model.jobs import CreateRequest, JobRecord, JobState
from prouter.model.telling import one_line
from prouter.pluginkit import context
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.seldom import SeldomLog

log = logging.getLogger(__name__)

FAILURES_AT_ONCE = 100
"""Lines of the log about what failed with nobody waiting; a plugin may tell thousands."""


class EventHub:
    """Tells each event once: a line in the log at the beginning and end of a job, and the notify hooks."""

    def __init__(self, hooks: Hooks, joined: asyncio.Event, acting: Acting) -> None:
        self._hooks = hooks
        self._acting = acting
        self._joined = joined
        """Set once an agent is connected."""
        self._failures = SeldomLog(log, FAILURES_AT_ONCE)
        self._hears: Callable[[Event], None] = lambda event: None

    def heard_by(self, hears: Callable[[Event], None]) -> None:
        """Who of the router itself goes by what happens (the queue)."""
        self._hears = hears

    def tell(self, event: Event) -> None:
        self._hears(event)
        match event:
            case AgentConnected(agent):
                self._joined.set()
                self._hooks.notify("prouter_agent_connected", subject=agent.uid, agent=agent)
            case AgentDisconnected(agent, why):
                self._hooks.notify("prouter_agent_disconnected", subject=agent.uid, agent=agent, why=why)
            case AgentDraining(agent):
                self._hooks.notify("prouter_agent_draining", subject=agent.uid, agent=agent)
            case AgentProvisioning(request, plugin, detail):
                log.info("an agent for job %s, by plugin %s: %s", _name(request), plugin, detail)
                self._hooks.notify(
                    "prouter_agent_provisioning", subject=plugin, request=request, plugin=plugin, detail=detail
                )
            case JobChanged(agent, record):
                with context.about(request=self._acting.request_of(record.uid), job=record.uid, agent=agent.uid):
                    _log_job(agent, record)
                self._hooks.notify("prouter_job_state_changed", subject=record.uid, agent=agent, record=record)
            case JobsActive(info, news):
                if self._hooks.implemented("prouter_proxy_activity"):
                    agent = info()
                    for record, activity in news:
                        self._hooks.notify(
                            "prouter_proxy_activity", subject=record.uid, agent=agent, record=record, activity=activity
                        )
            case AgentForgotten():
                pass  # plugins know that it is gone; what is known here of it changes
            case Failed(subject, detail):
                self._failures.warn("%s: %s", subject, detail)
                self._hooks.notify("prouter_failed", subject=subject, about=subject, detail=detail)


def _name(request: CreateRequest) -> str:
    """One that is not made yet: its uid where the client chose it, else its name."""
    return str(request.uid) if request.uid is not None else repr(one_line(request.name))


def _log_job(agent: AgentInfo, record: JobRecord) -> None:
    if record.state is JobState.RUNNING:
        log.info("job %s runs on agent %s, pid %s", record.uid, agent.uid, record.pid)
    elif record.state is JobState.FINISHED:
        log.info("job %s finished: %s, exit code %s", record.uid, record.reason, record.exit_code)
