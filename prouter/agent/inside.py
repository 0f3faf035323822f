"""What an agent tells of its inside beside what every daemon does: links, pipes, jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from prouter.agent.jobs.registry import JobRegistry
from prouter.agent.links import Links, RouterLink
from prouter.pluginkit.inside import Inside


def tell_agent(inside: Inside, links: Links, jobs: JobRegistry, max_jobs: int) -> None:
    shared = links.shared
    inside.add("links", lambda: [_link(link) for link in links])
    inside.add(
        "pipes",
        lambda: {
            "open": len(links.pipes),
            "bound": sum(pipe.bound for pipe in links.pipes),
            "served_here": shared.targets.served,
            "limit": shared.max_pipes,
        },
    )
    inside.add("jobs", lambda: Counter(job.record.state.value for job in jobs) | {"limit": max_jobs})
    inside.add("draining", lambda: shared.who.draining.drain.on)


def _link(link: RouterLink) -> Mapping[str, Any]:
    return {
        "router": link.router.uid,
        "number": link.number,
        "direction": link.direction,
        "address": link.address,
        "version": link.router.version,
        "pipes_over": link.pipes_over,
        **(link.rpc.queues() if link.rpc is not None else {}),
    }
