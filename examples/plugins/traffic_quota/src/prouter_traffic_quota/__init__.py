"""How many bytes may go through the ports of a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prouter import hookspecs, implements
from prouter.model.access import Principal, Refusal
from prouter.model.activity import Activity
from prouter.model.agents import AgentInfo
from prouter.model.http import Reply, RequestHead
from prouter.model.jobs import JobRecord, JobRef, JobState
from prouter.model.plugin import ConfigSection, JobTarget
from prouter.model.proxying import Bridge
from prouter.model.services import Router

NAME = "traffic_quota"
JOB_BYTES: dict[str, Any] = {
    "type": ["integer", "null"],
    "minimum": 0,
    "default": None,
    "description": "Bytes that may go through the ports of one job, both ways together. None: any number.",
}


class TrafficQuota:
    """Counts what agents report, refuses what is over it."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._job_bytes: int | None = None
        self._used: dict[JobRef, int] = {}

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, {"job_bytes": JOB_BYTES})]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        self._job_bytes = router.config.section(NAME)["job_bytes"]

    @implements(hookspecs.prouter_proxy_activity)
    def prouter_proxy_activity(self, agent: AgentInfo, record: JobRecord, activity: Activity) -> None:
        self._used[JobRef(agent.uid, record.uid)] = activity.bytes_in + activity.bytes_out

    @implements(hookspecs.prouter_job_state_changed)
    def prouter_job_state_changed(self, agent: AgentInfo, record: JobRecord) -> None:
        if record.state is JobState.CLOSED:
            self._used.pop(JobRef(agent.uid, record.uid), None)

    @implements(hookspecs.prouter_proxy_request)
    def prouter_proxy_request(self, head: RequestHead, target: JobTarget) -> RequestHead | Reply | None:
        over = self._over(target.ref)
        return Reply(429, (("Content-Type", "text/plain"),), f"{over}\n".encode()) if over else None

    @implements(hookspecs.prouter_bridge_open)
    def prouter_bridge_open(self, bridge: Bridge, principal: Principal) -> Refusal | None:
        over = self._over(bridge.ref)
        return Refusal(over) if over else None

    def _over(self, ref: JobRef) -> str:
        used = self._used.get(ref, 0)
        if self._job_bytes is None or used <= self._job_bytes:
            return ""
        return f"{used} bytes went through the ports of this job, its quota is {self._job_bytes}"
