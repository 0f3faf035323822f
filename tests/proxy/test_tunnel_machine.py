"""What belongs to no exchange, or goes on behind it: tunnels, connections that are kept, and what closes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine import EXAMPLES, FIN, HIGH, RESET, WAYS, End, JobEnd, Machine

from prouter.model.http import AnswerPolicy

PIECES = st.lists(st.binary(min_size=1, max_size=5) | st.just(b"z" * 250), max_size=8)
ENDS = st.sampled_from(["", FIN, FIN, RESET])
MOVES = st.lists(st.integers(0, 20), max_size=40)
UPGRADE = b"GET /job/t HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 S\r\nUpgrade: t\r\nConnection: Upgrade\r\n\r\n"
GET = b"GET /job/%d HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@given(PIECES, PIECES, ENDS, ENDS, MOVES, st.booleans(), st.booleans(), st.sampled_from(WAYS))
@EXAMPLES
def test_bytes_and_ends_pass_a_tunnel_both_ways(
    up: list[bytes],
    down: list[bytes],
    client_end: str,
    job_end: str,
    moves: list[int],
    early: bool,
    glued: bool,
    way: str,
) -> None:
    def switch(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        if whole:
            job.switched = True
            first = down[0] if down and glued else b""
            job.send(SWITCHED + first, *down[bool(first) :], job_end)

    machine = Machine(switch)
    machine.way = way
    try:
        client = machine.client
        for data in [UPGRADE + b"".join(up)] if early else [UPGRADE, *up]:
            client.send(data)
        if early or not client_end:
            machine.rest()
        client.send(client_end)
        shuffle(machine, moves)
        machine.settle()
        job = machine.jobs[0] if machine.jobs else None
        came = bytes(client.taken).removeprefix(b"HTTP/1.1 101 Switching Protocols\r\n").partition(b"\r\n\r\n")[2]
        assert b"".join(down).startswith(came)
        if job is None:
            assert client_end  # which came before anything was decided
            return
        assert b"".join(up).startswith(job.unread)
        if b"101" not in client.taken:
            assert client_end  # before the switch it is no half-close: the client is gone
            assert job.transport.ended == RESET
            return
        if RESET in (client_end, job_end):
            for end in (client, job.transport):
                assert end.ended == RESET
            return
        assert (came, job.unread) == (b"".join(down), b"".join(up))
        both = client_end == job_end == FIN
        for end, other in ((client, job_end), (job.transport, client_end)):
            assert end.half == (other == FIN) or both
            assert end.ended == (FIN if both else "")
            assert end.most_unsent <= HIGH + 2 * 250 + 8 * 250 * early + 500
    finally:
        machine.close()
    assert not machine.errors


def shuffle(machine: Machine, moves: list[int]) -> None:
    for move in moves:
        waiting = machine.ends()
        ends = [machine.client, *(job.transport for job in machine.jobs)]
        if move >= 17:
            end = ends[move % len(ends)]
            machine.run(end.stall, not end.stalled)
        elif not waiting:
            machine.turn()
        else:
            machine.run(waiting[move % len(waiting)].deliver)


def test_a_side_that_ends_after_a_long_silence_still_hears_the_other_one_out() -> None:
    def switch(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        if whole:
            job.switched = True
            job.send(SWITCHED)

    machine = Machine(switch)
    machine.limits = replace(machine.limits, half_close_seconds=0.3)
    try:
        machine.client.send(UPGRADE)
        machine.settle()
        time.sleep(0.35)  # nothing is said for longer than one side may be silent behind the end of the other
        machine.client.send(FIN)
        machine.settle()
        assert machine.jobs[0].transport.half
        assert not machine.client.ended
        machine.jobs[0].send(b"last words")
        machine.settle()
        assert machine.client.taken.endswith(b"last words")
    finally:
        machine.close()
    assert not machine.errors


@pytest.fixture
def machine() -> Iterator[Machine]:
    def answer(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        if whole:
            job.send(OK)

    made = Machine(answer)
    yield made
    made.close()
    assert not made.errors


def answers(machine: Machine) -> int:
    machine.settle()
    return bytes(machine.client.taken).count(b"\r\n\r\nok")


@pytest.mark.parametrize("what", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"x", FIN, RESET])
def test_a_kept_connection_on_which_anything_comes_is_used_no_more(machine: Machine, what: bytes | str) -> None:
    machine.client.send(GET % 1)
    assert answers(machine) == 1
    machine.jobs[0].transport.send(what)
    machine.settle()
    assert not machine.idle
    machine.client.send(GET % 2)
    assert answers(machine) == 2
    assert b"poison" not in machine.client.taken
    assert [len(job.requests) for job in machine.jobs] == [1, 1]


@pytest.mark.parametrize("reads", [False, True])
def test_a_job_that_answers_early_and_never_reads_the_rest_holds_no_connection_for_ever(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    monkeypatch.setattr("prouter.pipe.upstream.UNTAKEN_SECONDS", 0.05)
    machine.client.send(GET % 1)
    assert answers(machine) == 1
    machine.script = lambda job, target, attempt, whole: job.send(OK)
    job = machine.jobs[0].transport
    machine.client.send(b"POST /job/2 HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
    machine.run(machine.client.deliver)
    machine.run(job.stall, True)
    machine.client.send(b"x" * 300)
    machine.rest()
    assert bytes(machine.client.taken).endswith(b"ok")
    assert not job.ended
    if reads:
        machine.run(job.stall, False)
    time.sleep(0.06)
    machine.rest()
    assert job.ended == (FIN if reads else RESET)
    assert len(machine.lost_pipes) == 1


def test_what_a_plan_sets_in_answers_is_in_each_of_them(machine: Machine) -> None:
    """Also where an answer could pass as it came, and where the request is known by heart."""
    machine.policy = AnswerPolicy(set_headers=(("X-Set", "yes"),))
    for number in range(5):
        machine.client.send(GET % number)
        assert answers(machine) == number + 1
    assert machine.by_heart > 0
    assert bytes(machine.client.taken).count(b"\r\nX-Set: yes\r\n") == 5


def test_a_job_that_switches_before_it_read_the_request_is_not_sent_more_than_it_takes(machine: Machine) -> None:
    machine.client.send(GET % 1)
    assert answers(machine) == 1
    job, asked = machine.jobs[0].transport, UPGRADE[:-2] + b"X-Long: " + b"z" * 1000 + b"\r\n\r\n"
    machine.run(job.stall, True)
    machine.client.send(asked)
    machine.rest()
    job.send(SWITCHED)
    machine.rest()
    assert b"HTTP/1.1 101 " in machine.client.taken
    machine.jobs[0].switched = True
    for _ in range(20):
        machine.client.send(b"x" * 100)
    machine.rest()
    assert job.most_unsent < len(asked) + 500
    machine.settle()
    assert job.taken.endswith(b"\r\n\r\n" + b"x" * 2000)


@pytest.mark.parametrize("what", [b"x", FIN])
def test_a_kept_connection_is_used_no_more_in_the_very_turn_in_which_it_ends(
    machine: Machine, what: bytes | str
) -> None:
    machine.client.send(GET % 1)
    assert answers(machine) == 1
    machine.jobs[0].transport.send(what)
    machine.client.send(b"POST /job/2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
    machine.loop.call_soon(machine.jobs[0].transport.deliver)
    machine.run(machine.client.deliver)
    assert answers(machine) == 2
    assert [len(job.requests) for job in machine.jobs] == [1, 1]


def test_many_requests_that_are_alike_need_one_connection_and_are_known_by_heart(machine: Machine) -> None:
    for number in range(10):
        machine.client.send(GET % number)
        assert answers(machine) == number + 1
    assert [len(job.requests) for job in machine.jobs] == [10]
    assert machine.by_heart >= 8


def test_a_client_that_said_nothing_of_a_close_may_have_sent_more_and_still_gets_its_answer() -> None:
    """A close with bytes unread would be a reset, which can eat the answer: our half is closed, and we wait."""

    def until_close(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        if whole:
            job.send(b"HTTP/1.1 200 OK\r\n\r\nok", FIN)

    machine = Machine(until_close)
    try:
        client: End = machine.client
        client.send(GET % 1)
        assert answers(machine) == 1
        assert client.half
        assert not client.ended
        client.send(GET % 2)
        client.send(FIN)
        assert answers(machine) == 1
        assert client.ended
        assert [len(job.requests) for job in machine.jobs] == [1]
    finally:
        machine.close()
    assert not machine.errors


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_with_the_switch_passes(way: str) -> None:
    def switch(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        if whole:
            job.switched = True
            job.send(SWITCHED + b"first", b"second")

    machine = Machine(switch)
    machine.way = way
    try:
        machine.client.send(UPGRADE)
        machine.settle()
        assert machine.client.taken.endswith(b"\r\n\r\nfirstsecond")
    finally:
        machine.close()
    assert not machine.errors


@pytest.mark.parametrize("way", WAYS)
def test_a_head_does_not_wait_for_its_body(way: str) -> None:
    def begin(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        if whole:
            job.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    machine = Machine(begin)
    machine.way = way
    try:
        machine.client.send(GET % 1)
        machine.settle()
        assert machine.client.taken.endswith(b"\r\n\r\n")
    finally:
        machine.close()
    assert not machine.errors
