"""The recordings of two originals once more, our agent in the place of the original: it says the same, call by call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from imitations import Imitation, Originals
from normal import Story, story
from recordings import Recorded, read
from replayed import AGENT, ROUTER, TOKEN, TOLD_AGAIN, Replay
from wiretap import wiretap

from prouter.testing import AgentDaemon, Fleet, eventually
from prouter.testing.network import reserved_port

OWN_WORDS = re.compile(r"'SANDBOXES/UID-\d+/")
"""Where an original names a file by its place on the machine; ours says where it is in the sandbox."""
MEMBER_FIELDS_WITHOUT_TIME = (0, 1, 2, 4)


@dataclass
class Pair:
    originals: Originals
    router: Imitation
    agent: AgentDaemon
    port: int


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One for all stories: each has a link of its own."""
    place = tmp_path_factory.mktemp("pair")
    made, fleet = Originals(place), Fleet(place / "ours")
    with reserved_port() as port:
        try:
            router = made.router("--polling-delay", "0.3", token=TOKEN, **ROUTER)
            agent = fleet.agent(
                None,
                f"identity.uid={AGENT['uid']}",
                f"identity.name={AGENT['name']}",
                "client.enabled=True",
                f"client.address='127.0.0.1:{port}'",
                "client.reconnect_delay=0.05",
                environ={"PAGENT_CLIENT__TOKEN": TOKEN},
            )
            yield Pair(made, router, agent, port)
        finally:
            fleet.close()
            made.close()
    assert not made.complaints()


def in_our_words(value: Any) -> Any:
    """What is recorded, without where the original kept sandboxes, and without the times in archives."""
    if isinstance(value, str):
        return OWN_WORDS.sub("'", value)
    if isinstance(value, tuple) and len(value) == 5:
        return tuple(value[index] for index in MEMBER_FIELDS_WITHOUT_TIME)
    if isinstance(value, list):
        return [in_our_words(each) for each in value]
    if isinstance(value, dict):
        return {in_our_words(key): in_our_words(each) for key, each in value.items()}
    return value


def calls_of(messages: Sequence[Recorded]) -> Story:
    """Without the handshake: to ours there is more in it, which an original does not look at."""
    return story([message for message in messages if message.kind not in (1, 6)])


def assert_same(told: Story, recorded: Story) -> None:
    """Call by call, so that a difference is shown where it is."""
    for ours, theirs in zip(told.calls, recorded.calls, strict=False):
        assert ours.method == theirs.method
        assert in_our_words(ours.agent) == in_our_words(theirs.agent), ours.method
        assert in_our_words(ours.router) == in_our_words(theirs.router), ours.method
    assert len(told.calls) == len(recorded.calls)


@pytest.mark.parametrize("scenario", TOLD_AGAIN)
async def test_a_story_over_a_link_that_the_agent_dialed(pair: Pair, scenario: str) -> None:
    recording = read(scenario)
    async with wiretap(pair.router.address(), port=pair.port) as tap:
        await eventually(lambda: len(tap.messages) == 2, what="the agent's handshake")
        await Replay(recording, pair.router.url(), {"type": "uid", "uid": AGENT["uid"]}, tap).run()
        assert_same(calls_of(tap.messages), calls_of(recording.messages))
    await eventually(lambda: not pair.router.open_links(), what="the end of the link")
    assert not pair.originals.complaints()


@pytest.mark.parametrize("scenario", ["create_info_remove_router_dials", "http_get_router_dials"])
async def test_a_story_over_a_link_that_the_router_dialed(pair: Pair, scenario: str) -> None:
    recording = read(scenario)
    host, port = pair.agent.address("server")
    async with wiretap(f"{host}:{port}", agent_dials=False) as tap:
        locator = {"type": "address", "address": tap.address, "token": pair.agent.token}
        await Replay(recording, pair.router.url(), locator, tap).run()
        await eventually(lambda: tap.closes, what="the router to drop a link without jobs")
        told = calls_of(tap.messages)
    assert_same(told, calls_of(recording.messages))
    assert (told.counts[0], told.counts[-1]) == (1, 0)
