"""A line of the log that strangers could cause as often as they like: now and then, with how many were left out."""

from __future__ import annotations

import logging
import math
import time

SECONDS = 10.0
"""After which there may be lines again."""


class SeldomLog:
    """Of one kind of line: `at_once` of them, then none until some seconds have passed."""

    def __init__(self, log: logging.Logger, at_once: int = 1) -> None:
        self._log = log
        self._at_once = at_once
        self._began_at = -math.inf
        self._said = 0
        self._left_out = 0

    def warn(self, message: str, *arguments: object) -> None:
        self._say(logging.WARNING, message, *arguments)

    def info(self, message: str, *arguments: object) -> None:
        self._say(logging.INFO, message, *arguments)

    def _say(self, level: int, message: str, *arguments: object) -> None:
        now = time.monotonic()
        if now - self._began_at >= SECONDS:
            self._began_at, self._said = now, 0
        if self._said >= self._at_once:
            self._left_out += 1
            return
        if self._left_out:
            message, arguments = f"{message} (and %d more like it)", (*arguments, self._left_out)
        self._log.log(level, message, *arguments)
        self._said += 1
        self._left_out = 0
