"""What `prouter top` shows, as a picture: the command's own tables of a fleet that is made up, drawn as a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

from prouter.cli.top.asked import Moment
from prouter.cli.top.rates import Rates
from prouter.cli.top.tables import agents_table, jobs_table, plain, router_lines

URL = "https://router.example"
COLUMNS = 100
CELL, LINE, MARGIN = 8.4, 18, 16
"""Pixels of a character and of a line of a font of 14, and around it all."""
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
AGENTS = (
    ("gpu-1", True, False, 3, 8, 0.004, 40),
    ("gpu-2", True, True, 1, 8, 0.021, 40),
    ("lab-pc", True, False, 1, 2, 0.412, 3),
    ("office", False, False, 0, 2, None, 130),
)
"""Name, connected, draining, jobs, capacity, how late, hours since it came."""
JOBS = (
    ("training-board", "gpu-1", 12, 3_100, 1_840_000, 61, 190),
    ("notebook-anna", "gpu-1", 3, 9_400, 52_000, 14, 75),
    ("render", "lab-pc", 1, 410_000, 900, 2, 20),
    ("notebook-ben", "gpu-2", 2, 120, 2_600, 1, 600),
    ("batch-17", "gpu-1", 0, 0, 0, 0, 5),
)
"""Name, agent, connections, bytes in, bytes out and requests a second, minutes since its start."""


def moment(seconds: float) -> Moment:
    """So many seconds after the first one."""
    agents = [_agent(*agent) for agent in AGENTS]
    by_name = {agent["name"]: agent for agent in agents}
    jobs = [_job(number, seconds, by_name, *job) for number, job in enumerate(JOBS)]
    counts = {name: sum(job["activity"][name] for job in jobs) for name in ("bytes_in", "bytes_out", "requests")}
    metrics = {
        ("prouter_requests_total", "proxy", "200"): counts["requests"],
        ("prouter_request_body_bytes_total", "proxy"): counts["bytes_in"],
        ("prouter_answer_body_bytes_total", "proxy"): counts["bytes_out"],
        ("prouter_connections", "control"): 23.0,
        ("prouter_pipes",): 31.0,
        ("prouter_loop_delay_worst_seconds",): 0.006,
        ("process_cpu_seconds_total",): 0.04 * seconds,
        ("process_resident_memory_bytes",): 61e6,
    }
    router = {"auth": {"uid": "0" * 32, "name": "lab"}, "version": "0.1.0"}
    return Moment(seconds, NOW.timestamp(), router, agents, jobs, more=False, metrics=metrics)


def _agent(
    name: str, connected: bool, draining: bool, jobs: int, most: int, late: float | None, hours: int
) -> Mapping[str, Any]:
    return {
        "uid": f"{hash_of(name):032x}",
        "name": name,
        "connected": connected,
        "draining": draining,
        "jobs": jobs,
        "capacity": {"jobs": {"total": most, "used": jobs}},
        "loop_delay": late,
        "connected_at": (NOW - timedelta(hours=hours)).isoformat(),
        "version": "0.1.0",
    }


def _job(
    number: int,
    seconds: float,
    agents: Mapping[str, Any],
    name: str,
    agent: str,
    connections: int,
    bytes_in: int,
    bytes_out: int,
    requests: int,
    minutes: int,
) -> Mapping[str, Any]:
    begun = (NOW - timedelta(minutes=minutes)).isoformat()
    whole = minutes * 60 + seconds
    return {
        "uid": f"{number + 1:032x}",
        "name": name,
        "agent": agents[agent],
        "state": "RUNNING",
        "created_at": begun,
        "started_at": begun,
        "activity": {
            "connections": connections,
            "bytes_in": bytes_in * whole,
            "bytes_out": bytes_out * whole,
            "requests": requests * whole,
        },
    }


def hash_of(name: str) -> int:
    """The same on every machine."""
    return int.from_bytes(name.encode(), "big")


def top_lines() -> list[tuple[str, str]]:
    """(line, colour)."""
    rates = Rates()
    rates.add(moment(0.0))
    rates.add(moment(6.0))
    newest = rates.newest
    assert newest is not None
    found = [(line, "#e5e7eb") for line in router_lines(rates, newest, URL)]
    for table in (agents_table(rates, newest).fitting(COLUMNS), jobs_table(rates, newest).fitting(COLUMNS)):
        title, head, *rows = plain([], [table]).strip("\n").split("\n")
        found += [("", ""), (title, "#67e8f9"), (head, "#f9fafb")]
        colours = {"bad": "#f87171", "quiet": "#9ca3af", "": "#e5e7eb"}
        found += [(row, colours[shown.mood]) for row, shown in zip(rows, table.rows, strict=True)]
    return found


def top_picture() -> str:
    """An SVG."""
    return "".join(_svg(top_lines()))


def _svg(lines: list[tuple[str, str]]) -> Iterator[str]:
    width, height = round(COLUMNS * CELL) + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="ui-monospace, monospace" font-size="14" role="img" aria-label="What prouter top shows">'
        f'<rect width="100%" height="100%" rx="8" fill="#111827"/>'
    )
    for number, (line, colour) in enumerate(lines):
        if line:
            y, length = MARGIN + (number + 1) * LINE - 5, round(len(line) * CELL, 1)
            yield (
                f'<text x="{MARGIN}" y="{y}" fill="{colour}" xml:space="preserve" textLength="{length}">'
                f"{escape(line)}</text>"
            )
    yield "</svg>\n"
