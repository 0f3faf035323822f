"""The recordings once more, our router in the place of the original: it asks an agent the same, call by call."""

from __future__ import annotations

from typing import Any

import pytest
from imitations import Originals
from normal import Call, story
from recordings import Recorded, read
from replayed import AGENT, Replay
from wiretap import wiretap

from prouter.testing import Fleet, eventually

TOLD_AGAIN = [
    "archive",
    "batch_wait",
    "create_info_remove",
    "file_upload_download",
    "http_304",
    "http_chunked",
    "http_get",
    "http_head",
    "http_post_100k",
    "ws_closed_by_job",
    "ws_echo",
]
OF_ITS_OWN = frozenset(("job_wait", "job_info"))
"""What our router asks when it likes: a wait for each job that runs, from which everybody learns of its end."""
PROXYING = frozenset(("http_request", "ws_connect"))
"""Methods whose last argument are headers: ours are those of a proxy, docs/compatibility.md has them."""


def asked(messages: list[Recorded]) -> list[list[Any]]:
    """What the router said in each call."""
    said = story([message for message in messages if message.kind not in (1, 6)])
    return [_without_headers(call) for call in said.calls if call.method not in OF_ITS_OWN]


def _without_headers(call: Call) -> list[Any]:
    if call.method not in PROXYING:
        return call.router
    *head, arguments, named = call.router[0]
    return [[*head, arguments[:-1], named], *call.router[1:]]


@pytest.mark.parametrize("scenario", TOLD_AGAIN)
async def test_an_original_agent_is_asked_what_an_original_router_asks(
    fleet: Fleet, originals: Originals, scenario: str
) -> None:
    recording = read(scenario)
    router = fleet.router("identity.uid='golden-router'", "identity.name='golden router'")
    host, port = router.address("server")
    async with wiretap(f"{host}:{port}") as tap:
        originals.agent("--reconnect-delay", "0.1", router=tap.address, token=router.agent_token, **AGENT)
        async with router.client() as client:

            async def there() -> bool:
                return [agent["uid"] for agent in await client.agents()] == [AGENT["uid"]]

            await eventually(there)
        await Replay(recording, router.url(), {"type": "uid", "uid": AGENT["uid"]}, tap).run()
        ours, theirs = asked(tap.messages), asked(recording.messages)
    for now, then in zip(ours, theirs, strict=False):
        assert now == then
    assert len(ours) == len(theirs)
