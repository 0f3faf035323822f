"""What plugins add to the command line and to the metrics: frozen values, no side effects."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class CliContext(Protocol):
    """What a command of a plugin finds around it."""

    def section(self, name: str) -> Mapping[str, Any]:
        """The values of a configuration section, valid, defaults filled in. Raises KeyError for one nobody declared."""

    @property
    def url(self) -> str:
        """The router that is meant, as for the commands that ship: --url, PROUTER_URL, else the local one."""

    @property
    def token(self) -> str | None:
        """With which it is asked; never print it."""


@dataclass(frozen=True, slots=True)
class CliCommand:
    """`prouter NAME ...`. A command that ships can not be replaced."""

    name: str
    """Lower-case letters, digits and dashes."""
    summary: str
    """One line, for `prouter --help`."""
    run: Callable[[argparse.Namespace, CliContext], int]
    """Gives the exit status. Raises ProuterError for what the user should know."""
    configure: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    """Adds its own flags."""


class MetricKind(StrEnum):
    COUNTER = "counter"
    """Only grows."""
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its samples as they are now. It is shown as `prouter_PLUGIN_NAME`."""

    name: str
    """Lower-case letters, digits and underscores, with its unit at the end ("wait_seconds")."""
    help: str
    kind: MetricKind
    samples: Sequence[tuple[Mapping[str, str], float]] = field(default=())
    """Labels and value of each."""
