"""A plugin that ends an agent's link on purpose: what goes through it ends, its jobs go on, it comes back by itself."""

from __future__ import annotations

import sys

import aiohttp
import pytest

from prouter import hookspecs, implements
from prouter.errors import AgentAway, AgentNotFound
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid
from prouter.testing import InProcess, eventually

TRICKLES = """
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while True:
            self.wfile.write(b"tick")
            time.sleep(0.05)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Watcher:
    def __init__(self) -> None:
        self.ended: list[str] = []

    @implements(hookspecs.prouter_agent_disconnected)
    def prouter_agent_disconnected(self, agent: AgentInfo, why: str) -> None:
        self.ended.append(why)


async def test_a_link_that_a_plugin_ends(in_process: InProcess) -> None:
    router = await in_process.router(plugins=[Watcher])
    agent = await in_process.agent(router)
    watcher: Watcher = router.plugin("Watcher")
    async with router.client() as client, aiohttp.ClientSession() as session:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        await job.start([sys.executable, "-c", TRICKLES], port={"mode": "assign"})
        async with session.get(job.url()) as answer:
            assert (await answer.content.readexactly(4)) == b"tick"
            await router.services.agents.disconnect(AgentUid(agent.uid), "its token\nwas revoked")
            with pytest.raises(aiohttp.ClientError):  # cut, not ended
                await answer.read()
        await eventually(lambda: watcher.ended == ["its token was revoked"])
        await router.agent_is_there(agent)
        assert (await job.refresh()).info["state"] == "RUNNING"


async def test_a_link_that_no_job_needs_any_more(in_process: InProcess) -> None:
    """Of an agent that the router dialed for a job."""
    router = await in_process.router("client.polling_delay=0.1", plugins=[Watcher])
    agent = await in_process.agent()
    watcher: Watcher = router.plugin("Watcher")
    host, port = agent.address("server")
    async with router.client() as client:
        job = await client.create({"type": "address", "address": f"{host}:{port}", "token": agent.token})
        await (await job.start(["sleep", "0.3"], port_expected_count=0)).wait()
        assert not watcher.ended
        await job.remove()
        await eventually(lambda: watcher.ended == ["no job here needs it: its link is dropped"])
        assert not await client.agents()


async def test_there_must_be_a_link(in_process: InProcess) -> None:
    router = await in_process.router()
    agents = router.services.agents
    with pytest.raises(AgentNotFound):
        await agents.disconnect(AgentUid("nobody"), "why")
    agent = await in_process.agent(router)
    await agent.stop()
    with pytest.raises(AgentAway):
        await eventually(lambda: agents.disconnect(AgentUid(agent.uid), "why"))
