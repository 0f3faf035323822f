"""The imitations against each other say what the originals said to each other, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import pytest
from imitations import Imitation, Originals
from normal import Story, story
from recordings import read
from replayed import AGENT, ROUTER, TOKEN, TOLD_AGAIN, Replay
from wiretap import wiretap

from prouter.testing.network import reserved_port
from prouter.testing.processes import eventually


@dataclass
class Pair:
    """A router and an agent that dials `port`, where a tap listens, and can be dialed, too."""

    originals: Originals
    router: Imitation
    agent: Imitation
    port: int


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One for all stories: each has a link of its own."""
    made = Originals(tmp_path_factory.mktemp("pair"))
    with reserved_port() as port:
        try:
            router = made.router("--polling-delay", "0.3", token=TOKEN, **ROUTER)
            words = ("--reconnect-delay", "0.05", "--listen", "--accept-token", TOKEN)
            agent = made.agent(*words, router=f"127.0.0.1:{port}", token=TOKEN, **AGENT)
            yield Pair(made, router, agent, port)
        finally:
            made.close()
    assert not made.complaints()


def assert_same(told: Story, recorded: Story) -> None:
    """Call by call, so that a difference is shown where it is."""
    assert told.hello == recorded.hello
    for ours, theirs in zip(told.calls, recorded.calls, strict=False):
        assert ours == theirs
    assert len(told.calls) == len(recorded.calls)


@pytest.mark.parametrize("scenario", TOLD_AGAIN)
async def test_a_story_over_a_link_that_the_agent_dialed(pair: Pair, scenario: str) -> None:
    recording = read(scenario)
    async with wiretap(pair.router.address(), port=pair.port) as tap:
        await eventually(lambda: len(tap.messages) == 2, what="the agent's handshake")
        locator = {"type": "uid", "uid": AGENT["uid"]}
        await Replay(recording, pair.router.url(), locator, tap).run()
        assert_same(story(tap.messages), story(recording.messages))
    await eventually(lambda: not pair.router.open_links(), what="the end of the link")
    assert not pair.originals.complaints()


@pytest.mark.parametrize("scenario", ["create_info_remove_router_dials", "http_get_router_dials"])
async def test_a_story_over_a_link_that_the_router_dialed(pair: Pair, scenario: str) -> None:
    recording = read(scenario)
    async with wiretap(pair.agent.address(), agent_dials=False) as tap:
        locator = {"type": "address", "address": tap.address, "token": TOKEN}
        await Replay(recording, pair.router.url(), locator, tap).run()
        await eventually(lambda: tap.closes, what="the router to drop a link without jobs")
        told = story(tap.messages)
    assert_same(told, story(recording.messages))
    assert (told.counts[0], told.counts[-1]) == (1, 0)
    assert tap.calls()[0].call_id == 2, "the router's handshake was its first"
    assert tap.closes[0] == ("router", 1000)


async def test_properties_are_told_at_the_handshake_and_to_jobs(originals: Originals) -> None:
    recording = read("agent_properties")
    router = originals.router(token=TOKEN, **ROUTER)
    async with wiretap(router.address()) as tap:
        properties = recording.messages[0].fields[2][2]["properties"]
        words = [word for name, value in properties.items() for word in ("--property", f"{name}={value}")]
        originals.agent(*words, router=tap.address, token=TOKEN, **AGENT)
        await eventually(lambda: len(tap.messages) == 2, what="the agent's handshake")
        await Replay(recording, router.url(), {"type": "uid", "uid": AGENT["uid"]}, tap).run()
        assert_same(story(tap.messages), story(recording.messages))


async def test_a_wrong_token_of_an_agent_is_a_close_with_1002_and_its_ids_go_on(originals: Originals) -> None:
    router = originals.router(token="another", **ROUTER)
    async with wiretap(router.address()) as tap:
        originals.agent("--reconnect-delay", "0.05", router=tap.address, token="wrong-token", **AGENT)
        await eventually(lambda: len(tap.closes) >= 2, what="two refusals")
    first, second, *_ = tap.messages
    assert tap.closes[0] == ("router", 1002)
    assert story([first]).hello == story(read("handshake_wrong_token_agent_dials").messages).hello
    assert (first.kind, first.call_id, second.kind, second.call_id) == (1, 1, 1, 2)


async def test_a_wrong_token_of_a_router_is_a_close_with_1002(pair: Pair) -> None:
    async with wiretap(pair.agent.address(), agent_dials=False) as tap, aiohttp.ClientSession() as session:
        locator = {"type": "address", "address": tap.address, "token": "wrong-token"}
        url = f"{pair.router.url()}/jobs/create"
        async with session.post(url, json={"agent": locator, "name": "job"}) as answer:
            assert answer.status == 500
    assert story(tap.messages).hello == story(read("handshake_wrong_token_router_dials").messages).hello
    assert tap.closes == [("agent", 1002)]
