"""However the bytes of both sides are split and interleaved, and wherever they are cut: each answer is that of its
request, whole or told as cut; the job gets each request once and whole; the connection is closed or in step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from exchanges import PIECE, REPEATABLE, THEMES, Asked, Script, Seen, pairs, read_answers, small
from hypothesis import given
from hypothesis import strategies as st
from machine import EXAMPLES, FIN, HIGH, RESET, WAYS, JobEnd, Machine
from smuggling import VECTORS
from smuggling_forms import BEHIND, LAST, Answered, Read, Refused, Vector

OF_A_THEME = st.data()
THEMED = pytest.mark.parametrize("theme", THEMES)
ENDS = st.sampled_from([FIN, RESET])
STALLED = st.sampled_from(["", "", "client", "jobs"])
MOVES = st.lists(st.integers(0, 20), max_size=40)
CUTS = st.lists(st.floats(0, 1), max_size=6)


class Talk:
    """A client's requests and a job's answers in one machine."""

    def __init__(self, talk: list[tuple[Asked, Script]]) -> None:
        self.asked = [asked for asked, _ in talk]
        self.scripts = {f"/job/{number}": script for number, (_, script) in enumerate(talk)}
        self.raw = b"".join(request.raw(number) for number, request in enumerate(self.asked))
        self.machine = Machine(self.play)

    def play(self, job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        script, number = self.scripts.get(target, Script()), target.rpartition("/")[2]
        method = job.requests[-1][0]
        if script.stale and attempt == 1 and len(job.requests) > 1:
            if not job.ended:
                job.end(FIN)
        elif script.early != whole:
            pieces, end = script.sent(number, method)
            job.send(*pieces)
            if end:
                job.end(end)

    def move(self, moves: list[int]) -> None:
        """Deliver, take and wait in this order."""
        machine = self.machine
        for move in moves:
            waiting = machine.ends()
            if move >= 19:
                machine.run(machine.client.stall, not machine.client.stalled)
            elif move >= 17 and machine.jobs:
                end = machine.jobs[-1].transport
                machine.run(end.stall, not end.stalled)
            elif move > 14 or not waiting:
                machine.turn()
            else:
                machine.run(waiting[move % len(waiting)].deliver)

    def send(self, data: bytes, cuts: list[float]) -> None:
        """In parts, cut at these fractions."""
        places = sorted({int(cut * len(data)) for cut in cuts} | {0, len(data)})
        for begin, end in itertools.pairwise(places):
            for part in small(data[begin:end]):
                self.machine.client.send(part)

    def seen(self) -> tuple[list[Seen], bytes]:
        client = self.machine.client
        ended = client.ended or (FIN if client.half else "")
        return read_answers(bytes(client.taken), [request.method for request in self.asked], ended)


@contextmanager
def talking(talk: list[tuple[Asked, Script]], *, way: str, stalled: str) -> Iterator[Talk]:
    made = Talk(talk)
    made.machine.way, made.machine.stalled_jobs = way, stalled == "jobs"
    made.machine.client.stalled = stalled == "client"
    try:
        yield made
    finally:
        made.machine.close()
    assert not made.machine.errors


@THEMED
@given(OF_A_THEME, st.none() | CUTS, MOVES, st.sampled_from(WAYS), STALLED)
@EXAMPLES
def test_a_client_gets_to_each_request_its_answer_or_is_told_that_it_was_cut(
    theme: str, data: st.DataObject, cuts: list[float] | None, moves: list[int], way: str, stalled: str
) -> None:
    with talking(data.draw(pairs(theme)), way=way, stalled=stalled) as made:
        exchange(made, cuts if theme != "short" else None, moves)
        found, rest = made.seen()
        for number, answer in enumerate(found):
            check_answer(made, number, answer)
        check_end(made, found, rest)
        check_jobs(made)
        check_bounds(made)
        if not (made.machine.client.ended or made.machine.client.half):
            in_step(made)


@THEMED
@given(
    OF_A_THEME, st.none() | CUTS, MOVES, st.floats(0, 1), st.sampled_from([FIN, RESET]), st.sampled_from(WAYS), STALLED
)
@EXAMPLES
def test_a_client_that_goes_away_anywhere_leaves_nothing_behind(
    theme: str,
    data: st.DataObject,
    cuts: list[float] | None,
    moves: list[int],
    at: float,
    how: str,
    way: str,
    stalled: str,
) -> None:
    with talking(data.draw(pairs(theme)), way=way, stalled=stalled) as made:
        machine = made.machine
        if theme == "short":  # behind whole requests: there it is while the job is at them
            exchange(made, None, moves, made.raw.find(b"GET", int(at * len(made.raw))) % (len(made.raw) + 1), how)
        else:
            exchange(made, cuts, moves, int(at * len(made.raw)), how)
        found, _ = made.seen()
        for number, answer in enumerate(found):
            check_answer(made, number, answer, gone=True)
        check_jobs(made)
        check_bounds(made)
        assert machine.connections_lost == 1
        assert not machine.tasks
        busy = [job for job in machine.jobs if not job.transport.ended]
        assert len(busy) == len(machine.idle)


@THEMED
@given(OF_A_THEME, CUTS, MOVES, MOVES, st.sampled_from(WAYS), STALLED)
@EXAMPLES
def test_an_endpoint_that_ends_lets_what_is_under_way_come_to_its_end(
    theme: str,
    data: st.DataObject,
    cuts: list[float],
    moves: list[int],
    later: list[int],
    way: str,
    stalled: str,
) -> None:
    with talking(data.draw(pairs(theme)), way=way, stalled=stalled) as made:
        missing = b""
        if theme == "short":
            missing = each_in_turn(made, moves, data.draw(st.integers(0, len(made.raw))))
        else:
            made.send(made.raw, cuts)
            made.move(moves)
        made.machine.drain()
        made.move(later)
        made.send(missing, [])
        made.machine.settle()
        client = made.machine.client
        found, rest = made.seen()
        assert rest == b"" or client.ended == RESET
        for number, answer in enumerate(found):
            if not (answer.own and answer.status == 503):
                check_answer(made, number, answer)
        assert client.ended or client.half
        check_jobs(made)
        assert sum(not job.transport.ended for job in made.machine.jobs) == len(made.machine.idle)


SPLIT = [vector for vector in VECTORS if not isinstance(vector.allowed, Answered)]


@given(st.sampled_from(SPLIT), CUTS, MOVES)
@EXAMPLES
def test_what_others_read_in_two_ways_is_read_in_one_however_it_is_split(
    vector: Vector, cuts: list[float], moves: list[int]
) -> None:
    with talking([], way="", stalled="") as made:
        machine = made.machine
        made.send(vector.bytes_for("/job", "x", vector.data + BEHIND + LAST), cuts)
        made.move(moves)
        machine.settle()
        arrived = [(f"{verb} {target}", body) for job in machine.jobs for verb, target, body, _ in job.requests]
        found, rest = read_answers(bytes(machine.client.taken), ["GET"] * 9, "")
        statuses = [answer.status for answer in found]
        assert rest == b""
        assert machine.client.half or machine.client.ended
        if isinstance(vector.allowed, Refused):
            assert statuses == [vector.allowed.status]
            assert len(arrived) <= vector.allowed.head_may_pass
            assert all(name == "POST /job/x" for name, _ in arrived)
        else:
            assert isinstance(vector.allowed, Read)
            wanted = [(name.replace("<N>", str(vector.number)), body) for name, body in vector.allowed.requests]
            if vector.allowed.stays:
                wanted += [(f"GET /{name}-{vector.number}", b"") for name in ("behind", "last")]
            assert sorted(arrived) == sorted((name.replace(" /", " /job/"), body) for name, body in wanted)
            assert statuses == [200] * len(wanted)


def exchange(made: Talk, cuts: list[float] | None, moves: list[int], length: int | None = None, end: str = "") -> None:
    """Send all requests at once, cut in pieces; or (no `cuts`) each when the one before is answered. Of the bytes only
    this `length`, then this `end`."""
    if cuts is not None:
        made.send(made.raw[:length], cuts)
    else:
        each_in_turn(made, moves, len(made.raw) if length is None else length)
    made.machine.client.send(end)
    made.move(moves)
    made.machine.settle()


def each_in_turn(made: Talk, moves: list[int], left: int) -> bytes:
    """Send these many bytes; what is missing of the last one's body then, where its head was sent."""
    for number, request in enumerate(made.asked):
        made.machine.rest()
        raw = request.raw(number)
        made.send(raw[:left], [])
        made.move(moves)
        if len(raw) >= left:
            return raw[left:] if left >= len(raw) - len(request.raw_body()) else b""
        left -= len(raw)
    return b""


