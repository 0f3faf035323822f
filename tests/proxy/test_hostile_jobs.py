"""Each vector of hostile_jobs.py: its client gets one answer, an error of ours in its place or a cut; never a second
answer, and the connection is closed or in step. On the short way of requests that are alike, for clients of HTTP/1.0
(whose answers nobody passes as they came), and in the machine for every split.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import pytest
from exchanges import Seen, read_answers
from hostile_jobs import SWITCHES, VECTORS, Cut, Hostile, NoAnswer, One
from hypothesis import given
from hypothesis import strategies as st
from machine import EXAMPLES, FIN, RESET, JobEnd, Machine
from proxied import Proxied


@pytest.fixture(scope="module")
def target(make_job: Callable[..., Proxied]) -> Proxied:
    return make_job()


def judge(vector: Hostile, found: list[Seen], rest: bytes) -> None:
    """`found`: the answer to the hostile job's request and to another one behind it, for as long as there were any."""
    assert not any(b"poison" in answer.body for answer in found)
    assert rest == b""
    first = found[0]
    match vector.allowed:
        case NoAnswer():
            assert (first.status, first.own, first.whole) == (502, True, True)
            assert in_step(found)
        case Cut():
            assert not first.whole or (first.status == 502 and first.own)
            assert len(found) == 1 or (first.own and in_step(found))
        case One(body=body, status=status, ends=ends):
            assert (first.status, first.body, first.whole) == (status, body, True)
            assert in_step(found) or ends or first.lines["connection"] == "close"


def in_step(found: list[Seen]) -> bool:
    return len(found) == 2 and found[1].whole and found[1].body.startswith(b"GET /after ")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_a_client_gets_one_answer_or_is_told_that_there_is_none(
    target: Proxied, vector: Hostile, version: str
) -> None:
    target.says("answer", vector.data)
    keep = ("Connection: keep-alive",)
    async with target.wired() as wire:
        for _ in range(3 if version == "1.1" else 1):
            await wire.send(target.request("/good", *keep, version=version))
            assert (await wire.answer()).status == 200
        await wire.send(target.request(f"/say/answer?then={vector.behind}", *keep, version=version))
        with contextlib.suppress(ConnectionError):  # a cut may come before that
            await wire.send(target.request("/after", "Connection: close"))
        data, how = await wire.rest()
    if how != "end" and not data and isinstance(vector.allowed, Cut):
        return  # a reset takes with it what had come and was not read yet: that is a cut, too
    judge(vector, *read_answers(data, ["GET", "GET"], FIN if how == "end" else RESET))
    if version == "1.0":
        assert b"HTTP/1.1 103" not in data


@pytest.mark.parametrize("name", SWITCHES)
async def test_a_job_switches_to_nothing_that_the_client_did_not_ask_for(target: Proxied, name: str) -> None:
    """RFC 9110 7.8: behind it the two would speak what nobody looks at, HTTP/2 for one."""
    target.says("switches", SWITCHES[name])
    async with target.wired() as wire:
        await wire.send(target.request("/say/switches?then=keep", "Connection: Upgrade", "Upgrade: Torture"))
        answer = await wire.answer()
        assert answer.status == 502
        assert b"not asked for" in answer.body
        assert b"poison" not in answer.body
        await wire.send(target.request("/after", "Connection: close"))
        assert (await wire.answer()).body.startswith(b"GET /after ")


@given(st.sampled_from(VECTORS), st.lists(st.floats(0, 1), max_size=5), st.sampled_from(["1.1", "1.0"]))
@EXAMPLES
def test_however_it_is_split(vector: Hostile, cuts: list[float], version: str) -> None:
    def play(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        if target == "/job/after":
            job.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nGET /after x" * whole)
        elif whole:
            places = sorted({int(cut * len(vector.data)) for cut in cuts} | {0, len(vector.data)})
            job.send(*(vector.data[a:b] for a, b in itertools.pairwise(places)))
            if vector.behind in ("close", "reset"):
                job.end(FIN if vector.behind == "close" else RESET)

    machine = Machine(play)
    try:
        for rest, line in (("x", "keep-alive"), ("after", "close")):
            text = f"GET /job/{rest} HTTP/{version}\r\nHost: x\r\nConnection: {line}\r\n\r\n"
            machine.client.send(text.encode())
            machine.settle()
        client = machine.client
        judge(vector, *read_answers(bytes(client.taken), ["GET", "GET"], client.ended or (FIN if client.half else "")))
    finally:
        machine.close()
    assert not machine.errors
