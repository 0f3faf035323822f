"""What could be read in two ways is refused, or read in one, where the agent is an original, too: judged by its job."""

from __future__ import annotations

import pytest
from exchanges import read_answers
from smuggling import VECTORS
from smuggling_forms import BEHIND, LAST, Answered, Read, Refused, Vector
from test_smuggling import send
from tortured import OnV1


@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_what_arrives_at_the_job(v1_job: OnV1, vector: Vector) -> None:
    before = len(v1_job.heard)
    host = "{}:{}".format(*v1_job.router.address("control"))
    async with v1_job.wired() as wire:
        for data in (vector.data + BEHIND, LAST):
            await send(wire, vector.bytes_for(v1_job.prefix, host, data))
        came, _ = await wire.rest()
    found, rest = read_answers(came, ["GET"] * 9, "fin")
    statuses = [answer.status for answer in found]
    arrived = [heard.split(b" HTTP/1.1\r\n")[0].decode() for heard in v1_job.heard[before:] if heard]
    behind = [f"GET /{name}-{vector.number}" for name in ("behind", "last")]
    assert rest == b""
    assert all(answer.whole for answer in found)
    match vector.allowed:
        case Refused(status=status, head_may_pass=may):
            assert statuses == [status]
            assert len(arrived) <= may
            assert not set(arrived) & set(behind)
        case Answered():
            assert (statuses[0] >= 400, statuses[1:], arrived) == (True, [200, 200], behind)
        case Read(requests=requests, stays=stays):
            stays = stays and b" HTTP/1.0\r\n" not in vector.data  # without a length the end is a close for these
            wanted = [verb.replace("<N>", str(vector.number)) for verb, _ in requests]
            carried = [line for line in wanted if not line.startswith("FROBNICATE ")]
            assert arrived == carried + behind * stays
            assert statuses == [200 if line in carried else 501 for line in wanted] + [200, 200] * stays
