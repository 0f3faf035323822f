"""A hostile job on an original agent, which reads answers more freely than we do: still its client gets one answer, an
error or a cut, and the connection is closed or in step.
"""

from __future__ import annotations

import contextlib

import pytest
from exchanges import read_answers
from hostile_jobs import SWITCHES, VECTORS, Hostile
from tortured import OnV1


@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_its_client_gets_no_second_answer(v1_job: OnV1, vector: Hostile) -> None:
    v1_job.says("answer", vector.data)
    behind = "close" if vector.behind == "hang" else vector.behind  # an original waits for as long as its job does
    async with v1_job.wired() as wire:
        await wire.send(v1_job.request(f"/say/answer?then={behind}"))
        with contextlib.suppress(ConnectionError):
            await wire.send(v1_job.request("/after", "Connection: close"))
        data, how = await wire.rest()
    found, rest = read_answers(data, ["GET", "GET"], "fin" if how == "end" else "reset")
    assert rest == b""
    assert all(answer.whole for answer in found[:-1])
    if len(found) == 2:
        assert found[1].body.startswith(b"GET /after ")
    else:
        assert how == "reset" or not found[0].whole or found[0].lines.get("connection", "").lower() == "close"


@pytest.mark.parametrize("name", SWITCHES)
async def test_a_switch_that_was_not_asked_for_is_none(v1_job: OnV1, name: str) -> None:
    v1_job.says("switches", SWITCHES[name])
    async with v1_job.wired() as wire:
        lines = ("Connection: Upgrade", "Upgrade: Torture")
        await wire.send(v1_job.request("/say/switches?then=close", *lines))
        with contextlib.suppress(ConnectionError):
            await wire.send(v1_job.request("/after", "Connection: close"))
        data, _ = await wire.rest()
    assert not data.startswith(b"HTTP/1.1 101 ")
