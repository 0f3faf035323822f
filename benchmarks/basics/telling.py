"""What raw rows of the basics say, for pages. Made of the rows alone."""

from __future__ import annotations

from benchmarks import machine, pages
from benchmarks.proxies.chart import shown
from benchmarks.rows import Measured

MARK = "the basics' table"
WHATS = {
    "first byte": "a job, from its creation to its first proxied byte",
    "first byte, direct": "the same program as a child, to its first byte",
    "start alone": "start alone, of a job that serves nothing",
    "jobs": "jobs created, started, waited for and removed by 8 clients at once",
    "file up": "a file of 1 GiB up, until it is safe on disk",
    "disk": "as many bytes written to that disk and synced, without us",
    "file down": "a file of 1 GiB down",
    "proxied up": "1 GiB through the proxy to a job",
    "proxied down": "1 GiB through the proxy from a job",
    "direct up": "1 GiB to the job, direct",
    "direct down": "1 GiB from the job, direct",
    "v1 GET": "GET, 32 connections, agent of the original kind (imitated)",
    "v1 down": "1 GiB down from a job of such an agent",
    "start of a router": "a router, from the command until it serves",
    "start of an agent": "an agent, from the command until it serves",
    "start of an agent, connected": "an agent, until the router knows it",
    "idle router": "an idle router",
    "idle agent": "an idle agent",
    "guardian": "the guardian of one job",
}
"""In the order of the page."""
UNITS = {
    "ms": "ms",
    "s": "s",
    "a_second": "a second",
    "rate": "a second",
    "p99_ms": "ms p99",
    "rss_mib": "MiB of memory",
    "mib": "MiB of them its own share of what is shared",
    "cpu_ms": "ms of CPU",
    "cpu_s": "s of CPU",
    "cpu_us": "us of CPU each",
    "router_us": "us of them in the router",
    "cpu_percent": "% of a CPU",
}
SHORT = ("first byte", "first byte, direct", "start alone", "jobs", "file down", "file up", "idle router", "idle agent")


def short(measured: Measured) -> str:
    """For the README."""
    about = measured.about
    when = f"{about['at'][:10]}, prouter {about['versions']['prouter']}, {about['cpus']} CPUs, {_rounds(measured)}"
    return "\n\n".join((table(measured, SHORT), f"{when}; CPU is that of router and agent."))


def _rounds(measured: Measured) -> str:
    return f"medians of {len({row['round'] for row in measured.rows})} rounds in one run"


def whole(measured: Measured) -> str:
    """For the page about performance."""
    text = f"{machine.told(measured.about)} {_rounds(measured).capitalize()}; CPU is that of router and agent."
    errors = sum(measured.values("errors"))
    return "\n\n".join((text, table(measured, tuple(WHATS)), f"{errors:g} requests failed."))


def table(measured: Measured, whats: tuple[str, ...]) -> str:
    lines = ["| what | |", "|---|---|"]
    for what in whats:
        medians = [(figure, measured.median(figure, what=what)) for figure in UNITS]
        told = [f"{shown(value)} {UNITS[figure]}" for figure, value in medians if value is not None]
        if told:
            lines.append(f"| {WHATS[what]} | {', '.join(told)} |")
    return "\n".join(lines)


def publish(measured: Measured) -> None:
    """Into README and docs/performance.md."""
    pages.fill(pages.README, MARK, short(measured))
    pages.fill(pages.PERFORMANCE, MARK, whole(measured))
