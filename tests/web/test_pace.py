"""How fast a body must come, and which windows of time count for nothing."""

from __future__ import annotations

from prouter.web.pace import BodyPace


def pace(*, waits: bool = False) -> BodyPace:
    """100 bytes in each 10 s, from 0 on."""
    return BodyPace(10, 10, 0.0, waits=waits)


def test_a_window_with_enough_is_followed_by_another() -> None:
    body = pace()
    assert body.look(4, 0, taken=True) == 6
    assert body.look(10, 100, taken=True) == 10
    assert body.look(20, 200, taken=True) == 10
    assert body.look(30, 299, taken=True) == 0


def test_a_window_in_which_nobody_took_it_counts_for_nothing() -> None:
    body = pace()
    body.hold()
    assert body.look(10, 0, taken=True) == 10
    assert body.look(20, 0, taken=True) == 10, "it is held still"
    body.go_on()
    assert body.look(30, 0, taken=True) == 10, "a part of it was held"
    assert body.look(40, 99, taken=True) == 0
    assert pace().look(10, 0, taken=False) == 10


def test_who_waits_to_be_asked_is_not_slow_until_it_was() -> None:
    body = pace(waits=True)
    assert body.look(10, 0, taken=True) == 10
    body.asked_for()
    assert body.look(20, 0, taken=True) == 10
    assert body.look(30, 0, taken=True) == 0
    assert pace(waits=True).look(10, 1, taken=True) == 0, "it did not wait"


def test_who_looks_late_has_slept_itself() -> None:
    body = pace()
    assert body.look(90, 0, taken=True) == 10
    assert body.look(100, 99, taken=True) == 0
