"""What happens to jobs and agents, told to a URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prouter import hookspecs, implements
from prouter.errors import ConfigError
from prouter.model.access import Principal
from prouter.model.agents import AgentInfo
from prouter.model.contributions import Metric, MetricKind
from prouter.model.jobs import CreateRequest, JobRecord, JobState, Reason
from prouter.model.plugin import ConfigSection, HealthCheck
from prouter.model.services import Router
from prouter_lifecycle_webhook.delivery import LANES, Delivery

NAME = "lifecycle_webhook"
TEXT: dict[str, Any] = {"type": ["string", "null"], "default": None}
SETTINGS: dict[str, dict[str, Any]] = {
    "url": TEXT | {"description": "Where events are sent by POST; null: nowhere."},
    "secret": TEXT | {"writeOnly": True, "description": "With which they are signed."},
    "queue": {"type": "integer", "minimum": LANES, "default": 1000, "description": "Events that may wait."},
    "tries": {"type": "integer", "minimum": 1, "default": 10, "description": "For each event."},
    "timeout": {"type": "number", "minimum": 0.1, "default": 10, "description": "Seconds for one try."},
    "first_pause": {"type": "number", "minimum": 0, "default": 0.5, "description": "Seconds before the second try."},
    "longest_pause": {"type": "number", "minimum": 0, "default": 60, "description": "Seconds; pauses double up to it."},
}


class LifecycleWebhook:
    """Observes; whatever the other side does, nobody here waits for it."""

    _delivery: Delivery | None = None

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(hookspecs.prouter_startup)
    async def prouter_startup(self, router: Router) -> None:
        settings, self._shown = router.config.section(NAME), router.jobs.shown
        if settings["url"] is None:
            return
        if not settings["secret"]:
            raise ConfigError([f"{NAME}.secret: it is needed beside {NAME}.url"])
        self._delivery = Delivery(settings)
        for lane in range(LANES):
            router.tasks.start(f"lane {lane}", self._delivery.run(lane))

    @implements(hookspecs.prouter_job_state_changed)
    def prouter_job_state_changed(self, agent: AgentInfo, record: JobRecord) -> None:
        failed = record.state is JobState.FINISHED and record.exit_code != 0 and record.reason is not Reason.STOPPED
        self._tell("job.failed" if failed else f"job.{record.state.lower()}", record.uid, self._shown(record, agent))

    @implements(hookspecs.prouter_job_not_made)
    def prouter_job_not_made(self, request: CreateRequest, principal: Principal, why: str) -> None:
        self._tell("job.not_made", request.uid or "", {"name": request.name, "principal": principal.name, "why": why})

    @implements(hookspecs.prouter_agent_connected)
    def prouter_agent_connected(self, agent: AgentInfo) -> None:
        self._tell("agent.connected", agent.uid, agent.shown())

    @implements(hookspecs.prouter_agent_disconnected)
    def prouter_agent_disconnected(self, agent: AgentInfo, why: str) -> None:
        self._tell("agent.disconnected", agent.uid, agent.shown() | {"why": why})

    @implements(hookspecs.prouter_handle_exception)
    def prouter_handle_exception(self, error: BaseException, about: str) -> None:
        self._tell("exception", "", {"about": about, "error": type(error).__name__})  # its text may hold anything

    @implements(hookspecs.prouter_news_missed)
    def prouter_news_missed(self, count: int) -> None:
        if self._delivery is not None:
            self._delivery.miss(count)

    @implements(hookspecs.prouter_metrics)
    def prouter_metrics(self) -> Sequence[Metric] | None:
        if self._delivery is None:
            return None
        counts = [({"outcome": outcome}, float(count)) for outcome, count in self._delivery.counts.items()]
        return [
            Metric("events", "Events by what became of them.", MetricKind.COUNTER, counts),
            Metric("waiting", "Events that wait to be sent.", MetricKind.GAUGE, [({}, self._delivery.waiting)]),
        ]

    @implements(hookspecs.prouter_health)
    def prouter_health(self) -> HealthCheck | None:
        """A receiver that is away makes the router no less ready."""
        return HealthCheck("webhook", True, self._delivery.trouble or "it takes events") if self._delivery else None

    @implements(hookspecs.prouter_shutdown)
    async def prouter_shutdown(self) -> None:
        if self._delivery is not None:
            await self._delivery.finish(seconds=3.0)

    def _tell(self, kind: str, subject: str, data: dict[str, Any]) -> None:
        if self._delivery is not None:
            self._delivery.add(kind, subject, data)
