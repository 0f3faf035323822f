"""A request that goes the short way ends as it would on the long one, whatever happens amid it.

Bytes of all kinds in any order are the exchange machine's (theme `short`); here stand the cases one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from exchanges import ODD, Asked, Script
from machine import FIN, RESET, JobEnd, Machine
from test_exchange_machine import Talk

from prouter.pluginkit import context
from prouter.web import exchange
from prouter.web.connection import ClientConnection

GET = b"GET /job/%d HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Job:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.parts: tuple[bytes | str, ...] = (OK,)

    def __call__(self, job: JobEnd, target: str, attempt: int, whole: bool) -> None:
        if whole:
            job.send(*self.parts)


@pytest.fixture
def job() -> Job:
    return Job()


@pytest.fixture
def machine(job: Job) -> Iterator[Machine]:
    """With a connection whose next GET goes the short way."""
    made = Machine(job)
    for number in range(2):
        made.client.send(GET % number)
        made.settle()
    assert len(made.idle) == 1
    yield made
    made.close()
    assert not made.errors


def ask(machine: Machine, job: Job, *parts: bytes | str, stalled: bool = False) -> None:
    """The next request, which the job has; it answers with these. `stalled`: who does not read goes on like that."""
    by_heart = machine.by_heart
    job.parts = parts
    machine.client.send(GET % 2)
    if stalled:
        machine.rest()
    else:
        machine.settle()
    assert machine.by_heart == by_heart + 1


def outcome(talk: list[tuple[Asked, Script]], *, long: bool) -> tuple[object, ...]:
    """What everybody has in the end."""
    made = Talk(talk)
    made.machine.way = "long" if long else ""
    try:
        for number, (asked, _) in enumerate(talk):
            made.machine.client.send(asked.raw(number))
            made.machine.rest()
        client, jobs = made.machine.client, made.machine.jobs
        taken = re.sub(rb"(X-Request-Id|Date): [^\r]+", rb"\1: -", bytes(client.taken))
        ends = [(job.transport.ended, job.requests) for job in jobs]
        rows = made.machine.traffic.requests.values()
        counts = [
            sum(column) for column in zip(*((row.count, row.bytes_in, row.bytes_out) for row in rows), strict=True)
        ]
        assert made.machine.by_heart == 0 if long else made.machine.by_heart > 0
        return taken, client.ended, client.half, ends, len(made.machine.idle), counts
    finally:
        made.machine.close()
        assert not made.machine.errors


@pytest.mark.parametrize("script", ODD)
@pytest.mark.parametrize("lines", [(), ("Connection: close",)], ids=["kept", "closed"])
@pytest.mark.parametrize("plain", [Asked(), Asked("POST", framing="length", body=b"body")], ids=["GET", "POST"])
def test_any_answer_is_what_it_is_on_the_long_way(script: Script, lines: tuple[str, ...], plain: Asked) -> None:
    alike = replace(plain, lines=lines)
    for talk in (
        [(plain, Script())] * 3 + [(alike, script), (plain, Script()), (plain, Script(body=b"last"))],
        [(plain, Script())] * 3 + [(plain, script)],
    ):
        assert outcome(talk, long=False) == outcome(talk, long=True)


POST = b"POST /job/%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
def posted(machine: Machine, job: Job) -> Machine:
    """Its connection's next POST, of any length, goes the short way where it comes whole."""
    for number in range(3):
        machine.client.send(POST % (number, 4) + b"body")
        machine.settle()
    assert len(machine.idle) == 1
    return machine


@pytest.mark.parametrize("size", [0, 1, 4, 5000])
def test_a_body_of_any_length_goes_with_its_head(posted: Machine, size: int) -> None:
    for number in range(3):
        by_heart, body = posted.by_heart, b"%d" % number * size
        posted.client.send(POST % (number, size) + body)
        posted.settle()
        assert posted.by_heart == by_heart + 1
        assert posted.jobs[0].requests[-1] == ("POST", f"/job/{number}", body, True)
    assert sum(row.bytes_in for row in posted.traffic.requests.values()) == 3 * 4 + 3 * size
    assert len(posted.jobs) == 1


@pytest.mark.parametrize("at", [0, 1, 10, 11])
def test_a_body_that_comes_in_parts_is_one_body(posted: Machine, at: int) -> None:
    """Nothing of it was decided anew, and the job has each part when it comes."""
    by_heart, whole = posted.by_heart, POST % (7, 12) + b"twelve bytes"
    parts = len(whole) - 12 + at
    posted.client.send(whole[:parts])
    posted.rest()
    assert posted.jobs[0].requests[-1] == ("POST", "/job/7", b"twelve bytes"[:at], False)
    posted.client.send(whole[parts:] + GET % 8)
    posted.settle()
    assert posted.jobs[0].requests[-2:] == [("POST", "/job/7", b"twelve bytes", True), ("GET", "/job/8", b"", True)]
    assert posted.by_heart == by_heart + 1
    assert bytes(posted.client.taken).count(b"\r\n\r\nok") == 7


