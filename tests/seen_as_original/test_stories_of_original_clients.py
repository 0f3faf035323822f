"""Every story of an original's client, told to an imitation of the original router with our agent behind it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from imitations import Originals
from scenarios import STORIES, OriginalClient, http_chunked_and_gzip, http_post_chunked, job_server
from test_matrix import connected, the_agent_dials, the_router_dials

from prouter.testing import Fleet

STORY_SECONDS = 60.0
NOT_OF_AN_ORIGINAL_ROUTER = (http_post_chunked, http_chunked_and_gzip)
"""It wants the length of an upload, and sends the length of the gzip along with what was in it."""


@pytest.mark.parametrize("dial", [the_agent_dials, the_router_dials])
async def test_every_story_is_true_of_an_original_router_with_our_agent(
    fleet: Fleet, originals: Originals, dial
) -> None:
    pair = dial(fleet, originals, "original", "ours")
    await connected(pair)
    client = OriginalClient(pair.base, pair.locator, job_server())
    failed: list[Exception] = []
    for story in (story for story in STORIES if story not in NOT_OF_AN_ORIGINAL_ROUTER):
        try:
            async with asyncio.timeout(STORY_SECONDS):
                await story(client)
        except (AssertionError, aiohttp.ClientError, TimeoutError, TypeError, KeyError) as error:
            error.add_note(f"in the story {story.__name__}")
            failed.append(error)
    if failed:
        raise ExceptionGroup("original router, our agent", failed)
