"""R1: a proxied request that has not begun waits for its agent to be back, as long as it is promised and no more."""

from __future__ import annotations

import asyncio
import io

import aiohttp

from prouter.client import Client
from prouter.testing import BrokenNetwork, RouterDaemon, eventually, serving_job

REPEATS = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"nothing"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
LONG_WAIT = "proxy.reconnect_wait=60"
QUICK = "client.reconnect_delay=0.2"


async def is_away(client: Client) -> bool:
    return [agent["connected"] for agent in await client.agents()] == [False]


async def answer(session: aiohttp.ClientSession, verb: str, url: str, body: bytes = b"") -> tuple[int, bytes]:
    async with session.request(verb, url, data=io.BytesIO(body) if body else None) as got:
        return got.status, await got.read()


async def test_requests_wait_until_the_agent_is_back_and_one_too_many_does_not(fleet) -> None:
    router = fleet.router(LONG_WAIT, "proxy.reconnect_waiters=3")
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, QUICK, f"client.address='{line.authority}'")
        await router.agent_is_there(agent)
        job = await serving_job(client, agent, REPEATS)
        body = b"x" * 100_000
        assert (await answer(client.session, "POST", job.url(), b"warm"))[0] == 200
        line.refuse()
        await eventually(lambda: is_away(client))
        waiting = [asyncio.create_task(answer(client.session, "POST", job.url(), body)) for _ in range(4)]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        assert [one_too_many.result()[0] for one_too_many in done] == [503]
        line.take_again()
        assert [await each for each in pending] == [(200, body)] * 3


async def test_a_router_that_ends_lets_nobody_wait(fleet) -> None:
    router = fleet.router(LONG_WAIT, "shutdown.drain_timeout=60")
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, QUICK, f"client.address='{line.authority}'")
        await router.agent_is_there(agent)
        job = await serving_job(client, agent, REPEATS)
        line.refuse()
        await eventually(lambda: is_away(client))
        waiting = asyncio.create_task(answer(client.session, "GET", job.url()))
        assert await says_away(client, router, job.path)
        ended = asyncio.create_task(asyncio.to_thread(router.stop))
        assert (await waiting)[0] == 503
        assert await ended == 0


async def test_after_the_time_the_answer_is_503_and_says_when_to_ask_again(fleet) -> None:
    router = fleet.router("proxy.reconnect_wait=0.3")
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, QUICK, f"client.address='{line.authority}'")
        await router.agent_is_there(agent)
        job = await serving_job(client, agent, REPEATS)
        line.refuse()
        await eventually(lambda: is_away(client))
        async with client.session.get(job.url()) as got:
            problem = await got.json(content_type=None)
        assert (got.status, problem["type"], problem["retryable"]) == (503, "urn:prouter:agent-away", True)
        assert int(got.headers["Retry-After"]) > 0


async def test_a_request_waits_for_an_agent_of_the_routers_last_run(fleet) -> None:
    router = fleet.router(LONG_WAIT)
    async with BrokenNetwork(router.address("server")) as line, router.client() as client:
        agent = fleet.agent(router, QUICK, f"client.address='{line.authority}'")
        await router.agent_is_there(agent)
        job = await serving_job(client, agent, REPEATS)
        kept = router.place / "state" / "agents.json"
        await eventually(lambda: kept.exists() and agent.uid in kept.read_text())
        line.refuse()
        started_anew(router)
        waiting = asyncio.create_task(answer(client.session, "GET", job.url()))
        assert await says_away(client, router, job.path)
        assert not waiting.done()
        line.take_again()
        assert await waiting == (200, b"nothing")


async def says_away(client: Client, router: RouterDaemon, path: str) -> bool:
    return (await answer(client.session, "GET", f"{router.url()}{path}/info"))[0] == 503


def started_anew(router: RouterDaemon) -> None:
    """Killed, and started where everybody looks for it."""
    router.stay_put("server", "control")
    router.kill()
    router.start()
