"""Jobs that need licences of which there are only so many: first come, first served."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prouter import hookspecs, implements
from prouter.errors import InvalidRequest, Unavailable
from prouter.model.access import Principal
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid, JobUid, new_uid
from prouter.model.jobs import CreateRequest, JobRecord
from prouter.model.plugin import Candidate, ConfigSection, Score, Selector
from prouter.model.selection import least_loaded
from prouter.model.services import Router
from prouter.model.trail import is_dry_run

NAME = "licence_selector"
PRODUCT, COUNT = "licence.product", "licence.count"
"""Labels of a job that holds licences: so its agent keeps the account, and a router that starts anew has it again."""
FORGET_SECONDS = 600.0
"""When licences of a job of which nobody heard again are free; longer than any job takes to be made."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Licences that a job waits for, or was promised."""

    product: str
    count: int
    at: float
    """Monotonic: when it was asked for last."""


class LicenceSelector:
    """The plugin, and its one selector."""

    prouter_api_version = 1
    name = "licence"
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"const": "licence"},
            "product": {"type": "string", "maxLength": 200},
            "count": {"type": "integer", "minimum": 1, "description": "How many; 1 where nobody says."},
            "job": {"type": "string", "description": "Set by the plugin: the job's uid."},
            "queues": {"type": "boolean", "description": "Set by the plugin: it will be known when it asks again."},
        },
        "required": ["type", "product", "count", "job", "queues"],
        "additionalProperties": False,
    }

    def __init__(self) -> None:
        self._waiting: dict[JobUid, Claim] = {}
        """In the order in which they came."""
        self._promised: dict[JobUid, Claim] = {}
        """Of jobs that are being made and are not among those of the agents yet."""
        self._hosts: tuple[CreateRequest | None, set[AgentUid]] = (None, set())

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        counts = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}, "default": {}}
        about: dict[str, dict[str, Any]] = {
            "products": counts | {"description": "Licences that there are, by product."},
            "place_seconds": {"type": "number", "minimum": 1, "default": 60},
            "max_waiting": {"type": "integer", "minimum": 0, "default": 1000},
            "together_points": {"type": "number", "default": 0},
        }
        about["place_seconds"]["description"] = "Seconds for which a job that does not ask again keeps its place."
        about["max_waiting"]["description"] = "Jobs that may have a place in a queue at the same time."
        about["together_points"]["description"] = "Points for an agent on which the product runs already."
        return [ConfigSection(NAME, about)]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        self._jobs, self._settings = router.jobs, router.config.section(NAME)

    @implements(hookspecs.prouter_selectors)
    def prouter_selectors(self) -> Sequence[Selector]:
        return [self]

    @implements(hookspecs.prouter_job_spec)
    def prouter_job_spec(self, request: CreateRequest, principal: Principal) -> CreateRequest:
        """The labels are the account: nobody else sets them. A job without a uid can not be known again."""
        labels = {key: value for key, value in request.labels.items() if key not in (PRODUCT, COUNT)}
        if request.locator.get("type") != self.name:
            return replace(request, labels=labels)
        uid = request.uid or JobUid(new_uid())
        locator = {"count": 1, **request.locator, "job": uid, "queues": request.uid is not None}
        labels |= {PRODUCT: str(locator.get("product")), COUNT: str(locator["count"])}
        return replace(request, locator=locator, labels=labels, uid=uid)

    @implements(hookspecs.prouter_score_agent)
    def prouter_score_agent(self, candidate: Candidate, request: CreateRequest, principal: Principal) -> Score | None:
        """Many licences count a machine once, however many jobs it has."""
        points, product = self._settings["together_points"], request.labels.get(PRODUCT)
        if not points or product is None:
            return None
        if self._hosts[0] is not request:  # once for all candidates
            self._hosts = (request, {agent for agent, job in self._jobs.list() if _holds(job.labels, product, job)})
        return Score(points, f"{product} runs there already") if candidate.uid in self._hosts[1] else None

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> AgentUid:
        """Looks and takes without a turn of the event loop in between: two can not get the last one."""
        product, count, job = locator["product"], locator["count"], JobUid(locator["job"])
        total = self._settings["products"].get(product, 0)
        if count > total:
            raise InvalidRequest(f"Invalid request: {count} licences of {product!r} are asked for, there are {total}")
        agent = least_loaded(candidates, {})
        self._forget()
        free, ahead = total - self._taken(product, job), self._ahead(product, job)
        if free - sum(claim.count for claim in ahead) < count:
            raise self._refusal(Claim(product, count, time.monotonic()), job, free, ahead, queues=locator["queues"])
        if not is_dry_run():
            self._waiting.pop(job, None)
            self._promised[job] = Claim(product, count, time.monotonic())
        return agent

    @implements(hookspecs.prouter_job_not_made)
    def prouter_job_not_made(self, request: CreateRequest, principal: Principal, why: str) -> None:
        if request.uid is not None:
            self._promised.pop(request.uid, None)

    @implements(hookspecs.prouter_job_state_changed)
    def prouter_job_state_changed(self, agent: AgentInfo, record: JobRecord) -> None:
        self._promised.pop(record.uid, None)  # from now on it counts as what it is

    def _refusal(self, claim: Claim, job: JobUid, free: int, ahead: Sequence[Claim], *, queues: bool) -> Unavailable:
        seconds = self._settings["place_seconds"]
        keep = "with a uid of its own a job keeps its place in the queue"
        if queues and (job in self._waiting or len(self._waiting) < self._settings["max_waiting"]):
            keep = f"ask again within {seconds:g} s with the same uid to keep the place"
            if not is_dry_run():
                self._waiting[job] = claim
        elif queues:
            keep = "the queue is full, so it has no place yet"
        place = {"product": claim.product, "free": free, "position": len(ahead) + 1}
        detail = f"{free} licences of {claim.product!r} are free, {claim.count} are asked for; "
        detail += f"position {place['position']} in the queue: {keep}"
        return Unavailable(detail, retry_after=max(1, int(seconds / 4)), extra={"licence": place})

    def _taken(self, product: str, but: JobUid) -> int:
        taken = {job: claim.count for job, claim in self._promised.items() if claim.product == product}
        taken |= {job.uid: int(job.labels[COUNT]) for _, job in self._jobs.list() if _holds(job.labels, product, job)}
        return sum(count for job, count in taken.items() if job != but)

    def _ahead(self, product: str, job: JobUid) -> list[Claim]:
        """Those that came before; all of them for one that has no place yet."""
        waiting = list(self._waiting)
        before = waiting[: waiting.index(job)] if job in self._waiting else waiting
        return [self._waiting[one] for one in before if self._waiting[one].product == product]

    def _forget(self) -> None:
        now, seconds = time.monotonic(), self._settings["place_seconds"]
        self._waiting = {job: claim for job, claim in self._waiting.items() if now - claim.at < seconds}
        self._promised = {job: claim for job, claim in self._promised.items() if now - claim.at < FORGET_SECONDS}


def _holds(labels: Mapping[str, str], product: str, job: JobRecord) -> bool:
    """Another router's jobs may have labels that are no account."""
    return not job.ended and labels.get(PRODUCT) == product and labels.get(COUNT, "").isdecimal()
