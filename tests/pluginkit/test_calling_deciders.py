"""Hooks that decide: first, chain, veto. In order, one at a time, closed when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from small_specs import hooks_of

from prouter import hookimpl
from prouter.errors import Forbidden, PluginFailure
from prouter.model.access import Refusal
from prouter.model.http import Reply, RequestHead
from prouter.pluginkit.calling import Hooks


def answering(hook: str, answer: Callable[[int], object]) -> type:
    """A plugin whose implementation of `hook` answers what `answer` makes of the value (awaited where it is)."""

    def implementation(self: object, value: int) -> object:
        return answer(value)

    return type("Plugin", (), {hook: hookimpl(implementation, specname=hook)})


def exiting(value: int) -> object:
    raise SystemExit(3)


def failing(value: int) -> object:
    raise RuntimeError("secret details")


async def hanging(value: int) -> object:
    await asyncio.sleep(600)
    return None


async def cancelling_itself(value: int) -> object:
    raise asyncio.CancelledError


async def leaving(value: int) -> object:
    await asyncio.sleep(0)
    raise GeneratorExit


async def leaving_at_once(value: int) -> object:
    raise GeneratorExit


async def heedless(value: int) -> object:
    """Lets nobody hinder it by a deadline, and then has no objection, or an answer."""
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        pass
    return None


async def impatient(value: int) -> object:
    raise TimeoutError("another's deadline")


async def late(value: int) -> object:
    await asyncio.sleep(0)
    return value


CALLS = {
    "prouter_asked": lambda hooks: hooks.first("prouter_asked", value=1),
    "prouter_changed": lambda hooks: hooks.chain("prouter_changed", value=1),
    "prouter_allowed": lambda hooks: hooks.veto("prouter_allowed", value=1),
}
"""How each deciding kind is called."""


@pytest.mark.parametrize("hook", CALLS)
@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (failing, "RuntimeError"),
        (exiting, "SystemExit"),
        (hanging, "did not answer within 0.05 s"),
        (cancelling_itself, "cancelled itself"),
        (impatient, "TimeoutError"),
        (leaving, "RuntimeError"),
        (leaving_at_once, "GeneratorExit"),
        (heedless, "did not answer within 0.05 s"),
    ],
)
async def test_a_decider_that_fails_closes_and_is_named(hook: str, broken: Callable[[int], object], why: str) -> None:
    """The others are not asked instead: `a` would have allowed all."""
    hooks = hooks_of(a=answering(hook, lambda value: None), b=answering(hook, broken))
    with pytest.raises(PluginFailure) as failed:
        await CALLS[hook](hooks)
    assert (failed.value.plugin, failed.value.hook) == ("b", hook)
    assert why in failed.value.why
    assert "secret details" not in failed.value.detail


@pytest.mark.parametrize("hook", CALLS)
async def test_an_error_of_ours_is_meant_and_passes(hook: str) -> None:
    def refuse(value: int) -> object:
        raise Forbidden("not on sundays")

    with pytest.raises(Forbidden):
        await CALLS[hook](hooks_of(a=answering(hook, refuse)))


@pytest.mark.parametrize("hook", CALLS)
async def test_the_callers_cancellation_passes_through(hook: str) -> None:
    task = asyncio.ensure_future(CALLS[hook](hooks_of(a=answering(hook, hanging))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_first_stops_at_the_first_answer_and_none_goes_on() -> None:
    asked: list[str] = []

    def says(name: str, answer: object) -> type:
        return answering("prouter_asked", lambda value: asked.append(name) or answer)

    hooks = hooks_of(a=says("a", "never"), b=says("b", "yes"), c=says("c", None))
    assert await hooks.first("prouter_asked", value=1) == ("b", "yes")
    assert asked == ["c", "b"]


async def test_first_of_named_plugins_asks_them_in_that_order_and_nobody_else() -> None:
    hooks = hooks_of(**{name: answering("prouter_asked", lambda value, name=name: name) for name in "abc"})
    assert await hooks.first("prouter_asked", only=("a", "c"), value=1) == ("a", "a")
    assert await hooks.first("prouter_asked", only=("c", "a"), value=1) == ("c", "c")
    assert await hooks.first("prouter_asked", only=(), value=1) is None


async def test_a_coroutine_that_answers_none_does_not_win() -> None:
    async def nothing(value: int) -> None:
        return None

    hooks = hooks_of(a=answering("prouter_asked", late), b=answering("prouter_asked", nothing))
    assert await hooks.first("prouter_asked", value=7) == ("a", 7)


async def test_chain_gives_each_what_the_last_one_made() -> None:
    hooks = hooks_of(
        a=answering("prouter_changed", lambda value: value + 1),
        b=answering("prouter_changed", lambda value: None),
        c=answering("prouter_changed", lambda value: value * 10),
    )
    assert await hooks.chain("prouter_changed", value=5) == 51


async def test_chain_takes_nothing_of_another_type() -> None:
    with pytest.raises(PluginFailure):
        await hooks_of(a=answering("prouter_changed", str)).chain("prouter_changed", value=5)


async def test_a_reply_ends_the_chain_of_a_request() -> None:
    class Answers:
        @hookimpl
        def prouter_head(self, head: RequestHead) -> Reply:
            return Reply.text("mine")

    class NeverAsked:
        @hookimpl
        def prouter_head(self, head: RequestHead) -> RequestHead:
            raise AssertionError

    hooks = hooks_of(a=NeverAsked, b=Answers)
    answer = await hooks.chain("prouter_head", head=RequestHead("GET", "/", (("Host", "x"),)))
    assert isinstance(answer, Reply)


async def test_any_refusal_wins() -> None:
    hooks = hooks_of(
        a=answering("prouter_allowed", lambda value: Refusal("no")), b=answering("prouter_allowed", lambda value: None)
    )
    assert await hooks.veto("prouter_allowed", value=1) == ("a", Refusal("no"))


async def test_a_veto_that_answers_nonsense_closes() -> None:
    with pytest.raises(PluginFailure):
        await hooks_of(a=answering("prouter_allowed", lambda value: True)).veto("prouter_allowed", value=1)


async def test_what_nobody_implements_costs_nothing() -> None:
    hooks: Hooks = hooks_of()
    assert not hooks.implemented("prouter_asked")
    assert await hooks.first("prouter_asked", value=1) is None
    assert await hooks.veto("prouter_allowed", value=1) is None
    assert await hooks.chain("prouter_changed", value=5) == 5