def check_answer(made: Talk, number: int, answer: Seen, *, gone: bool = False) -> None:
    asked, script = made.asked[number], made.scripts[f"/job/{number}"]
    if asked.version == "1.0":
        assert not answer.interim
    if asked.kind != "job":
        if answer.whole:
            assert answer.status == 200
            assert asked.method == "HEAD" or answer.body == f"/{asked.kind}/{number}".encode()
        return
    if answer.own:
        assert answer.whole or gone
        assert answer.status == 502
        assert script.cut is not None or stale(made, number)
        return
    assert answer.lines["x-n"] == str(number)
    assert ("x-changed" in answer.lines) == made.machine.way.startswith("change")
    if asked.method == "HEAD" or script.kind in ("204", "304"):
        return
    if answer.whole:
        assert answer.body == script.body
        assert script.cut is None or made.machine.attempts[f"/job/{number}"] == 2
    else:
        assert script.body.startswith(answer.body)
        own_fault = asked.closes and number < len(made.asked) - 1  # it sent more behind its own close
        assert script.cut is not None or gone or own_fault


def stale(made: Talk, number: int) -> bool:
    """The job closed a kept connection in that moment, and the request may not be sent twice."""
    closers = [made.scripts[f"/job/{before}"].sent("", made.asked[before].method)[1] for before in range(number)]
    once = made.asked[number].method not in REPEATABLE or made.asked[number].framing != "none"
    return once and (made.scripts[f"/job/{number}"].stale or any(closers))


