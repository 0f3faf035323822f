"""What is shown, as texts: a few lines about the router, a table of agents, one of jobs. Pure; for any width.

Does not belong here: colours and the terminal (screen.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prouter.cli.top.asked import Moment, Traffic
from prouter.cli.top.rates import NOTHING, Rates, total

UNITS = ("", "K", "M", "G", "T", "P")
GAP = 2
"""Blanks between columns."""
LATE_SECONDS = 0.1
"""An event loop that was later than that is worth a look."""


@dataclass(frozen=True, slots=True)
class Column:
    """`width`: the most characters that it gets. Of columns that do not fit together the highest `rank` goes first."""

    title: str
    width: int
    rank: int = 0
    right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    cells: Sequence[str]
    mood: str = ""
    """"bad", "quiet", or nothing special."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def widths(self) -> list[int]:
        """Of what is in the columns."""
        texts = [[column.title, *(row.cells[i] for row in self.rows)] for i, column in enumerate(self.columns)]
        return [max(map(len, column)) for column in texts]

    def fitting(self, width: int) -> Table:
        """With as many of its columns as fit, the first one always."""
        kept = list(range(len(self.columns)))
        widths = [min(column.width, wide) for column, wide in zip(self.columns, self.widths(), strict=True)]
        while len(kept) > 1 and sum(widths[i] + GAP for i in kept) - GAP > width:
            kept.remove(max(kept, key=lambda i: (self.columns[i].rank, i)))
        rows = [Row([row.cells[i] for i in kept], row.mood) for row in self.rows]
        return Table(self.title, [self.columns[i] for i in kept], rows)


AGENT_COLUMNS = (
    Column("AGENT", 20),
    Column("STATE", 8, 1),
    Column("JOBS", 7, 1, right=True),
    Column("IN/s", 7, 2, right=True),
    Column("OUT/s", 7, 2, right=True),
    Column("REQ/s", 7, 3, right=True),
    Column("LOOP", 7, 3, right=True),
    Column("SINCE", 6, 4, right=True),
    Column("VERSION", 9, 5),
    Column("UID", 32, 6),
)
JOB_COLUMNS = (
    Column("JOB", 20),
    Column("AGENT", 16, 2),
    Column("STATE", 7, 1),
    Column("CONN", 5, 3, right=True),
    Column("IN/s", 7, 1, right=True),
    Column("OUT/s", 7, 1, right=True),
    Column("REQ/s", 7, 2, right=True),
    Column("IN", 7, 4, right=True),
    Column("OUT", 7, 4, right=True),
    Column("AGE", 6, 3, right=True),
    Column("UID", 32, 5),
)


def agents_table(rates: Rates, moment: Moment) -> Table:
    """By name."""
    by_agent: dict[str, list[Traffic]] = {}
    through = rates.of_jobs()
    for job in moment.jobs:
        by_agent.setdefault(_agent_of(job, "uid"), []).append(through.get(str(job["uid"]), NOTHING))
    agents = sorted(moment.agents, key=lambda agent: (str(agent["name"] or agent["uid"]), str(agent["uid"])))
    rows = [_agent(agent, total(by_agent.get(str(agent["uid"]), ())), moment.clock) for agent in agents]
    return Table(f"{len(rows)} agents", AGENT_COLUMNS, rows)


def _agent(agent: Mapping[str, Any], traffic: Traffic, clock: float) -> Row:
    state = "away" if not agent["connected"] else "draining" if agent["draining"] else "up"
    most = agent["capacity"].get("jobs", {}).get("total")
    delay = agent.get("loop_delay")
    cells = [
        _safe(agent["name"] or agent["uid"]),
        state,
        f"{agent['jobs']}/{most}" if most is not None else str(agent["jobs"]),
        size(traffic.bytes_in),
        size(traffic.bytes_out),
        number(traffic.requests),
        late(delay),
        ago(agent["connected_at"], clock),
        _safe(agent["version"] or "original"),
        _safe(agent["uid"]),
    ]
    bad = state == "away" or (delay or 0.0) > LATE_SECONDS
    return Row(cells, "bad" if bad else "quiet" if not agent["jobs"] else "")


