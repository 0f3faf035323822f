"""R12: a router that is told to end takes nothing new, finishes what was begun, ends in time and leaves jobs alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
from figures import LONG, Figures

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually
from prouter.testing.fleet import serving_job

PROGRAM = (Path(__file__).parent / "leaving_job.py").read_text()
ROOM = 3.0
"""A deadline of a test is so many times what is promised: the machine may be busy."""
NOTHING_NEW_SECONDS = 0.1
SECOND_SIGNAL_SECONDS = 1.0
BEHIND_SECONDS = 2.0
"""What may pass between the end of `shutdown.drain_timeout` and the end of the process."""
HELD, SENT, UNTAKEN = (4000, 800, 200) if LONG else (50, 50, 200)
"""Requests that are at the job, that were sent just now, and that only the kernel knows: the router does not look while
they come."""
AT_ONCE = 500
"""That are sent until they are at the job: a machine of two processors opens a few hundred connections a second."""


@contextlib.asynccontextmanager
async def served(fleet: Fleet, *settings: str) -> AsyncIterator[tuple[RouterDaemon, AgentDaemon, Client, Job]]:
    router = fleet.router(*settings)
    router.stay_put("server", "control")
    agent = fleet.agent(router, "client.reconnect_delay=0.2")
    await router.agent_is_there(agent)
    async with router.client() as client:
        yield router, agent, client, await serving_job(client, agent, PROGRAM)


async def test_what_was_begun_ends_and_nothing_new_begins(fleet: Fleet, figures: Figures) -> None:
    drain = 2.5
    async with served(fleet, "shutdown.drain_timeout=60", f"shutdown.websocket_timeout={drain}") as (
        router,
        agent,
        client,
        job,
    ):
        before = told(await job.refresh())
        get, post = Raw(router), Raw(router)
        await get.ask(f"GET {job.path}/http/held HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await post.ask(f"POST {job.path}/http/held HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhalf")
        upload = Raw(router)
        kind = "Content-Type: application/octet-stream"
        await upload.ask(f"PUT {job.path}/file/f HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: 4\r\n\r\nab")
        kept = Raw(router)
        await kept.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await kept.answer())[0] == 200
        waiting = asyncio.create_task(asked(client, "POST", f"{job.path}/wait"))
        async with (
            client.session.ws_connect(job.url("echo")) as talk,
            client.session.get(f"{client.url}/events") as news,
        ):
            assert await talk.receive_str(timeout=20) == "hello"
            await eventually(lambda: is_begun(client, job, 1))
            began = time.monotonic()
            router.signal(signal.SIGTERM)
            await talk.send_str("still here")
            assert await talk.receive_str(timeout=20) == "still here"
            nothing_new = await refuses_after(router, began)
            figures.record("R12", "no new work", nothing_new, goal=NOTHING_NEW_SECONDS, unit="s")
            assert nothing_new < NOTHING_NEW_SECONDS * ROOM + 1.0
            status, head, body = await ask(router, "GET", "/readyz")
            assert (status, json.loads(body)["status"]) == (503, "not ready")
            await kept.ask("GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for status, head, body in (await kept.answer(), await ask(router, "POST", "/jobs/create")):
                assert (status, json.loads(body)["type"]) == (503, "urn:prouter:unavailable")
                assert json.loads(body)["retryable"]
                assert b"retry-after: " in head.lower()
                assert b"connection: close" in head.lower()
            assert (await waiting)[0] == 503
            assert (await news.read()).endswith(b"\n\n")
            agent.sandbox(job).joinpath("go").touch()
            await post.more(b"body")
            await upload.more(b"cd")
            assert (await get.answer())[::2] == (200, b"held")
            assert (await post.answer())[::2] == (200, b"halfbody")
            assert (await upload.answer())[0] in (200, 201)
            closed = await talk.receive(timeout=drain * ROOM)
            assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)
            assert time.monotonic() - began > drain * 0.9, "it has its time"
            status = await asyncio.to_thread(router.ended, drain * ROOM)
            took = time.monotonic() - began
            figures.record("R12", "the end behind the last Websocket's", took - drain, goal=BEHIND_SECONDS, unit="s")
            assert status == 0
            assert "cut at the deadline" not in router.log
        router.start()
        await router.agent_is_there(agent)
        after = told(await job.refresh())
        figures.record("R12", "jobs that noticed", int(after != before), goal=0)
        assert after == before
        assert await job.read("f") == b"abcd"


async def test_no_request_fails_that_was_sent_before(fleet: Fleet, figures: Figures) -> None:
    settings = ("shutdown.drain_timeout=120", "pipes.per_agent=8000")
    async with served(fleet, *settings) as (router, agent, client, job):
        request = f"GET {job.path}/http/held HTTP/1.1\r\nHost: localhost\r\n\r\n"
        held, sent, untaken = ([Raw(router) for _ in range(count)] for count in (HELD, SENT, UNTAKEN))
        for begun in range(0, HELD, AT_ONCE):
            some = held[begun : begun + AT_ONCE]
            await asyncio.gather(*(each.ask(request) for each in some))
            await eventually(partial(is_begun, client, job, begun + len(some)), seconds=60)
        await asyncio.gather(*(each.ask(request) for each in sent))
        router.signal(signal.SIGSTOP)
        await asyncio.gather(*(each.ask(request) for each in untaken))
        router.signal(signal.SIGTERM)
        router.signal(signal.SIGCONT)
        await refuses_after(router, time.monotonic())
        agent.sandbox(job).joinpath("go").touch()
        answers = await asyncio.gather(*(each.answer() for each in held + sent + untaken), return_exceptions=True)
        failed = [each for each in answers if isinstance(each, BaseException) or each[::2] != (200, b"held")]
        assert await asyncio.to_thread(router.ended, 60) == 0
    figures.record("R12", "requests begun before that failed", len(failed), goal=0)
    figures.record("R12", "requests begun before a router ended", len(answers))
    assert not failed, (len(failed), failed[:3])


async def test_a_second_signal_ends_it_at_once(fleet: Fleet, figures: Figures) -> None:
    async with served(fleet, "shutdown.drain_timeout=60") as (router, agent, client, job):
        pid = (await job.refresh()).info["pid"]
        held = Raw(router)
        await held.ask(f"GET {job.path}/http/held HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: is_begun(client, job, 1))
        router.signal(signal.SIGTERM)
        await refuses_after(router, time.monotonic())
        began = time.monotonic()
        router.signal(signal.SIGTERM)
        await asyncio.to_thread(router.ended, SECOND_SIGNAL_SECONDS * ROOM)
        figures.record("R12", "a second signal", time.monotonic() - began, goal=SECOND_SIGNAL_SECONDS, unit="s")
        await held.cut()
        router.start()
        await router.agent_is_there(agent)
        assert (await job.refresh()).info["pid"] == pid


STUBBORN_ANSWER = """
import asyncio
from prouter import hookimpl
from prouter.model.plugin import Route

