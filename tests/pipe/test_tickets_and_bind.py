"""Tickets open one pipe in time; the first line of a pipe and its verdict are strict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prouter.errors import RemoteProtocolError
from prouter.model.ids import JobUid, new_uid
from prouter.pipe.bind import AgentBinding, BindRefused, JobBinding, parse_binding, parse_verdict
from prouter.pipe.tickets import LIFETIME_SECONDS, MAX_OUTSTANDING, TicketBook


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_ticket_is_good_once() -> None:
    book: TicketBook[str] = TicketBook()
    ticket = book.issue("link 1")
    assert book.redeem(ticket) == "link 1"
    assert book.redeem(ticket) is None
    assert book.redeem("0" * 32) is None


def test_a_late_ticket_opens_nothing() -> None:
    clock = Clock()
    book: TicketBook[str] = TicketBook(clock)
    early, late = book.issue("early"), book.issue("late")
    clock.now = LIFETIME_SECONDS - 0.1
    assert book.redeem(early) == "early"
    clock.now = LIFETIME_SECONDS + 0.1
    assert book.redeem(late) is None


def test_tickets_that_nobody_uses_are_bounded() -> None:
    book: TicketBook[str] = TicketBook()
    first = book.issue("link")
    tickets = [book.issue("link") for _ in range(MAX_OUTSTANDING)]
    assert book.redeem(first) is None
    assert book.redeem(tickets[-1]) == "link"


@given(st.text(min_size=1, max_size=50).filter(lambda t: t.isprintable()), st.integers(0, 2**62))
def test_a_binding_survives_its_line(port: str, link: int) -> None:
    for binding in (JobBinding(JobUid(new_uid()), port, link), AgentBinding(link)):
        line = binding.line()
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert parse_binding(line[:-1]) == binding


@pytest.mark.parametrize("line", [b"", b"job", b"job x", b"job x http", b"job x http one", b"agent", b"\xff 1", b"ok"])
def test_a_line_that_binds_to_nothing_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_binding(line)


def test_verdicts() -> None:
    assert parse_verdict(b"ok") is None
    assert parse_verdict(BindRefused(409, "not serving").line()[:-1]) == BindRefused(409, "not serving")
    for line in (b"", b"OK", b"no", b"no way", b"no 200 fine", b"no 999 x"):
        with pytest.raises(RemoteProtocolError):
            parse_verdict(line)


def test_a_refusals_text_can_not_end_the_line() -> None:
    assert BindRefused(502, "a\nok\r\n\x00ü").line() == b"no 502 a?ok????\n"


def test_who_asks_for_many_tickets_uses_up_nobody_elses() -> None:
    book: TicketBook[str] = TicketBook()
    kept = book.issue("one")
    asked = [book.issue("other") for _ in range(2 * MAX_OUTSTANDING)]
    assert book.redeem(kept) == "one"
    assert book.redeem(asked[0]) is None
    assert book.redeem(asked[-1]) == "other"


def test_tickets_that_were_taken_back_open_nothing() -> None:
    book: TicketBook[str] = TicketBook()
    tickets = [book.issue("one") for _ in range(3)]
    book.forget(tickets[:2])
    assert [book.redeem(ticket) for ticket in tickets] == [None, None, "one"]
