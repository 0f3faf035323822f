"""A line of the log that strangers could cause as often as they like: now and then, with how many were left out."""

from __future__ import annotations

import logging
import time

SECONDS = 10.0
"""Between two of them."""


class SeldomLog:
    """Of one kind of line."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said_at = -SECONDS
        self._left_out = 0

    def warn(self, message: str, *arguments: object) -> None:
        now = time.monotonic()
        if now - self._said_at < SECONDS:
            self._left_out += 1
            return
        if self._left_out:
            message, arguments = f"{message} (and %d more like it)", (*arguments, self._left_out)
        self._log.warning(message, *arguments)
        self._said_at, self._left_out = now, 0
