"""`prouter top`: agents, jobs and what goes through them, in a terminal that is a real one, or once for scripts."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from terminal import ENTER, LEAVE, SHOW_CURSOR, Terminal, terminal

from prouter.cli.top.asked import Moment
from prouter.cli.top.rates import Rates
from prouter.cli.top.tables import JOB_COLUMNS, Row, Table, agents_table, jobs_table, number, size
from prouter.client import Client, Job
from prouter.testing import AgentDaemon, RouterDaemon, eventually
from prouter.testing.fleet import Fleet, serving_job
from prouter.testing.network import reserved_port

TOKEN = "0123456789abcdef0123456789abcdef"
ASKED = "--interval=0.3"
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "10000")
        self.end_headers()
        self.wfile.write(b"x" * 10000)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
ESCAPES = "\x1b]0;owned\x07\x1b[31mred"
"""What a terminal would obey, in the name of a job."""


@asynccontextmanager
async def asked_again_and_again(job: Job, client: Client) -> AsyncIterator[None]:
    async def ask() -> None:
        while True:
            with suppress(OSError):  # also while its router is away
                async with client.session.get(job.url()) as answer:
                    await answer.read()
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def shown(seen: Terminal, *texts: str) -> None:
    def all_are_there() -> bool:
        assert seen.process.poll() is None, seen.raw
        assert all(text in seen.text for text in texts), seen.text
        return True

    await eventually(all_are_there, what=f"{texts} on the screen")


def cells(seen: Terminal, first: str) -> list[str]:
    return next((line.split() for line in seen.screen if line.startswith(first)), [])


async def busy(fleet: Fleet, client: Client, agent: AgentDaemon) -> Job:
    await client.create({"type": "uid", "uid": agent.uid}, ESCAPES)
    return await serving_job(client, agent, SERVER, "busy-job")


async def test_it_shows_what_goes_on_through_all_that_happens(fleet: Fleet) -> None:
    """Traffic, a narrow terminal, a router that goes and comes back, and Ctrl-C."""
    with reserved_port() as control, reserved_port() as server:
        places = (f"control.port={control}", f"server.port={server}")
        router = fleet.router(*places, environ={"PROUTER_CONTROL__TOKENS": f"['{TOKEN}']"})
        agent = fleet.agent(router, "identity.name=machine", "jobs.activity_interval=0.1", "client.reconnect_delay=0.1")
        await router.agent_is_there(agent, token=TOKEN)
        async with (
            router.client(TOKEN) as client,
            asked_again_and_again(await busy(fleet, client, agent), client),
            terminal("top", "--url", router.url(), ASKED, environ={"PROUTER_TOKEN": TOKEN}) as seen,
        ):
            await shown(
                seen, router.uid, "1 agents", "2 jobs", "requests/s", "loop late by", "busy-job", "?]0;owned??[31m"
            )
            await eventually(lambda: cells(seen, "busy-job")[5:6] not in ([], ["0"]), what="bytes a second of the job")
            assert cells(seen, "machine")[:3] == ["machine", "up", "1"]
            assert max(map(len, seen.screen)) > 60
            seen.resize(44)
            await eventually(lambda: 0 < max(map(len, seen.screen)) <= 44 and "busy-job" in seen.text)
            seen.resize(120)
            await it_outlives_its_router(seen, router, agent)
            seen.press_ctrl_c()
            await eventually(lambda: seen.process.poll() is not None, what="the end")
            await eventually(lambda: LEAVE in seen.raw)
    assert seen.process.returncode == 0
    assert ENTER in seen.raw
    assert SHOW_CURSOR in seen.raw[-40:]
    assert "Traceback" not in seen.raw
    assert "\x1b]0;" not in seen.raw, "what is in a job's name is not obeyed"
    assert "\x07" not in seen.raw


async def it_outlives_its_router(seen: Terminal, router: RouterDaemon, agent: AgentDaemon) -> None:
    router.kill()
    await shown(seen, "no router answers", "s old", "busy-job")
    router.start()
    await router.agent_is_there(agent, token=TOKEN)
    await eventually(lambda: "s old" not in seen.text and "busy-job" in seen.text, what="news of the router")


async def test_once_it_prints_plain_tables_and_needs_nothing_for_that(fleet: Fleet) -> None:
    router, agent = await fleet.pair("identity.name=machine", "jobs.activity_interval=0.1", "jobs.capacity=2")
    async with router.client() as client, asked_again_and_again(await busy(fleet, client, agent), client):
        await client.create({"type": "uid", "uid": agent.uid}, "patient", queue_seconds=60)
        printed = await asyncio.to_thread(without_rich, "top", "--once", ASKED, "--url", router.url())
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert lines[0].split()[2:] == [router.uid, router.url()]
    row = next(line for line in lines if line.startswith("busy-job")).split()
    assert row[1:3] == ["machine", "RUNNING"]
    assert row[5] not in ("0", "-"), "bytes a second to clients"
    waits = next(line for line in lines if line.startswith("patient")).split()
    assert waits[1] == "queue:1"
    assert "-" not in waits[-2], "since when it waits"
    assert any(line.startswith("machine") and agent.uid in line for line in lines)
    assert "\x1b" not in printed.stdout


def without_rich(*words: str) -> subprocess.CompletedProcess[str]:
    """A prouter where rich is not installed."""
    program = "import sys; sys.modules['rich'] = None; from prouter.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60, check=False
    )


async def test_why_it_shows_nothing_is_said(fleet: Fleet, tmp_path: Path) -> None:
    """No terminal, no rich, no right, no answer: one sentence each, and the status of a failure."""
    router = fleet.router(environ={"PROUTER_CONTROL__TOKENS": f"['{TOKEN}']"})
    nowhere = await asyncio.to_thread(without_rich, "top")
    assert (nowhere.returncode, "--once" in nowhere.stderr) == (2, True)
    (tmp_path / "rich.py").write_text("raise ImportError")
    async with terminal("top", environ={"PYTHONPATH": str(tmp_path)}) as seen:
        await eventually(lambda: "pip install 'prouter[top]'" in seen.raw)
        await eventually(lambda: seen.process.poll() is not None)
    assert seen.process.returncode == 2
    async with terminal("top", "--url", router.url(), environ={"PROUTER_TOKEN": "wrong"}) as seen:
        await eventually(lambda: seen.process.poll() is not None)
        await eventually(lambda: "prouter: 401" in seen.raw)
    assert seen.process.returncode == 1
    assert "Traceback" not in seen.raw
    router.signal(signal.SIGSTOP)
    try:
        frozen = await asyncio.to_thread(without_rich, "top", "--once", "--timeout=0.5", "--url", router.url())
    finally:
        router.signal(signal.SIGCONT)
    assert frozen.returncode == 1
    assert frozen.stderr == f"prouter: the router at {router.url()} does not answer within 0.5 s (--timeout)\n"


def moment(at: float, count: int, requests: int | None = None) -> Moment:
    activity = {"bytes_in": count, "bytes_out": 2 * count, "connections": 1}
    if requests is not None:
        activity["requests"] = requests
    agent = {"uid": "a", "name": "", "connected": True, "draining": False, "jobs": 1, "capacity": {}}
    job = {"uid": "j", "name": "", "state": "RUNNING", "agent": {"uid": "a"}, "activity": activity}
    times = {"created_at": "2026-01-01T00:00:00Z", "started_at": None, "connected_at": None, "version": None}
    return Moment(at, 1767225600.0 + at, {}, [agent | times], [job | times], more=False)


def test_rates_are_over_some_seconds_and_outlive_counts_that_begin_anew() -> None:
    rates = Rates()
    assert rates.of_jobs() == {}
    for second in range(30):
        rates.add(moment(float(second), 1000 * second, 5 * second))
    assert 6 <= rates.seconds < 8
    through = rates.of_jobs()["j"]
    assert (through.bytes_in, through.bytes_out, through.requests) == (1000, 2000, 5)
    rates.add(moment(30.0, 6000))
    assert rates.of_jobs()["j"].bytes_in == pytest.approx(6000 / rates.seconds), "an agent that was started anew"
    assert agents_table(rates, moment(31.0, 0)).rows[0].cells[3] == size(6000 / rates.seconds)
    assert jobs_table(rates, moment(31.0, 0)).rows[0].cells[0] == "j"


def test_what_does_not_fit_goes_by_rank_and_the_first_column_stays() -> None:
    table = Table("", JOB_COLUMNS, [Row(["x" * 20] * len(JOB_COLUMNS))])
    for width in range(10, 200):
        titles = [column.title for column in table.fitting(width).columns]
        assert titles[0] == "JOB"
        assert ("UID" in titles) <= ("OUT/s" in titles) <= (len(titles) > 1)


def test_sizes_have_three_digits() -> None:
    assert [size(count) for count in (0, 999, 1000, 1536, 1 << 20, 987654321, None)] == [
        "0", "999", "1.0K", "1.5K", "1.0M", "942M", "-",
    ]  # fmt: skip
    assert [number(count) for count in (0, 0.25, 3.0, 12.4, None)] == ["0", "0.2", "3", "12", "-"]
