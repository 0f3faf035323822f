"""In which order plugins are asked: what an implementation says of its place, else the order of loading."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_specs import hooks_of, host_of

from prouter import hookimpl
from prouter.errors import StartupError
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.ordering import Place, arranged, circle

NAMES = st.lists(st.sampled_from("abcdefgh"), max_size=3).map(tuple)
PLACES = st.lists(st.builds(Place, st.sampled_from("abcdef"), NAMES, NAMES, st.sampled_from((-1, 0, 1))), max_size=7)


def wanted(places: list[Place]) -> set[tuple[int, int]]:
    """(earlier, later) pairs of indexes that somebody asks for."""
    pairs = set()
    for index, place in enumerate(places):
        for other, there in enumerate(places):
            if there.plugin != place.plugin:
                pairs |= {(index, other)} if there.plugin in place.before else set()
                pairs |= {(other, index)} if there.plugin in place.after else set()
    return pairs


def reachable(pairs: set[tuple[int, int]], start: int) -> set[int]:
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        fresh = {later for earlier, later in pairs if earlier == here} - seen
        seen |= fresh
        waiting += fresh
    return seen


@given(PLACES)
def test_all_are_there_once_and_what_they_say_holds(places: list[Place]) -> None:
    order = arranged(places)
    assert sorted(order) == list(range(len(places)))
    if not circle(places):
        at = {index: position for position, index in enumerate(order)}
        assert all(at[earlier] < at[later] for earlier, later in wanted(places))


@given(PLACES)
def test_who_says_nothing_and_is_not_named_stays_where_it_was(places: list[Place]) -> None:
    bound = {index for pair in wanted(places) for index in pair}
    free = [index for index in arranged(places) if index not in bound]
    assert free == sorted(free, key=lambda index: (places[index].rank, index))


@given(PLACES)
def test_it_is_the_nearest_order_to_that_of_loading(places: list[Place]) -> None:
    """Two neighbours are the wrong way round only where one of them has to wait for the other."""
    if circle(places):
        return
    pairs = wanted(places)
    order = arranged(places)
    for earlier, later in pairwise(order):
        if (places[earlier].rank, earlier) > (places[later].rank, later):
            assert later in reachable(pairs, earlier)


@given(PLACES)
def test_a_circle_is_told_as_it_goes_round(places: list[Place]) -> None:
    pairs = wanted(places)
    loops = any(index in reachable(pairs, index) for index in range(len(places)))
    told = circle(places)
    assert bool(told) == loops
    named = {(places[earlier].plugin, places[later].plugin) for earlier, later in pairs}
    assert all(pair in named for pair in zip(told, [*told[1:], *told[:1]], strict=True))


def asked(log: list[str], name: str, mark: Callable[..., object] = hookimpl) -> type:
    class Plugin:
        @mark
        def prouter_asked(self, value: int) -> None:
            log.append(name)

        @mark
        def prouter_startup(self) -> None:
            log.append(name)

    return Plugin


ORDERS = {
    "nothing said": ({}, "dcba"),
    "tryfirst": ({"a": hookimpl(tryfirst=True)}, "adcb"),
    "trylast": ({"d": hookimpl(trylast=True)}, "cbad"),
    "before": ({"a": hookimpl(before=("c",))}, "dbac"),
    "after": ({"d": hookimpl(after=("b", "nobody"))}, "cbda"),
    "it wins over tryfirst": ({"a": hookimpl(tryfirst=True), "d": hookimpl(before=["a"])}, "dacb"),
    "itself": ({"a": hookimpl(before=("a",), after=("a",))}, "dcba"),
}


@pytest.mark.parametrize(("marks", "expected"), ORDERS.values(), ids=ORDERS.keys())
async def test_plugins_are_asked_where_they_say(marks: dict[str, Callable[..., object]], expected: str) -> None:
    log: list[str] = []
    hooks = hooks_of(**{name: asked(log, name, marks.get(name, hookimpl)) for name in "abcd"})
    await hooks.first("prouter_asked", value=1)
    assert "".join(log) == expected == "".join(hooks.plugins("prouter_asked"))


@pytest.mark.parametrize(
    ("marks", "expected"),
    [({}, "abc"), ({"c": hookimpl(before=("b",))}, "acb"), ({"c": hookimpl(tryfirst=True)}, "cab")],
)
async def test_at_a_start_it_is_the_order_of_loading(marks: dict[str, Callable[..., object]], expected: str) -> None:
    log: list[str] = []
    hooks = hooks_of(**{name: asked(log, name, marks.get(name, hookimpl)) for name in "abc"})
    await hooks.setup("prouter_startup", lambda plugin: {"log": []})
    await hooks.close()
    assert "".join(log) == expected


async def test_a_circle_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    plugins = {
        "a": asked(log, "a", hookimpl(before=("b",))),
        "b": asked(log, "b", hookimpl(before=("a",))),
        "c": asked(log, "c", hookimpl(before=("a",))),
    }
    host = host_of(plugins)
    await Hooks(host).first("prouter_asked", value=1)
    assert log == ["c"]
    shown = {plugin["name"]: plugin for plugin in host.describe()}
    assert [shown[name]["state"] for name in "abc"] == ["failed", "failed", "loaded"]
    for name in "ab":
        assert "want to be asked before each other" in shown[name]["why"]
        assert {"a", "b"} <= set(shown[name]["why"].replace(",", "").split())
    assert "plugin a is left out" in caplog.text
    with pytest.raises(StartupError, match="'b' is required"):
        host_of(plugins, required=["b"])


def test_a_text_is_no_sequence_of_names() -> None:
    with pytest.raises(TypeError, match="sequences of names"):
        hookimpl(before="plugin")


def test_the_mark_leaves_what_the_loader_looks_for() -> None:
    def prouter_asked() -> None: ...

    assert hookimpl(prouter_asked) is prouter_asked
    assert prouter_asked.prouter_impl["tryfirst"] is False
    assert hookimpl(before=("x",))(prouter_asked) is prouter_asked
