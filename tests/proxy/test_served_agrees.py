"""What an aiohttp handler of ours sees is what the acceptor saw: the same requests, the same bodies, no others."""

from __future__ import annotations

import itertools

from exchanges import read_answers, small
from hypothesis import given
from hypothesis import strategies as st
from machine import EXAMPLES, JobEnd, Machine
from smuggling import VECTORS
from smuggling_forms import BEHIND, LAST, Answered, Read, Refused, Vector

from prouter.http1.framing import ChunkDecoder

SEEN = [
    vector
    for vector in VECTORS
    if not isinstance(vector.allowed, Answered)
    and vector.name != "a verb nobody knows"  # of which the routes say 405 before that
]


def nobody(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
    raise AssertionError("no job is asked")


def payload(vector: Vector, body: bytes) -> bytes:
    chunked = b"chunked" in vector.data.lower() and b"Content-Length" not in vector.data
    return ChunkDecoder().feed(body) if chunked else body


def run(vector: Vector, cuts: list[float]) -> None:
    machine = Machine(nobody)
    try:
        data = vector.bytes_for("/serve", "x", vector.data + BEHIND + LAST)
        places = sorted({int(cut * len(data)) for cut in cuts} | {0, len(data)})
        for begin, end in itertools.pairwise(places):
            for part in small(data[begin:end]):
                machine.client.send(part)
        machine.settle()
        found, rest = read_answers(bytes(machine.client.taken), ["GET"] * 9, "")
        assert rest == b""
        assert machine.client.half or machine.client.ended
        if isinstance(vector.allowed, Refused):
            assert [answer.status for answer in found] == [vector.allowed.status]
            assert not machine.served
            return
        assert isinstance(vector.allowed, Read)
        wanted = [name.replace("<N>", str(vector.number)).split(" ") for name, _ in vector.allowed.requests]
        bodies = [payload(vector, body) for _, body in vector.allowed.requests]
        if vector.allowed.stays:
            wanted += [["GET", f"/{name}-{vector.number}"] for name in ("behind", "last")]
            bodies += [b"", b""]
        assert machine.served == [
            (verb, "/serve" + rest, body) for (verb, rest), body in zip(wanted, bodies, strict=True)
        ]
        assert [answer.status for answer in found] == [200] * len(wanted)
    finally:
        machine.close()
    assert not machine.errors


def test_of_all_vectors() -> None:
    for vector in SEEN:
        try:
            run(vector, [])
        except AssertionError as error:
            raise AssertionError(vector.name) from error


@given(st.sampled_from(SEEN), st.lists(st.floats(0, 1), max_size=6))
@EXAMPLES
def test_however_they_are_split(vector: Vector, cuts: list[float]) -> None:
    run(vector, cuts)
