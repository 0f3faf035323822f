"""What the loads take from the programs that they use; a load that goes wrong is counted, not forgotten."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.costs import cpu_seconds, family, memory_mib
from benchmarks.proxies.figures import GOALS, OURS, TOLD
from benchmarks.proxies.loads import LOADS, Broken, Length, said, websockets, wrk_count, wrk_figures
from benchmarks.proxies.run import one, pairs
from benchmarks.proxies.systems import SYSTEMS, USED, System, upstream

SAID = """Running 2s test @ http://127.0.0.1:8080/hundred
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.72ms    2.00ms  35.02ms   96.60%
    Req/Sec    15.36k     2.53k   19.58k    60.00%
  Latency Distribution
     50%    950.00us
     75%    1.96ms
     90%    2.60ms
     99%    1.02s
  30617 requests in 2.00s, 4.79MB read
"""
ERRORS = """  Socket errors: connect 1, read 20, write 300, timeout 4000
  Non-2xx or 3xx responses: 50000
"""
RATE = "Requests/sec:  15283.21\nTransfer/sec:      2.39MB\n"


def test_wrk_is_read() -> None:
    assert wrk_count(SAID + RATE) == 30617
    assert wrk_figures(SAID + RATE) == pytest.approx(
        {"rate": 15283.21, "errors": 0.0, "p50_ms": 0.95, "p99_ms": 1020.0}
    )


def test_each_kind_of_error_that_wrk_tells_is_counted() -> None:
    assert wrk_figures(SAID + ERRORS + RATE)["errors"] == 54321


def test_a_wrk_that_says_something_else_is_no_figure() -> None:
    with pytest.raises(Broken, match="unable to connect"):
        wrk_figures("unable to connect to 127.0.0.1:1 Connection refused")


async def test_a_program_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(Broken, match="no such host"):
        await said([sys.executable, "-c", "import sys; sys.exit('no such host')"])


@pytest.fixture
async def direct(tmp_path: Path) -> AsyncIterator[System]:
    async with upstream(tmp_path) as port:
        yield System("direct", "127.0.0.1", port, "", ())


async def test_websockets_go_round(direct: System) -> None:
    found = await websockets(direct, Length(1, 0))
    assert found["errors"] == 0
    assert found["rate"] > 0
    assert found["p99_ms"] >= found["p50_ms"] > 0


async def test_websockets_that_do_not_open_are_counted() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await websockets(System("refusing", "127.0.0.1", port, "", ()), Length(0, 0))
    assert found["errors"] == 64


async def test_a_load_that_can_not_be_measured_is_a_row_with_an_error(tmp_path: Path) -> None:
    nobody = System("nobody", "127.0.0.1", 1, "", ())
    row = await one("down", "nobody", nobody, Length(1, 1), tmp_path)
    assert row["errors"] == 1
    assert "curl" in row["broken"]
    assert "gib_s" not in row


def test_what_a_family_of_processes_costs_is_read() -> None:
    import os
    import subprocess

    words = [sys.executable, "-c", "import subprocess, sys; subprocess.run(['cat'])"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as parent:
        deadline = 500
        while len(found := family([parent.pid])) < 2 and (deadline := deadline - 1):
            assert parent.poll() is None
            os.sched_yield()
        assert len(found) == 2
        assert memory_mib(found) > memory_mib([parent.pid]) > 1
        assert cpu_seconds(found) > 0


def test_rounds_go_through_all_systems_for_each_load_and_every_second_one_backwards() -> None:
    options = argparse.Namespace(loads=["get32", "up", "scraped"])
    there = ["nginx x2", OURS, f"{OURS}, access log"]
    first = list(pairs(options, there, 0))
    assert first == [
        *(("get32", name) for name in there),
        ("up", "nginx x2"),
        ("up", OURS),
        ("scraped", OURS),
    ]
    assert list(pairs(options, there, 1)) == [
        *(("get32", name) for name in reversed(there)),
        ("up", OURS),
        ("up", "nginx x2"),
        ("scraped", OURS),
    ]


def test_every_load_of_the_goals_and_every_system_is_in_the_whole_run() -> None:
    assert {goal.load for goal in GOALS} <= set(TOLD) <= set(LOADS)
    assert {goal.system for goal in GOALS} | {goal.against for goal in GOALS if goal.against} <= set(SYSTEMS)
    assert all(name.startswith(OURS) for name in USED)


def test_what_is_paid_for_when_it_is_used_is_in_the_whole_run() -> None:
    """The command with nothing said, as `make bench` is."""
    options = argparse.Namespace(loads=list(LOADS))
    found = set(pairs(options, [*SYSTEMS, *USED], 0))
    used = ("request hook", "answer hook", "access log", "audit hook", "activity")
    assert found >= {("get32", f"{OURS}, {what}") for what in used} | {("scraped", OURS)}
