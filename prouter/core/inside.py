"""What a router tells of its inside beside what every daemon does: links, pipes, jobs, what waits and how much may."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prouter.core.agents.directory import AgentDirectory, AgentEntry
from prouter.core.agents.fleet import Fleet
from prouter.core.agents.returning import Returning
from prouter.core.provisioning import Provisioning
from prouter.model.queue import Waiting
from prouter.model.traffic import Traffic
from prouter.pluginkit.inside import Inside


def tell_router(inside: Inside, fleet: Fleet, traffic: Mapping[str, Traffic], most_connections: int) -> None:
    """Adds the parts that are there before anything listens."""
    directory = fleet.directory
    inside.add("agents", lambda: _agents(directory))
    inside.add("links", lambda: [_link(entry) for entry in directory if entry.link is not None])
    inside.add("pipes", lambda: {"used": fleet.pipes.used, "limit": fleet.pipes.limit})
    inside.add("jobs", lambda: Counter(record.state.value for entry in directory for record in entry.mirror))
    inside.add(
        "connections",
        lambda: {
            name: {"open": one.connections, "ever": one.connections_ever, "limit": most_connections}
            for name, one in traffic.items()
        },
    )
    inside.add(
        "proxied",
        lambda: {
            name: {"finished": one.proxied, "alike": one.alike, "short": one.short} for name, one in traffic.items()
        },
    )


def tell_waiting(
    inside: Inside, fleet: Fleet, returning: Returning, provisioning: Provisioning, queue: Callable[[], Waiting]
) -> None:
    """What waits for something, and how much may."""
    settings = fleet.settings
    inside.add(
        "waiting",
        lambda: {
            "requests_for_agents": {"now": returning.waiting, "limit": settings.max_reconnect_waiters},
            "jobs_for_new_agents": {"now": provisioning.under_way, "limit": settings.max_provisioning},
            "jobs_in_queue": _queue(queue()),
            "calls_for_ends_of_jobs": {"now": sum(entry.mirror.waiting for entry in fleet.directory)},
        },
    )


def _queue(waiting: Waiting) -> Mapping[str, Any]:
    return {"now": waiting.jobs, "limit": waiting.most, "longest_seconds": waiting.longest_seconds}


def _agents(directory: AgentDirectory) -> Mapping[str, Any]:
    entries: Sequence[AgentEntry] = list(directory)
    linked = sum(entry.link is not None for entry in entries)
    return {"linked": linked, "away": len(entries) - linked, "draining": sum(entry.drain.on for entry in entries)}


def _link(entry: AgentEntry) -> Mapping[str, Any]:
    link = entry.link
    assert link is not None
    return {
        "agent": entry.uid,
        "mode": link.mode,
        "address": link.address,
        "version": link.hello.version,
        "seconds": time.monotonic() - entry.linked_since,
        "jobs": len(entry.mirror),
        "job_records_bytes": {"now": entry.mirror.size_bytes, "limit": link.mirrored_bytes},
        "being_made": entry.making,
        "loop_late_seconds": entry.loop.worst_seconds if entry.loop is not None else None,
        "pipes": link.pool.counts(),
        **link.rpc.queues(),
    }
