"""In which order the implementations of a hook are asked: what each says of its place, else the order of loading. Pure.

Belongs here: the sort. Does not: who is left out for a circle (host.py), calling (calling.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter


@dataclass(frozen=True, slots=True)
class Place:
    """What one implementation says of its place."""

    plugin: str
    before: Collection[str] = ()
    """Names of plugins."""
    after: Collection[str] = ()
    rank: int = 0
    """-1 for one that wants to be first, 1 for one that wants to be last."""


def arranged(places: Sequence[Place]) -> list[int]:
    """Indexes of `places` in the order in which they are asked.

    What `before` and `after` say holds; beyond that lower ranks come first, and equals as they were given. A circle is
    ignored: see `circle`, which tells of one.
    """
    sorter = _sorter(places)
    try:
        sorter.prepare()
    except CycleError:
        inside = set(circle(places))
        loose = [Place(p.plugin, rank=p.rank) if p.plugin in inside else p for p in places]
        return arranged(loose)
    waiting: list[tuple[int, int]] = []
    order: list[int] = []
    while sorter.is_active():
        for index in sorter.get_ready():
            heapq.heappush(waiting, (places[index].rank, index))
        _, index = heapq.heappop(waiting)
        order.append(index)
        sorter.done(index)
    return order


def circle(places: Sequence[Place]) -> list[str]:
    """Plugins that want to be before each other, in that order; empty when there are none."""
    try:
        _sorter(places).prepare()
    except CycleError as error:
        found: list[int] = error.args[1]
        return [places[index].plugin for index in found[:-1]]
    return []


def _sorter(places: Sequence[Place]) -> TopologicalSorter[int]:
    by_name: dict[str, list[int]] = {}
    for index, place in enumerate(places):
        by_name.setdefault(place.plugin, []).append(index)
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for index, place in enumerate(places):
        sorter.add(index)
        for name in place.after:
            if name != place.plugin:
                sorter.add(index, *by_name.get(name, ()))
        for name in place.before:
            for other in by_name.get(name, ()) if name != place.plugin else ():
                sorter.add(other, index)
    return sorter
