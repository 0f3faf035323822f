"""The table of routes: which route a verb and a raw path mean, with its parameters. Pure.

A path beginning with `/jobs/{job}` stands for both forms, `/jobs/AGENT/JOB/...` and `/jobs/JOB/...`; which one it is
where both could be meant is said in model/paths.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prouter.errors import ConfigError, MethodNotAllowed, ProuterError, RouteNotFound
from prouter.model.ids import is_job_uid
from prouter.model.paths import decoded
from prouter.model.plugin import Route


@dataclass(frozen=True, slots=True)
class Match:
    """A route and what its path's parameters are."""

    route: Route
    params: dict[str, str]
    raw: dict[str, str]
    agent: str | None = None
    job: str | None = None
    owner: str = ""
    """The plugin that serves it."""


def claims_of(route: Route) -> list[str]:
    """What a route claims for its owner: each verb at its path, whatever parameters are called.

    Raises ValueError for a route that can not be served.
    """
    if not route.path.startswith("/") or not route.methods:
        raise ValueError(f"a route has verbs and a path that begins with '/': {route.methods!r} {route.path!r}")
    if (route.handler is None) == (route.relay is None):
        raise ValueError(f"{route.path} needs exactly one of handler and relay")
    path = "/".join(_shape(tuple(route.path.split("/"))))
    return [f"{method} {path}" for method in route.methods]


@dataclass(slots=True)
class _Place:
    """All routes with one path."""

    segments: tuple[str, ...]
    routes: dict[str, tuple[str, Route]] = field(default_factory=dict)

    @property
    def takes_rest(self) -> bool:
        return bool(self.segments) and self.segments[-1].endswith("...}")


class RouteTable:
    """Routes of several owners."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, ...], _Place] = {}
        self._special: dict[tuple[str, str], Route] = {}
        self._recorded: set[tuple[str, str]] = set()
        """Method and last segment of recorded routes with parameters: a first look, which costs next to nothing."""

    def add(self, owner: str, routes: Iterable[Route]) -> None:
        """Raises ConfigError when a verb and path is somebody else's already; the message names both."""
        for route in routes:
            segments = tuple(route.path.split("/")[1:])
            place = self._places.setdefault(_shape(segments), _Place(segments))
            for method in route.methods:
                taken = place.routes.get(method)
                if taken is not None:
                    raise ConfigError([f"{method} {route.path}: served by {taken[0]} and by {owner}; switch one off"])
                place.routes[method] = (owner, route)
                if route.recorded and "{" in route.path:
                    self._recorded.add((method, segments[-1]))
                elif route.public or route.recorded:
                    self._special[(method, route.path)] = route

    def __iter__(self) -> Iterator[Route]:
        """Each once, by owner."""
        return iter([route for routes in self.by_owner().values() for route in routes])

    def by_owner(self) -> dict[str, list[Route]]:
        """Each once, in the order in which they were added."""
        found: dict[str, list[Route]] = {}
        for place in self._places.values():
            for owner, route in place.routes.values():
                theirs = found.setdefault(owner, [])
                if not any(route is other for other in theirs):
                    theirs.append(route)
        return found

    def special(self, method: str, path: str) -> Route | None:
        """The route, if it is public (one without parameters) or recorded. Asked for every request."""
        found = self._special.get((method, path))
        if found is not None or (method, path.rpartition("/")[2]) not in self._recorded:
            return found
        try:
            route = self.match(method, path).route
        except ProuterError:
            return None
        return route if route.recorded else None

    def match(self, method: str, path: str) -> Match:
        """Raises RouteNotFound, MethodNotAllowed (with those that are allowed)."""
        found = self._places_of(path)
        if found is None:
            raise RouteNotFound(f"there is nothing at {path[:200]!r}")
        place, agent, values = found
        owned = place.routes.get(method)
        if owned is None:
            if place.segments == ("jobs", "{job}") and not is_job_uid(values[0]):
                raise RouteNotFound(f"there is nothing at {path[:200]!r}")  # a word like `create`, not a job
            raise MethodNotAllowed(method, sorted(place.routes))
        names = [segment.strip("{}.") for segment in place.segments if segment.startswith("{")]
        raw = dict(zip(names, values, strict=True))
        params = {name: decoded(value) for name, value in raw.items()}
        job = params.get("job") if "{job}" in place.segments else None
        return Match(owned[1], params, raw, decoded(agent) if agent is not None else None, job, owned[0])

    def _places_of(self, path: str) -> tuple[_Place, str | None, list[str]] | None:
        """The place, the raw agent of the long form, and the raw values of the parameters."""
        segments = path.split("/")[1:]
        short = self._lookup(segments)
        if len(segments) < 3 or segments[0] != "jobs" or not segments[1]:
            return (short[0], None, short[1]) if short else None
        long = self._lookup(["jobs", *segments[2:]])
        if long is not None and "{job}" in long[0].segments and (short is None or not self._is_action(segments[2])):
            return long[0], segments[1], long[1]
        return (short[0], None, short[1]) if short else None

    def _is_action(self, segment: str) -> bool:
        """Whether some job route has this word behind the job."""
        return any(place.segments[1:2] == ("{job}",) and place.segments[2:3] == (segment,) for place in self._all())

    def _all(self) -> Sequence[_Place]:
        return list(self._places.values())

    def _lookup(self, segments: Sequence[str]) -> tuple[_Place, list[str]] | None:
        """Literals beat parameters, parameters beat a rest."""
        best: tuple[tuple[int, ...], _Place, list[str]] | None = None
        for place in self._places.values():
            values = _fit(place, segments)
            if values is not None:
                rank = tuple(_rank(segment) for segment in place.segments)
                if best is None or rank < best[0]:
                    best = rank, place, values
        return (best[1], best[2]) if best is not None else None


def _fit(place: _Place, segments: Sequence[str]) -> list[str] | None:
    fixed = place.segments[:-1] if place.takes_rest else place.segments
    if len(segments) < len(fixed) or (len(segments) != len(fixed) and not place.takes_rest):
        return None
    values = []
    for wanted, segment in zip(fixed, segments, strict=False):
        if wanted.startswith("{"):
            if not segment:
                return None
            values.append(segment)
        elif wanted != segment:
            return None
    if place.takes_rest:
        if len(segments) == len(fixed):
            return None
        values.append("/".join(segments[len(fixed) :]))
    return values


def _rank(segment: str) -> int:
    if not segment.startswith("{"):
        return 0
    return 2 if segment.endswith("...}") else 1


def _shape(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Two paths that differ in the names of parameters only are one place."""
    return tuple("{...}" if s.endswith("...}") else "{}" if s.startswith("{") else s for s in segments)
