"""Daemons that have nothing to do: how long they take to come, what they hold, what they do meanwhile."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from benchmarks.costs import cpu_seconds, memory_mib
from benchmarks.daemons import Daemon, Pair, connected, flags, jobs_aside
from benchmarks.proxies.systems import UPSTREAM

Rows = dict[str, dict[str, float]]
SETTLE_SECONDS = 2.0


async def at_rest(pair: Pair, seconds: float) -> Rows:
    """Of both without jobs: all memory that each has, CPU as a share of one; and what one job's guardian holds."""
    await asyncio.sleep(SETTLE_SECONDS)
    rows: Rows = {}
    before = {daemon: cpu_seconds([daemon.pid]) for daemon in (pair.router, pair.agent)}
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    for name, daemon in (("router", pair.router), ("agent", pair.agent)):
        share = (cpu_seconds([daemon.pid]) - before[daemon]) / (time.perf_counter() - begun)
        rows[f"idle {name}"] = {"rss_mib": memory_mib([daemon.pid], "Rss"), "cpu_percent": share * 100}
    job = await pair.client.create({"type": "uid", "uid": pair.uid}, "idle")
    await job.start([sys.executable, str(UPSTREAM)], port={"mode": "assign"})
    guardian = jobs_aside(pair.agent, str(UPSTREAM)) - {pair.agent.pid}
    rows["guardian"] = {"mib": memory_mib(guardian), "rss_mib": memory_mib(guardian, "Rss")}
    await job.remove()
    return rows


async def starts(pair: Pair, place: Path) -> Rows:
    """From the command until a daemon serves; of an agent also until the router knows it."""
    rows: Rows = {}
    begun = time.perf_counter()
    router = Daemon(flags({"state.directory": str(place / "state")}), place / "router", {})
    try:
        await router.where()
        rows["start of a router"] = {
            "ms": (time.perf_counter() - begun) * 1e3,
            "cpu_ms": cpu_seconds([router.pid]) * 1e3,
        }
    finally:
        router.stop()
    words = flags({"jobs.root": str(place / "jobs"), "client.enabled": True, "client.address": pair.server})
    begun = time.perf_counter()
    agent = Daemon(["agent", *words], place / "agent", {"PAGENT_CLIENT__TOKEN": pair.token})
    try:
        uid = (await agent.where())["uid"]
        rows["start of an agent"] = {
            "ms": (time.perf_counter() - begun) * 1e3,
            "cpu_ms": cpu_seconds([agent.pid]) * 1e3,
        }
        await connected(pair.client, uid)
        rows["start of an agent, connected"] = since(begun)
    finally:
        agent.stop()
    return rows


def since(begun: float) -> dict[str, float]:
    return {"ms": (time.perf_counter() - begun) * 1e3}
