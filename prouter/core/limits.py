"""The limits of the data plane, from the configuration. Apart from settings.py, which must import light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prouter.core.agents.originals.spill import SpillLimits
from prouter.http1.request import HeadLimits
from prouter.pipe.pool import PoolLimits
from prouter.rpc.streams import Budget
from prouter.rpc.websocket import DEAD_AFTER_INTERVALS
from prouter.web.limits import WebLimits
from prouter.web.serve import BodyLimits

Section = Callable[[str], Mapping[str, Any]]


def pool_limits(section: Section) -> PoolLimits:
    silent_seconds = DEAD_AFTER_INTERVALS * section("links")["ping_interval"]
    return PoolLimits(**section("pipes"), silent_seconds=silent_seconds)


def spill_limits(section: Section) -> SpillLimits:
    originals = section("originals")
    return SpillLimits(
        memory_bytes=originals["stream_memory_bytes"],
        file_bytes=originals["stream_file_bytes"],
        all_files=Budget(originals["all_files_bytes"]),
        directory=originals["directory"],
    )


def body_limits(section: Section) -> BodyLimits:
    limits = section("limits")
    return BodyLimits(limits["json_body_bytes"], limits["json_elements"], section("timeouts")["body"])


def web_limits(section: Section) -> WebLimits:
    limits, timeouts = section("limits"), section("timeouts")
    return WebLimits(
        head=HeadLimits(limits["head_bytes"], limits["target_bytes"], limits["header_count"]),
        connections=limits["connections"],
        head_seconds=timeouts["head"],
        idle_seconds=timeouts["idle"],
        body_seconds=timeouts["body"],
        body_rate=limits["body_rate"],
        relay_idle_seconds=timeouts["relay_idle"],
        half_close_seconds=timeouts["half_close"],
    )
