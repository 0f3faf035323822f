"""What bounds the calls of hooks: the values of the configuration's section `plugins` that are about calling."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from prouter.errors import ConfigError

BLOCKED_SECONDS = 0.1
NEWS_KEPT = 1000
MUTED_AFTER = 20


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Of one app."""

    blocked_seconds: float = BLOCKED_SECONDS
    """An implementation that holds the event loop for longer at one time is named in the log."""
    news_kept: int = NEWS_KEPT
    """Of each observing plugin; the oldest is dropped when it does not keep up."""
    muted_after: int = MUTED_AFTER
    """Failures in a row after which an observer is not told any more."""
    deadlines: Mapping[str, float] = field(default_factory=dict)
    """Seconds by hook, instead of those of its specification."""

    @classmethod
    def read(cls, plugins: Mapping[str, Any]) -> CallLimits:
        """Of the section, its defaults filled in."""
        return cls(
            blocked_seconds=float(plugins["blocked_seconds"]),
            news_kept=int(plugins["news_kept"]),
            muted_after=int(plugins["muted_after"]),
            deadlines={name: float(seconds) for name, seconds in plugins["deadlines"].items()},
        )

    def check(self, hooks: Collection[str]) -> None:
        """Raises ConfigError for a deadline of a hook that is none of these."""
        mistakes = []
        for name in self.deadlines:
            if name not in hooks:
                close = difflib.get_close_matches(name, hooks, 3, 0.6)
                hint = f"; did you mean {', '.join(close)}?" if close else ""
                mistakes.append(f"plugins.deadlines.{name[:100]}: there is no such hook{hint}")
        if mistakes:
            raise ConfigError(mistakes)
