"""Either router with either agent, dialed either way: every story of an original's client is true of all of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import pytest
from imitations import Originals
from scenarios import STORIES, OriginalClient, job_server

from prouter.testing import Fleet, eventually

TOKEN = "matrix-token"
STORY_SECONDS = 60.0
NOT_OF_ORIGINAL_ROUTERS = {
    "http_post_chunked": "it takes no upload without a Content-Length",
    "a_text_body": "it takes application/octet-stream only",
    "http_chunked_and_gzip": "it passes on the length of a body that the agent has decompressed",
    "http_head_and_304": "it compresses the body that an answer to HEAD and a 304 have not",
}


@dataclass(frozen=True)
class Pair:
    base: str
    locator: dict[str, str]


def address(host: str, port: int) -> str:
    return f"{host}:{port}"


def the_agent_dials(fleet: Fleet, originals: Originals, router: str, agent: str) -> Pair:
    if router == "ours":
        mine = fleet.router()
        base, server, token = mine.url(), address(*mine.address("server")), mine.agent_token
    else:
        old = originals.router(token=TOKEN)
        base, server, token = old.url(), old.address("server"), TOKEN
    if agent == "original":
        return Pair(base, {"type": "uid", "uid": originals.agent(router=server, token=token).uid})
    dialing = ("client.enabled=True", f"client.address={server!r}")
    return Pair(base, {"type": "uid", "uid": fleet.agent(None, *dialing, environ={"PAGENT_CLIENT__TOKEN": token}).uid})


def the_router_dials(fleet: Fleet, originals: Originals, router: str, agent: str) -> Pair:
    base = fleet.router().url() if router == "ours" else originals.router(token=TOKEN).url()
    if agent == "original":
        old = originals.agent(token=TOKEN)
        return Pair(base, {"type": "address", "address": old.address("server"), "token": TOKEN})
    mine = fleet.agent()
    return Pair(base, {"type": "address", "address": address(*mine.address("server")), "token": mine.token})


async def connected(pair: Pair) -> None:
    if pair.locator["type"] != "uid":
        return
    async with aiohttp.ClientSession() as session:

        async def there() -> bool:
            async with session.get(f"{pair.base}/connections") as answer:
                peers = [each["peer"]["auth"]["uid"] for each in (await answer.json())["connections"]]
            return pair.locator["uid"] in peers

        await eventually(there, what="the agent's connection")


@pytest.mark.parametrize("dial", [the_agent_dials, the_router_dials])
@pytest.mark.parametrize("agent", ["ours", "original"])
@pytest.mark.parametrize("router", ["ours", "original"])
async def test_every_story_is_true_of(fleet, originals, router, agent, dial) -> None:
    pair = dial(fleet, originals, router, agent)
    await connected(pair)
    client = OriginalClient(pair.base, pair.locator, job_server())
    failed: list[Exception] = []
    for story in STORIES:
        if router == "original" and story.__name__ in NOT_OF_ORIGINAL_ROUTERS:
            continue
        try:
            async with asyncio.timeout(STORY_SECONDS):
                await story(client)
        except (AssertionError, aiohttp.ClientError, TimeoutError, TypeError) as error:
            error.add_note(f"in the story {story.__name__}")
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{router} router, {agent} agent", failed)
