"""Counted resources: what an agent has so many of, and what its jobs hold of it. Pure.

`jobs` is one of them: the slots for jobs, of which each job holds one if it asks for no more. The others (GPUs,
licences) are names that an agent declares. A job holds what it asked for from its creation until it has finished or is
removed. The agent decides by these rules; routers use them on what they know, to choose and to say why not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

JOBS = "jobs"
"""The slots for jobs. An agent that does not say how many it has is not limited."""
MAX_NAMES = 32
"""Of one agent, and of one job."""
MAX_COUNT = 1_000_000_000
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"
"""As the names of what a node of Kubernetes has: nvidia.com/gpu."""
_NAME = re.compile(NAME_PATTERN)


class Holder(Protocol):
    """A job."""

    @property
    def resources(self) -> Mapping[str, int]: ...

    @property
    def ended(self) -> bool: ...


def parse(value: Any) -> dict[str, int]:
    """A peer's counts by name. Raises ValueError, saying what they are to be."""
    if not isinstance(value, Mapping) or len(value) > MAX_NAMES:
        raise ValueError(f"resources are up to {MAX_NAMES} counts by name")
    for name, count in value.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ValueError("a resource's name has up to 63 letters, digits and any of . _ / -")
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT:
            raise ValueError(f"of each resource a job takes a whole number from 1 to {MAX_COUNT}")
    return dict(value)


def asked_by(resources: Mapping[str, int]) -> dict[str, int]:
    """What a job with these takes: a slot, too."""
    return {JOBS: 1} | dict(resources)


def in_use(jobs: Iterable[Holder]) -> dict[str, int]:
    """What all these hold together."""
    held = [job.resources for job in jobs if not job.ended]
    used = {JOBS: len(held)}
    for resources in filter(None, held):
        for name, count in resources.items():
            used[name] = used.get(name, 0) + count - (name == JOBS)
    return used


def shortage(resources: Mapping[str, int], capacity: Mapping[str, int], used: Mapping[str, int]) -> str | None:
    """Why a new job that asks for `resources` does not fit, as a sentence's end; None when it does.

    What can never be had here is told apart from what is only in use now.
    """
    for name, asked in asked_by(resources).items():
        total, taken = capacity.get(name), used.get(name, 0)
        if total is None and name == JOBS:
            continue
        if total is None:
            return f"it has no {name!r}, of which the job asks for {asked}"
        if asked > total:
            return f"it has {total} of {name!r} in all, the job asks for {asked}"
        if asked > total - taken:
            if name == JOBS:
                return f"it is full: {taken} jobs, capacity {total}"
            return f"of its {total} {name!r} {max(total - taken, 0)} are free now, the job asks for {asked}"
    return None
