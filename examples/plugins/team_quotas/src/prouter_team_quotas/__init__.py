"""A limit on the jobs that each team has at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prouter import hookspecs, implements
from prouter.model.access import Principal, Refusal, Resource
from prouter.model.agents import AgentInfo
from prouter.model.contributions import Metric, MetricKind
from prouter.model.http import RequestHead
from prouter.model.ids import JobUid, new_uid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef
from prouter.model.plugin import Candidate, ConfigSection
from prouter.model.reload import TakeOver
from prouter.model.services import Config, Router
from prouter.model.trail import is_dry_run

NAME = "team_quotas"
LABEL = "team"
FORGET_SECONDS = 600.0
"""When a place counts as free again though nobody said what became of its job; longer than any job takes to be made."""
COUNT = {"type": "integer", "minimum": 0}


class TeamQuotas:
    """A job of a team has its label; places that were promised count until the job is there, or is not made."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._promised: dict[JobUid, tuple[str, float]] = {}
        """Of jobs that were admitted and are not among those that run yet: the team, and since when."""

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        limits = {"type": "object", "additionalProperties": COUNT, "default": {}}
        members = {"type": "object", "additionalProperties": {"type": "string"}, "default": {}}
        others = {"anyOf": [COUNT, {"type": "null"}], "default": None}
        about: dict[str, dict[str, Any]] = {
            "limits": limits | {"description": "Jobs that each team may have at once, by the team's name."},
            "members": members | {"description": "The team of who asks, by the name that an authenticator gave."},
            "others": others | {"description": "The same for teams not named, and for jobs of none; null: no limit."},
        }
        return [ConfigSection(NAME, about, reloadable=True)]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        self._jobs, self._settings = router.jobs, router.config.section(NAME)

    @implements(hookspecs.prouter_reload)
    def prouter_reload(self, config: Config) -> TakeOver:
        fresh = config.section(NAME)
        keys = [f"{NAME}.{key}" for key in fresh]
        return TakeOver(keys, lambda: setattr(self, "_settings", fresh))

    @implements(hookspecs.prouter_principal)
    def prouter_principal(self, principal: Principal, head: RequestHead) -> Principal | None:
        """Of whoever was authenticated, by any plugin, and says nothing of a team."""
        team = self._settings["members"].get(principal.name)
        if team is None or LABEL in principal.findings:
            return None
        return replace(principal, findings={**principal.findings, LABEL: team})

    @implements(hookspecs.prouter_job_spec)
    def prouter_job_spec(self, request: CreateRequest, principal: Principal) -> CreateRequest:
        """The team that an authenticator found beats what the client says; the uid is by what we know the job again."""
        team = principal.findings.get(LABEL)
        labels = request.labels if team is None else {**request.labels, LABEL: str(team)}
        return replace(request, labels=labels, uid=request.uid or JobUid(new_uid()))

    @implements(hookspecs.prouter_admit_job)
    def prouter_admit_job(self, request: CreateRequest, principal: Principal) -> Refusal | None:
        assert request.uid is not None, "prouter_job_spec gave it one"
        return self._claim(request.labels, request.uid)

    @implements(hookspecs.prouter_authorize)
    def prouter_authorize(self, principal: Principal, action: str, resource: Resource) -> Refusal | None:
        """A job that has finished takes a place again when it is restarted."""
        if action != "job.start" or resource.job is None or resource.agent is None:
            return None
        ended = self._jobs.get(JobRef(resource.agent, resource.job)).ended
        return self._claim(resource.labels, resource.job) if ended else None

    @implements(hookspecs.prouter_filter_agent)
    def prouter_filter_agent(
        self, candidate: Candidate, request: CreateRequest, principal: Principal
    ) -> Refusal | None:
        """A machine that has the property is its team's own."""
        owner = candidate.properties.get(LABEL)
        return Refusal(f"it belongs to team {owner!r}") if owner not in (None, request.labels.get(LABEL)) else None

    @implements(hookspecs.prouter_job_priority)
    def prouter_job_priority(self, request: CreateRequest, principal: Principal) -> int | None:
        """Of jobs that wait for an agent, those of the team with the fewest come first."""
        return -len(self._taken(request.labels.get(LABEL, "")))

    @implements(hookspecs.prouter_job_not_made)
    def prouter_job_not_made(self, request: CreateRequest, principal: Principal, why: str) -> None:
        if request.uid is not None:
            self._promised.pop(request.uid, None)

    @implements(hookspecs.prouter_job_state_changed)
    def prouter_job_state_changed(self, agent: AgentInfo, record: JobRecord) -> None:
        if not record.ended:  # from now on it counts as what it is
            self._promised.pop(record.uid, None)

    @implements(hookspecs.prouter_metrics)
    def prouter_metrics(self) -> Sequence[Metric]:
        counts = [({"team": team}, float(len(self._taken(team)))) for team in self._settings["limits"]]
        return [Metric("jobs", "Jobs of each team that has a limit.", MetricKind.GAUGE, counts)]

    def _claim(self, labels: Mapping[str, str], job: JobUid) -> Refusal | None:
        """Look and take in one step, without a turn of the loop in between: two can not get the last place."""
        team = labels.get(LABEL, "")
        limit, taken = self._settings["limits"].get(team, self._settings["others"]), self._taken(team)
        if limit is not None and len(taken - {job}) >= limit:
            who = f"team {team!r} has" if team else f"jobs without a label {LABEL!r} have"
            return Refusal(f"{who} {len(taken)} of {limit} places taken; remove or stop a job, or wait for one to end")
        if not is_dry_run():
            self._promised[job] = (team, time.monotonic())
        return None

    def _taken(self, team: str) -> set[JobUid]:
        now = time.monotonic()
        self._promised = {job: kept for job, kept in self._promised.items() if now - kept[1] < FORGET_SECONDS}
        promised = {job for job, (whose, _) in self._promised.items() if whose == team}
        return promised | {
            record.uid for _, record in self._jobs.list() if not record.ended and record.labels.get(LABEL, "") == team
        }
