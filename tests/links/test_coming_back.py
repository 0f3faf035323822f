"""A link that is lost comes back, and meanwhile nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, BrokenNetwork, RouterDaemon, eventually
from prouter.testing.fleet import serving_job

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
QUICK = "links.ping_interval=0.2"


async def answer_of(client: Client, job: Job) -> tuple[int, str]:
    async with client.session.get(job.url()) as answer:
        return answer.status, await answer.text()


def on_the_same_ports(router: RouterDaemon) -> None:
    """Killed, and started anew where its agents look for it."""
    router.stay_put("server", "control")
    router.kill()
    router.start()


@contextmanager
def standing_still(agent: AgentDaemon) -> Iterator[None]:
    agent.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        agent.signal(signal.SIGCONT)


async def is_away(client: Client, agent: AgentDaemon) -> bool:
    """Known and not connected; one that is not known at all is another matter."""
    return any(found["uid"] == agent.uid and not found["connected"] for found in await client.agents())


async def test_after_the_router_was_killed_the_same_job_answers_at_the_same_path(fleet) -> None:
    router, agent = await fleet.pair("client.reconnect_delay=0.3")
    async with router.client() as client:
        job = await serving_job(client, agent, SERVER)
        status, pid = await answer_of(client, job)
        assert status == 200
        on_the_same_ports(router)

        async def answers_again() -> bool:
            return (await answer_of(client, job)) == (200, pid)

        await eventually(answers_again)
        await job.refresh()
        assert (job.info["state"], str(job.info["pid"])) == ("RUNNING", pid)
        assert job.info["agent"]["connected"]


async def test_a_router_that_just_started_says_come_back_and_not_never_heard_of_it(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "kept")
        kept = router.place / "state" / "agents.json"
        await eventually(lambda: kept.exists() and agent.uid in kept.read_text())
        with standing_still(agent):
            on_the_same_ports(router)
            for path in (job.path, f"/jobs/{job.info['uid']}"):
                async with client.session.get(f"{router.url()}{path}/info") as answer:
                    assert answer.status == 503, await answer.text()
                    assert int(answer.headers["Retry-After"]) > 0
        await router.agent_is_there(agent)
        await job.refresh()


async def test_an_agent_that_stands_still_is_away_until_it_goes_on(fleet) -> None:
    router = fleet.router(QUICK, "proxy.reconnect_wait=0.1")
    agent = fleet.agent(router, "client.reconnect_delay=0.3")
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await serving_job(client, agent, SERVER)
        with standing_still(agent):
            await eventually(lambda: is_away(client, agent), seconds=10)
            (listed,) = await client.jobs()
            assert listed.info["agent"]["connected"] is False
            assert listed.info["state"] == "RUNNING"
            for url in (job.url(), router.url() + job.path + "/file/x"):
                async with client.session.get(url) as answer:
                    assert answer.status == 503, await answer.text()
                    assert int(answer.headers["Retry-After"]) > 0
            with pytest.raises(RequestFailed, match="connection not found") as error:
                await client.create({"type": "uid", "uid": agent.uid}, "too late")
            assert error.value.http_status == 404
        await router.agent_is_there(agent)
        assert (await answer_of(client, job))[0] == 200


async def test_an_agent_away_for_longer_than_the_orphan_timeout_is_unknown(fleet) -> None:
    router = fleet.router(QUICK, "jobs.orphan_timeout=1")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "kept")
        agent.kill()
        await eventually(lambda: is_away(client, agent), seconds=10)

        async def unknown() -> bool:
            with pytest.raises(RequestFailed) as error:
                await job.refresh()
            return error.value.http_status == 404

        await eventually(unknown, seconds=15)
        assert await client.agents() == []


@pytest.mark.parametrize("who_notices", ["router", "agent"])
async def test_either_end_notices_a_line_that_fell_silent(fleet, who_notices: str) -> None:
    router = fleet.router(*[QUICK] * (who_notices == "router"))
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        settings = ["client.reconnect_delay=0.3", *[QUICK] * (who_notices == "agent")]
        agent = fleet.agent(router, *settings, f"client.address='{line.authority}'")
        await router.agent_is_there(agent)
        line.fall_silent()
        if who_notices == "router":
            await eventually(lambda: is_away(client, agent), seconds=10)
        else:
            await eventually(lambda: "nothing came over a link" in agent.log, seconds=10)
        line.flow()
        await router.agent_is_there(agent)


async def test_a_silent_line_is_noticed_within_15_seconds_by_default(fleet) -> None:
    router = fleet.router()
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, f"client.address='{line.authority}'")
        await router.agent_is_there(agent)
        line.fall_silent()
        begun = time.monotonic()
        await eventually(lambda: is_away(client, agent), seconds=18)
        await eventually(lambda: "nothing came over a link" in agent.log, seconds=5)
        assert time.monotonic() - begun < 18


async def test_a_link_with_nothing_to_say_stays(fleet) -> None:
    router = fleet.router(QUICK)
    agent = fleet.agent(router, QUICK)
    await router.agent_is_there(agent)
    await asyncio.sleep(2)  # ten times the interval: that nothing happens can only be waited for
    assert agent.log.count("linked to router") == 1
    assert "nothing came" not in router.log + agent.log


async def test_a_job_goes_on_while_no_router_is_there(fleet) -> None:
    router, agent = await fleet.pair("client.reconnect_delay=0.3")
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "alone")
        program = "import time\nwhile not __import__('os').path.exists('go'): time.sleep(0.02)\nprint('went on')"
        await job.start([sys.executable, "-c", program], port_expected_count=0)
        router.kill()
        (agent.sandbox(job) / "go").touch()
        out = agent.sandbox(job) / ".pagent.stdout"
        await eventually(lambda: "went on" in out.read_text())
        on_the_same_ports(router)
        await router.agent_is_there(agent)
        await job.wait(20)
        assert (job.info["state"], job.info["exit_code"]) == ("FINISHED", 0)
