"""Who is told of the ends of requests hears of those on the short way what he would hear on the long one, once each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from exchanges import ODD, Asked, Script
from machine import RESET, JobEnd, Machine
from test_exchange_machine import Talk

import prouter.web.connection
from prouter.model.access import Peer
from prouter.web.exchange import Exchange
from prouter.web.outcomes import Ending, Forward, Incoming, Outcome

Told = tuple[str, str, str, Ending]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Telling(Machine):
    """Somebody is told of each request's end."""

    told: list[Told]

    async def dispatch(self, incoming: Incoming) -> Outcome:
        outcome = await super().dispatch(incoming)
        if not isinstance(outcome, Forward):
            return outcome
        rest = incoming.head.target.removeprefix("/job")
        incoming.on_end = partial(self._ended, incoming.peer, incoming.head.method, incoming.request_id, rest)
        lasting = outcome.lasting
        return replace(outcome, lasting=lasting and (lambda: replace(lasting(), tell=self._ended)))

    def _ended(self, peer: Peer, method: str, request_id: str, rest: str, ending: Ending) -> None:
        assert peer == Peer("127.0.0.1", 5, False)
        self.told.append((method, request_id, rest, ending))


def ids(machine: Machine) -> set[str]:
    """By which the jobs have their requests."""
    heads = b"".join(bytes(job.transport.taken) for job in machine.jobs)
    return {line.partition(b": ")[2].decode() for line in heads.split(b"\r\n") if line.startswith(b"X-Request-Id")}


def outcome(talk: list[tuple[Asked, Script]], *, long: bool) -> list[tuple[object, ...]]:
    made = Talk(talk)
    made.machine.close()
    made.machine = machine = Telling(made.play)
    machine.told, machine.way = [], "long" if long else ""
    try:
        for number, (asked, _) in enumerate(talk):
            machine.client.send(asked.raw(number))
            machine.rest()
        assert machine.by_heart == 0 if long else machine.by_heart > 0
    finally:
        machine.close()
        assert not machine.errors
    assert len(ids(machine)) == len(machine.told) == len(talk)
    assert ids(machine) == {told[1] for told in machine.told}
    assert all(told[3].seconds >= (told[3].wait_seconds or 0) >= 0 for told in machine.told)
    return [shape(told) for told in machine.told]


def shape(told: Told) -> tuple[object, ...]:
    """What of it is the same on both ways."""
    method, _, rest, ending = told
    answered = ending.wait_seconds is not None
    return method, rest, ending.status, ending.request_bytes, ending.response_bytes, answered, ending.cut


@pytest.mark.parametrize("asked", [Asked(), Asked("POST", framing="length", body=b"four")], ids=["GET", "POST"])
@pytest.mark.parametrize("script", ODD)
def test_any_end_is_told_as_on_the_long_way(script: Script, asked: Asked) -> None:
    talk = [(asked, Script())] * 3 + [(asked, script)]
    assert outcome(talk, long=False) == outcome(talk, long=True)


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    made: list[Exchange] = []

    class Counted(Exchange):
        def begin(self) -> None:
            made.append(self)
            super().begin()

        begin_again = take_over = None  # type: ignore[assignment]

    monkeypatch.setattr(prouter.web.connection, "Exchange", Counted)
    return made


def answers(job: JobEnd, target: str, attempt: int, whole: bool) -> None:
    if whole and not target.endswith("never"):
        job.send(OK)


def test_to_tell_takes_no_exchange(exchanges: list[Exchange]) -> None:
    machine = Telling(answers)
    machine.told = []
    for number in range(6):
        machine.client.send(b"GET /job/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        machine.settle()
    machine.close()
    assert not machine.errors
    assert [told[2] for told in machine.told] == [f"/{number}" for number in range(6)]
    assert len(exchanges) == 1


def test_a_client_that_leaves_amid_the_short_way_is_told_of_once() -> None:
    machine = Telling(answers)
    machine.told = []
    for name in (b"1", b"2", b"never"):
        machine.client.send(b"GET /job/%s HTTP/1.1\r\nHost: x\r\n\r\n" % name)
        machine.settle()
    machine.client.send(RESET)
    machine.settle()
    machine.close()
    assert not machine.errors
    assert len(machine.told) == 3
    method, _, rest, ending = machine.told[-1]
    assert (method, rest, ending.status, ending.wait_seconds) == ("GET", "/never", 0, None)
    assert ending.cut == "the client closed the connection"