def jobs_table(rates: Rates, moment: Moment) -> Table:
    """Those with the most traffic first, then the youngest."""
    through = rates.of_jobs()

    def place(job: Mapping[str, Any]) -> tuple[float, str]:
        traffic = through.get(str(job["uid"]), NOTHING)
        return traffic.bytes_in + traffic.bytes_out, str(job["created_at"])

    jobs = sorted(moment.jobs, key=place, reverse=True)
    more = " and more" if moment.more else ""
    rows = [_job(job, through.get(str(job["uid"])), moment.clock) for job in jobs]
    return Table(f"{len(rows)}{more} jobs that have not finished", JOB_COLUMNS, rows)


def _job(job: Mapping[str, Any], traffic: Traffic | None, clock: float) -> Row:
    activity, state, since = job.get("activity") or {}, str(job["state"]), job["started_at"] or job["created_at"]
    if queued := job.get("queue"):
        state, since = f"queue:{queued['position']}", queued["since"]
    cells = [
        _safe(job["name"] or job["uid"]),
        _safe(_agent_of(job, "name") or _agent_of(job, "uid")),
        state,
        str(activity.get("connections", "-")),
        size(traffic.bytes_in if traffic is not None else None),
        size(traffic.bytes_out if traffic is not None else None),
        number(traffic.requests if traffic is not None else None),
        size(activity.get("bytes_in")),
        size(activity.get("bytes_out")),
        ago(since, clock),
        _safe(job["uid"]),
    ]
    busy = traffic is not None and traffic.bytes_in + traffic.bytes_out > 0
    return Row(cells, "" if busy else "quiet")


def router_lines(rates: Rates, moment: Moment, url: str) -> Sequence[str]:
    """Who it is, what goes through it, how it is."""
    who, traffic = moment.router, rates.of_router()
    name = _safe(who["auth"]["name"] or who["auth"]["uid"])
    lines = [f"prouter {_safe(who['version'])}  {name}  {_safe(url)}"]
    if not moment.metrics:
        return [*lines, "no metrics are shown here (the plugin metrics, the action metrics.read)"]
    cpu, loop = rates.of_metric("process_cpu_seconds_total"), moment.metric("prouter_loop_delay_worst_seconds")
    lines.append(
        f"in {size(traffic.bytes_in)}/s  out {size(traffic.bytes_out)}/s  {number(traffic.requests)} requests/s"
        f"  {number(moment.metric('prouter_connections', 'control'))} clients"
        f"  {number(moment.metric('prouter_pipes'))} pipes"
    )
    lines.append(
        f"loop late by {late(loop)} at most  cpu {'-' if cpu is None else f'{cpu * 100:.0f} %'}"
        f"  memory {size(moment.metric('process_resident_memory_bytes'))}"
    )
    return lines


def plain(lines: Sequence[str], tables: Sequence[Table]) -> str:
    """For scripts: columns apart by blanks, nothing is cut."""
    parts = ["\n".join(lines)]
    for table in tables:
        widths = table.widths()
        rows = [[column.title for column in table.columns], *(row.cells for row in table.rows)]
        parts.append("\n".join([table.title, *(_line(row, table.columns, widths) for row in rows)]))
    return "\n\n".join(parts)


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, column, width in zip(cells, columns, widths, strict=True)
    ]
    return (" " * GAP).join(padded).rstrip()


# --- values ---


def size(count: float | None) -> str:
    """Bytes in three digits and a letter; powers of 1024."""
    if count is None:
        return "-"
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f}{unit}" if not unit or count >= 100 else f"{count:.1f}{unit}"


def number(count: float | None) -> str:
    return "-" if count is None else f"{count:.1f}" if 0 < count < 10 and count != int(count) else f"{count:.0f}"


def late(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def ago(time: str | None, clock: float) -> str:
    """Since a time of the API."""
    if time is None:
        return "-"
    seconds = max(0, int(clock - datetime.fromisoformat(time).timestamp()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _agent_of(job: Mapping[str, Any], field: str) -> str:
    """Empty for a job that waits for an agent."""
    return str((job.get("agent") or {}).get(field) or "")


def _safe(text: Any) -> str:
    """Names are others' words: nothing of them reaches the terminal but what can be printed."""
    return "".join(char if char.isprintable() else "?" for char in str(text))
