"""Which drivers plugins offer, and which one runs jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prouter.agent.jobs.held import HeldDriver
from prouter.errors import ConfigError, NotPossible
from prouter.model.drivers import Driver
from prouter.model.services import Tasks

USUAL = "process"
"""The driver that is taken where nobody says which."""


class Drivers:
    """Filled once plugins have started."""

    def __init__(self, wanted: str | None, seconds: float) -> None:
        """`wanted` is jobs.driver; `seconds` are for a start, a recovery and a destruction each."""
        self._wanted = wanted
        self._seconds = seconds
        self._drivers: dict[str, HeldDriver] = {}
        self._chosen: HeldDriver | None = None

    def take(self, offered: Iterable[tuple[str, Sequence[Driver]]], tasks: Tasks) -> None:
        """(plugin, its drivers), each name once. Raises ConfigError when the one that is wanted is not there."""
        for plugin, drivers in offered:
            for driver in drivers:
                self._drivers[driver.name] = HeldDriver(driver, plugin, tasks, self._seconds)
        self._chosen = self._choose()

    def __iter__(self) -> Iterator[HeldDriver]:
        return iter(list(self._drivers.values()))

    def chosen(self) -> HeldDriver:
        """Of new starts. Raises NotPossible when no plugin offers one."""
        if self._chosen is None:
            raise NotPossible("this agent has no plugin that starts processes (process_driver is switched off)")
        return self._chosen

    def of(self, name: str) -> HeldDriver | None:
        """The one that started a job; without a name, as older agents kept none, the chosen one. None: it is gone."""
        return self._drivers.get(name) if name else self._chosen

    def shown(self, name: str = "") -> Mapping[str, str] | None:
        """For people: the driver of that name, or the chosen one, and its plugin; None without one."""
        found = self.of(name)
        if found is None:
            return {"name": name, "plugin": ""} if name else None
        return {"name": found.name, "plugin": found.plugin}

    def _choose(self) -> HeldDriver | None:
        there = f"there are: {', '.join(sorted(self._drivers)) or 'none'}"
        if self._wanted is not None:
            if self._wanted not in self._drivers:
                raise ConfigError([f"jobs.driver: no plugin offers the driver {self._wanted!r}; {there}"])
            return self._drivers[self._wanted]
        if len(self._drivers) > 1 and USUAL not in self._drivers:
            raise ConfigError([f"jobs.driver: which one? {there}"])
        return self._drivers.get(USUAL) or next(iter(self._drivers.values()), None)
