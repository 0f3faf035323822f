"""Two of ours whose versions differ: what both can do is used, what one can not do without is said in both logs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from prouter.client import RequestFailed
from prouter.model.agents import Hello
from prouter.model.skew import NEEDED, why_apart
from prouter.testing import eventually

OTHER_VERSION = """
import prouter, prouter.model.agents as agents, prouter.model.skew as skew
prouter.__version__ = {version!r}
agents.PRODUCT_CAPABILITIES = {capabilities!r}
skew.NEEDED = frozenset({needs!r})
"""
FUTURE = ("jobs/2", "watch/2", "pipes/1")


def another_version(place: Path, version: str, capabilities: tuple[str, ...], needs: tuple[str, ...]) -> dict[str, str]:
    """The environment of a daemon that is this version with other capabilities."""
    place.mkdir(exist_ok=True)
    text = OTHER_VERSION.format(version=version, capabilities=capabilities, needs=needs)
    (place / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": os.pathsep.join((str(place), *filter(None, sys.path)))}


def hello(capabilities: object, needs: object = NEEDED, version: str | None = "1") -> Hello:
    return Hello("u", "n", version=version, capabilities=frozenset(capabilities), needs=frozenset(needs))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("here", "there", "who"),
    [
        (hello(NEEDED), hello(NEEDED), None),
        (hello(NEEDED), hello((*NEEDED, "more/7")), None),
        (hello(NEEDED), hello((), (), None), None),
        (hello(NEEDED), hello(("jobs/1",), ()), "watch/1"),
        (hello(NEEDED), hello(NEEDED, ("jobs/2",)), "jobs/2"),
    ],
)
def test_what_both_have_is_enough_and_what_one_needs_must_be_there(here: Hello, there: Hello, who: str | None) -> None:
    sentence = why_apart(here, there)
    assert (sentence is None) == (who is None)
    assert who is None or who in (sentence or "")


async def test_an_agent_from_the_future_is_refused_with_a_sentence_in_both_logs(fleet, tmp_path) -> None:
    router = fleet.router()
    agent = fleet.agent(router, environ=another_version(tmp_path / "v", "9.0", FUTURE, FUTURE))
    for daemon in (router, agent):
        await eventually(lambda daemon=daemon: "lacks jobs/1, watch/1, which" in daemon.log)
        assert "(version 9.0) lacks" in daemon.log
    async with router.client() as client:
        assert await client.agents() == []


async def test_a_router_from_the_future_is_refused_with_a_sentence_in_both_logs(fleet, tmp_path) -> None:
    agent = fleet.agent()
    router = fleet.router(environ=another_version(tmp_path / "v", "9.0", FUTURE, FUTURE))
    host, port = agent.address("server")
    async with router.client() as client:
        with pytest.raises(RequestFailed, match="lacks jobs/1"):
            await client.create({"type": "address", "address": f"{host}:{port}", "token": agent.token}, "x")
    for daemon in (router, agent):
        await eventually(lambda daemon=daemon: "lacks jobs/1, watch/1, which" in daemon.log)


async def test_an_agent_that_can_do_less_works_and_what_it_lacks_is_left_out(fleet, tmp_path) -> None:
    router = fleet.router()
    less = tuple(NEEDED)
    agent = fleet.agent(router, environ=another_version(tmp_path / "v", "0.0.1", less, less))
    await router.agent_is_there(agent)
    async with router.client() as client:
        (found,) = await client.agents()
        assert found["version"] == "0.0.1"
        job = await client.create({"type": "uid", "uid": agent.uid}, "x")
        await job.start(["true"], port_expected_count=0)
        assert (await job.wait()).info["state"] == "FINISHED"
        assert (await job.refresh()).info["activity"] is None
