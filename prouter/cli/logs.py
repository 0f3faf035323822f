"""The log of a daemon: text or JSON lines on stderr, with the ids of the request, job and agent that it is about."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from prouter.pluginkit import context

QUIET = ("aiohttp.access", "aiohttp.server", "aiohttp.client", "asyncio")
"""Libraries whose DEBUG and INFO lines could hold what a client sent; their warnings are kept."""


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={value}" for name, value in _ids().items())
        text = super().format(record)
        return f"{text} [{ids}]" if ids else text


def set_up(level: str, form: str) -> None:
    """Once, when a daemon starts."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(getattr(logging, level.upper()))
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def tell_failed_start(why: str) -> None:
    """On stderr, for a person, or for what reads the log where that is JSON."""
    handlers = logging.getLogger().handlers
    if any(isinstance(handler.formatter, JsonLines) for handler in handlers):
        logging.getLogger("prouter").error(why)
    else:
        print(f"prouter: {why}", file=sys.stderr)


def _ids() -> dict[str, str]:
    found = {
        "request": context.request_id.get(),
        "job": context.job_id.get(),
        "agent": context.agent_id.get(),
    }
    return {name: value for name, value in found.items() if value}