class Stubborn:
    @hookimpl
    def prouter_routes(self):
        return [Route(("GET",), "/stubborn", "stubborn.read", "Never ends.", self.answer)]

    async def answer(self, call):
        print("an answer begins", flush=True)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                print("an answer goes on", flush=True)
"""
STUBBORN_END = """
import time
from prouter import hookimpl

class Stubborn:
    @hookimpl
    def prouter_startup(self, router):
        pass  # who was not started is not shut down

    @hookimpl
    def prouter_shutdown(self):
        print("an end begins", flush=True)
        time.sleep(3600)
"""


async def test_no_plugin_and_no_frozen_agent_holds_up_its_end(fleet: Fleet, figures: Figures, tmp_path: Path) -> None:
    """A plugin's answer that takes no notice of being cancelled, and, in a router that gets so far, its shutdown."""
    drains, routers = (1.0, 4.0), []
    # a link to who is frozen takes two seconds to close, then plugins have their turn
    for drain, name, program in zip(drains, ("answer", "end"), (STUBBORN_ANSWER, STUBBORN_END), strict=True):
        (tmp_path / f"{name}.py").write_text(program)
        routers.append(fleet.router(f"shutdown.drain_timeout={drain}", plugins=[tmp_path / f"{name}.py"]))
    agents = [fleet.agent(router) for router in routers]
    for router, agent in zip(routers, agents, strict=True):
        await router.agent_is_there(agent)
        agent.signal(signal.SIGSTOP)
    try:
        asked = Raw(routers[0])
        await asked.ask("GET /stubborn HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: "an answer begins" in routers[0].log)
        each = await asyncio.gather(
            *(ends(router, (drain + BEHIND_SECONDS) * ROOM) for router, drain in zip(routers, drains, strict=True))
        )
        late = max(took - drain for took, drain in zip(each, drains, strict=True))
    finally:
        for agent in agents:
            agent.signal(signal.SIGCONT)
    assert "an answer goes on" in routers[0].log
    assert "an end begins" in routers[1].log
    figures.record("R12", "a stubborn router ends behind its drain timeout", late, goal=BEHIND_SECONDS, unit="s")
    await asked.cut()


async def ends(router: RouterDaemon, deadline_seconds: float) -> float:
    """Seconds until a router that is told to end has done so."""
    began = time.monotonic()
    router.signal(signal.SIGTERM)
    assert await asyncio.to_thread(router.ended, deadline_seconds) == 0
    return time.monotonic() - began


class Raw:
    """A client's connection, of which each byte is sent when it is told."""

    def __init__(self, router: RouterDaemon) -> None:
        self._address = router.address("control")
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, text: str) -> None:
        """Sent, as far as the kernel is concerned."""
        if self._ends is None:
            self._ends = await asyncio.open_connection(*self._address)
        await self.more(text.encode())

    async def more(self, data: bytes) -> None:
        assert self._ends is not None
        self._ends[1].write(data)
        await self._ends[1].drain()

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Its status, head and body; closes the connection where the answer says so."""
        assert self._ends is not None
        reader, writer = self._ends
        async with asyncio.timeout(90):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            body = await reader.readexactly(int(length.partition(b":")[2]))
        if b"connection: close" in head.lower():
            writer.close()
        return int(head.split()[1]), head, body

    async def cut(self) -> None:
        """What became of a request that had no answer: the connection ended."""
        assert self._ends is not None
        reader, writer = self._ends
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                assert await reader.read(1) == b""
        writer.close()


async def ask(router: RouterDaemon, verb: str, path: str) -> tuple[int, bytes, bytes]:
    """On a connection of its own."""
    raw = Raw(router)
    await raw.ask(f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    return await raw.answer()


async def refuses_after(router: RouterDaemon, began: float) -> float:
    """Seconds from `began` until new work is refused."""
    while (await ask(router, "GET", "/jobs"))[0] == 200:
        assert time.monotonic() < began + 40
    return time.monotonic() - began


async def is_begun(client: Client, job: Job, count: int) -> bool:
    async with client.session.get(job.url("begun")) as answer:
        return int(await answer.text()) >= count


async def asked(client: Client, verb: str, path: str) -> tuple[int, bytes]:
    async with client.session.request(verb, client.url + path) as answer:
        return answer.status, await answer.read()


def told(job: Job) -> dict[str, object]:
    """What must stay as it is."""
    return {name: job.info[name] for name in ("uid", "state", "pid", "path", "ports", "started_at")}