def check_end(made: Talk, found: list[Seen], rest: bytes) -> None:
    """Every request has an answer, or there is a reason why the connection ended before it."""
    client = made.machine.client
    assert rest == b"" or not found or not found[-1].whole or client.ended == RESET
    if found and not found[-1].whole:
        assert client.ended  # a cut is one at once
        return
    if len(found) == len(made.asked):
        last = made.asked[-1].closes or found[-1].lines.get("connection", "").lower() == "close"
        assert bool(client.ended or client.half) == last
        return
    if rest or not found:
        assert client.ended == RESET  # all of it was less than a head
        return
    assert client.ended or client.half
    assert client.ended != RESET or made.asked[len(found) - 1].closes  # which could eat the answer
    assert made.asked[len(found) - 1].closes or found[-1].lines.get("connection", "").lower() == "close"


def check_jobs(made: Talk) -> None:
    """What a job got are the client's requests, in order, each once and whole; or the job's connection ended."""
    seen: set[str] = set()
    kept: set[str] = set()
    """Came on a connection that was used before: they may come once more."""
    for job in made.machine.jobs:
        for index, (method, target, body, whole) in enumerate(job.requests):
            number = int(target.rpartition("/")[2])
            asked = made.asked[number]
            again = target in seen
            seen.add(target)
            assert not again or (asked.method in REPEATABLE and target in kept)
            if index:
                kept.add(target)
            script = made.scripts[target]
            if (script.extra and script.cut is None) or asked.framing == "trailers":
                assert index == len(job.requests) - 1  # out of step, or may be: it is used no more
            assert method == asked.method
            assert asked.raw_body().startswith(body)
            assert body == asked.raw_body() if whole else job.transport.ended
        numbers = [int(target.rpartition("/")[2]) for _, target, _, _ in job.requests]
        assert numbers == sorted(numbers)


def check_bounds(made: Talk) -> None:
    """Whoever does not read is not written to for ever: what was under way when it stopped, and no more."""
    most = HIGH + 5 * PIECE
    for end in (made.machine.client, *(job.transport for job in made.machine.jobs)):
        assert end.most_unsent <= most


def in_step(made: Talk) -> None:
    """The connection is open: one more request has its own answer."""
    number = len(made.asked)
    made.asked.append(replace(Asked(), lines=("X-Last: 1",)))
    made.scripts[f"/job/{number}"] = Script(body=b"in step")
    made.machine.client.send(made.asked[-1].raw(number))
    made.machine.settle()
    found, rest = made.seen()
    assert rest == b""
    assert (len(found), found[-1].body) == (number + 1, b"in step")
