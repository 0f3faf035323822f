"""What a router says of its agents, jobs and itself at one moment: the public routes, read into plain values.

Does not belong here: what goes through a second (rates.py), how it is shown (tables.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prouter.errors import ProuterError

if TYPE_CHECKING:
    from prouter.client import Client

MOST = 10_000
"""Agents, and jobs of one state, that are looked at; a page of the API is not larger."""
STATES = ("RUNNING", "PENDING", "NEW")
REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts that only grow, but when who counts begins anew."""

    bytes_in: float = 0.0
    bytes_out: float = 0.0
    requests: float | None = None
    """None: it is not told."""


@dataclass(frozen=True, slots=True)
class Moment:
    """All that was asked for, at one time."""

    at: float
    """Monotonic."""
    clock: float
    """Seconds since the epoch."""
    router: Mapping[str, Any]
    agents: Sequence[Mapping[str, Any]]
    jobs: Sequence[Mapping[str, Any]]
    more: bool
    """There are more than were looked at."""
    metrics: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    """Value by name and values of labels; empty where the router shows none."""

    def metric(self, *key: str) -> float | None:
        return self.metrics.get(key)

    def through_router(self) -> Traffic:
        """What went through its proxied requests."""
        requests = [value for key, value in self.metrics.items() if key[:2] == ("prouter_requests_total", "proxy")]
        return Traffic(
            self.metric("prouter_request_body_bytes_total", "proxy") or 0.0,
            self.metric("prouter_answer_body_bytes_total", "proxy") or 0.0,
            sum(requests) if self.metrics else None,
        )

    def through_jobs(self) -> Mapping[str, Traffic]:
        """By the job's uid, where its agent tells of it."""
        return {str(job["uid"]): _traffic(job["activity"]) for job in self.jobs if job.get("activity") is not None}


def _traffic(activity: Mapping[str, Any]) -> Traffic:
    return Traffic(activity["bytes_in"], activity["bytes_out"], activity.get("requests"))


async def moment(client: Client) -> Moment:
    """Asks for all of it at once. Raises ProuterError, aiohttp.ClientError, OSError as the client does."""
    router, agents, metrics, *jobs = await asyncio.gather(
        client.info(),
        client.request("GET", "/agents", limit=MOST),
        _metrics(client),
        *(client.request("GET", "/jobs", limit=MOST, state=state) for state in STATES),
    )
    return Moment(
        at=time.monotonic(),
        clock=time.time(),
        router=router,
        agents=agents["agents"],
        jobs=[job for answer in jobs for job in answer["jobs"]],
        more=any(answer.get("next") for answer in (agents, *jobs)),
        metrics=metrics,
    )


async def _metrics(client: Client) -> Mapping[tuple[str, ...], float]:
    """Those of the router itself, none where its plugin is off or the token may not."""
    from prometheus_client.parser import text_string_to_metric_families

    async with client.session.get(f"{client.url}/metrics") as answer:
        if answer.status != 200:
            return {}
        text = await answer.text()
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError:
        raise ProuterError("what the router has at /metrics are no metrics") from None
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples if _wanted(s.name)}


def _wanted(name: str) -> bool:
    return name.startswith(("prouter_", "process_")) and not name.endswith("_bucket")