def test_a_body_that_was_sent_is_not_kept(posted: Machine, job: Job) -> None:
    """Until its job answers, which may take it long, and many may wait."""
    job.parts = ()
    posted.client.send(POST % (7, 5000) + b"z" * 5000)
    posted.rest()
    connection = posted.connection
    assert isinstance(connection, ClientConnection)
    assert connection._pending is not None
    assert sum(len(part) for part in connection._pending if isinstance(part, bytes)) < 500
    posted.jobs[0].send(OK)
    posted.settle()
    assert bytes(posted.client.taken).endswith(b"\r\n\r\nok")


def test_what_is_logged_of_a_body_in_parts_is_about_its_own_request(
    posted: Machine, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(exchange.log, "info", lambda *_: logged.append(context.request_id.get()))
    job.parts = (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", FIN)
    with context.about(request="another one"):  # that is at work when this one comes
        posted.client.send(POST % (7, 4))
        posted.rest()
    posted.client.send(b"body")
    posted.settle()
    (request_id,) = logged
    assert request_id.encode() in posted.jobs[0].transport.taken


def test_a_job_takes_nothing_off_that_a_plugin_adds_to_its_answer(machine: Machine, job: Job) -> None:
    machine.way = "change"
    job.parts = (b"HTTP/1.1 200 OK\r\nConnection: X-Changed, X-Own\r\nX-Own: gone\r\nContent-Length: 2\r\n\r\nok",)
    machine.client.send((GET % 7).replace(b"Host: x", b"Host: y"))
    machine.settle()
    last = bytes(machine.client.taken).rpartition(b"HTTP/1.1 200")[2]
    assert b"X-Changed: yes" in last
    assert b"X-Own" not in last


def test_an_answer_that_comes_before_the_body_ends_the_connection(posted: Machine, job: Job) -> None:
    job.parts = ()
    posted.client.send(POST % (7, 12) + b"twelve")
    posted.rest()
    posted.jobs[0].send(OK)
    posted.settle()
    last = bytes(posted.client.taken).rpartition(b"HTTP/1.1 200")[2]
    assert b"Connection: close" in last
    assert not posted.idle


def test_what_a_job_does_not_take_is_sent_once(posted: Machine, job: Job) -> None:
    """More than is taken for it, and then it is gone: who asked is told, and no other connection sees it."""
    pipe = posted.jobs[0].transport
    posted.run(pipe.stall, True)
    job.parts = ()
    posted.client.send(POST % (7, 1000) + b"z" * 1000)
    posted.rest()
    assert not posted.client.is_reading()
    pipe.send(FIN)
    posted.rest()
    assert b"HTTP/1.1 502 " in posted.client.taken
    assert len(posted.jobs) == 1
    assert not posted.client.ended


@pytest.mark.parametrize("then", [FIN, RESET])
def test_what_is_sent_in_parts_is_sent_once(posted: Machine, job: Job, then: str) -> None:
    """The kept connection is closed just then: nobody knows whether the job has begun with it."""
    job.parts = ()
    posted.client.send(POST % (7, 12) + b"twelve")
    posted.rest()
    posted.jobs[0].send(then)
    posted.client.send(b" bytes")
    posted.settle()
    assert b"HTTP/1.1 502 " in posted.client.taken
    assert [job.requests[-1][1] for job in posted.jobs] == ["/job/7"]


def test_a_client_that_goes_amid_its_body_takes_the_request_with_it(posted: Machine, job: Job) -> None:
    job.parts = ()
    posted.client.send(POST % (7, 12) + b"twelve")
    posted.rest()
    posted.client.send(FIN)
    posted.settle()
    assert posted.jobs[0].transport.ended == RESET
    assert not posted.idle


def test_the_pace_of_a_body_is_watched(posted: Machine) -> None:
    posted.client.send(POST % (7, 12))
    posted.rest()
    assert posted.connection.late_at <= posted.loop.time() + posted.limits.body_seconds


def test_a_body_behind_the_answer_to_head_reaches_nobody(machine: Machine, job: Job) -> None:
    job.parts = (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",)
    head = (GET % 2).replace(b"GET", b"HEAD")
    for _ in range(2):
        machine.client.send(head)
        machine.settle()
    job.parts = (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",)
    machine.client.send(head)
    machine.settle()
    assert bytes(machine.client.taken).count(b"HTTP/1.1 200") == 5
    assert b"poison" not in machine.client.taken
    assert not machine.idle


def test_an_answer_to_what_was_not_sent_yet_leaves_a_connection_that_is_used_no_more(machine: Machine) -> None:
    pipe = machine.jobs[0].transport
    machine.run(pipe.stall, True)
    pipe.send(OK)
    machine.client.send(GET % 2)
    machine.run(machine.client.deliver)
    machine.run(pipe.deliver)
    assert not machine.idle


def test_a_deadline_of_an_idle_connection_is_none_of_its_requests(machine: Machine, job: Job) -> None:
    ask(machine, job)
    machine.run(machine.connection.overdue)
    assert not machine.client.ended
    machine.jobs[0].send(OK)
    machine.settle()
    assert bytes(machine.client.taken).count(b"\r\n\r\nok") == 3


def test_each_answer_puts_off_the_end_of_an_idle_connection(machine: Machine, job: Job) -> None:
    before = machine.connection.late_at
    ask(machine, job, OK)
    assert machine.connection.late_at > before


def test_what_is_decided_anew_counts_for_the_very_same_request(machine: Machine, job: Job) -> None:
    for host in ("job", "job", "other", "other", "other"):
        machine.host = host
        machine.client.send(GET % 2)
        machine.settle()
    heads = bytes(machine.jobs[0].transport.taken).split(b"\r\n\r\n")[2:-1]
    hosts = [re.findall(rb"Host: (\w+)", head) for head in heads]
    assert hosts == [[b"job"]] * 2 + [[b"other"]] * 3


def test_who_does_not_read_is_answered_no_more(machine: Machine, job: Job) -> None:
    job.parts = (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1000,)
    machine.run(machine.client.stall, True)
    for number in range(2, 6):
        machine.client.send(GET % number)
        machine.rest()
    assert len(machine.jobs[0].requests) == 3
    machine.settle()
    assert len(machine.jobs[0].requests) == 6


def test_who_reads_again_is_not_cut_for_having_been_slow(machine: Machine, job: Job) -> None:
    machine.run(machine.client.stall, True)
    ask(machine, job, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1000, stalled=True)
    machine.client.send(b"\r\n")  # before a request it is nothing
    machine.rest()
    machine.settle()
    ask(machine, job)
    machine.run(machine.connection.overdue)
    machine.rest()
    assert not machine.client.ended
    machine.jobs[0].send(OK)
    machine.settle()
    assert machine.client.taken.endswith(b"\r\n\r\nok")


def test_a_connection_that_came_when_the_endpoint_was_ending_is_closed_behind_its_answer(
    machine: Machine, job: Job
) -> None:
    machine.draining = True  # without a word to the connection, which was not there yet
    ask(machine, job, OK)
    assert machine.client.half or machine.client.ended


@pytest.mark.parametrize("end", [FIN, RESET])
def test_a_client_that_goes_takes_its_request_with_it(machine: Machine, job: Job, end: str) -> None:
    ask(machine, job)
    machine.client.send(end)
    machine.settle()
    assert machine.jobs[0].transport.ended == RESET
    assert machine.connections_lost == 1
    assert not machine.idle


def test_a_client_that_ends_and_takes_nothing_does_not_stay_for_ever(machine: Machine, job: Job) -> None:
    machine.run(machine.client.stall, True)
    ask(machine, job, b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"y" * 5000, stalled=True)
    machine.client.send(FIN)
    machine.rest()
    assert machine.jobs[0].transport.ended == RESET
    assert not machine.client.ended
    assert machine.connection.late_at <= machine.loop.time() + machine.limits.idle_seconds
    machine.run(machine.connection.overdue)
    machine.rest()
    assert machine.connections_lost == 1


def test_a_client_is_watched_again_while_its_request_is_sent_once_more(machine: Machine, job: Job) -> None:
    pipe = machine.jobs[0].transport
    machine.run(pipe.stall, True)
    job.parts = ()
    machine.client.send(b"GET /job/2 HTTP/1.1\r\nHost: x\r\nX-Long: " + b"z" * 1000 + b"\r\n\r\n")
    machine.rest()
    assert not machine.client.is_reading()
    pipe.send(FIN)
    machine.rest()
    assert len(machine.jobs[1].requests) == 1
    machine.client.send(FIN)
    machine.rest()
    assert machine.jobs[1].transport.ended == RESET


@pytest.mark.parametrize("lines", [b"Connection: close\r\n", b""], ids=["closes", "asks for more"])
def test_who_reads_slowly_has_the_last_answer_whole(machine: Machine, job: Job, lines: bytes) -> None:
    machine.run(machine.client.stall, True)
    job.parts = (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1000,)
    for _ in range(1 if lines else 2):
        machine.client.send((GET % 2)[:-2] + lines + b"\r\n")
        machine.rest()
    for _ in range(3):
        machine.run(machine.client.take, 100)
        machine.run(machine.connection.overdue)
    machine.rest()
    assert not machine.client.ended
    machine.run(machine.connection.overdue)
    machine.rest()
    assert machine.client.ended


def test_an_endpoint_that_ends_lets_it_come_to_its_end(machine: Machine, job: Job) -> None:
    ask(machine, job)
    machine.drain()
    assert not machine.client.ended
    machine.jobs[0].send(OK)
    machine.settle()
    last = bytes(machine.client.taken).rpartition(b"HTTP/1.1 200")[2]
    assert b"Connection: close" in last
    assert machine.client.ended or machine.client.half
