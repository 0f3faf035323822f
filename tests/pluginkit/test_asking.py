"""One implementation, asked once: counted, watched while it holds the loop, ended when it does not end itself."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from small_specs import host_of
from test_calling_deciders import answering

from prouter import hookimpl
from prouter.errors import Forbidden, PluginFailure
from prouter.pipe.steps import begin
from prouter.pluginkit import context
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.limits import CallLimits
from prouter.pluginkit.observing import TURN_SECONDS

PLENTY = {"prouter_asked": 5.0, "prouter_told": 5.0}


def hooks_with(limits: CallLimits, **plugins: type) -> Hooks:
    return Hooks(host_of(plugins), limits)


def asked(answer: Callable[[int], object], **limits: Any) -> Hooks:
    return hooks_with(CallLimits(**{"deadlines": PLENTY} | limits), a=answering("prouter_asked", answer))


def block(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def blocks_at_once(value: int) -> int:
    block(0.03)
    return value


async def blocks_first(value: int) -> int:
    block(0.03)
    await asyncio.sleep(0)
    return value


async def blocks_later(value: int) -> int:
    await asyncio.sleep(0)
    block(0.03)
    await asyncio.sleep(0)
    return value


async def blocks_last(value: int) -> int:
    await asyncio.sleep(0.001)
    block(0.03)
    return value


@pytest.mark.parametrize("answer", [blocks_at_once, blocks_first, blocks_later, blocks_last])
async def test_who_holds_the_loop_is_named_wherever_it_does(
    answer: Callable[[int], object], caplog: pytest.LogCaptureFixture
) -> None:
    assert await asked(answer, blocked_seconds=0.02).first("prouter_asked", value=1) == ("a", 1)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    told = {re.sub("[0-9.]+", "N", message) for message in warned}
    assert told == {"plugin a held the event loop for N s in prouter_asked"}


async def test_who_waits_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    async def waits(value: int) -> int:
        await asyncio.sleep(0.4)
        return value

    assert await asked(waits, blocked_seconds=0.3).first("prouter_asked", value=1) == ("a", 1)
    assert not caplog.records


async def test_what_waits_gets_what_it_waits_for() -> None:
    """Values, errors and cancellation come through the steps that are taken for it, its own deadlines too."""

    async def waits(value: int) -> object:
        found = []
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 7)
        found.append(await future)
        broken: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(broken.set_exception, KeyError("x"))
        try:
            await broken
        except KeyError:
            found.append(8)
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        except TimeoutError:
            found.append(9)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, 10))
        found.append(task.result())
        return str(found)

    assert await asked(waits).first("prouter_asked", value=1) == ("a", "[7, 8, 9, 10]")


async def test_any_awaitable_is_awaited() -> None:
    def task(value: int) -> object:
        return asyncio.ensure_future(asyncio.sleep(0, value))

    assert await asked(task).first("prouter_asked", value=5) == ("a", 5)


async def stubborn(value: int) -> object:
    while True:
        try:
            await asyncio.sleep(60)
        except (Exception, asyncio.CancelledError):
            pass


async def test_who_does_not_end_when_its_time_is_up_is_left_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prouter.pluginkit.asking.GRACE_SECONDS", 0.05)
    hooks = asked(stubborn, deadlines={"prouter_asked": 0.05})
    with pytest.raises(PluginFailure, match=r"did not answer within 0.05 s"):
        async with asyncio.timeout(10):
            await hooks.first("prouter_asked", value=1)
    assert "plugin a does not end in prouter_asked although it was cancelled" in caplog.text
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_nor_does_it_keep_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prouter.pluginkit.asking.GRACE_SECONDS", 0.05)
    caller = asyncio.ensure_future(asked(stubborn).first("prouter_asked", value=1))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            await caller


async def test_who_keeps_a_cancellation_to_itself_does_not_save_its_caller() -> None:
    async def swallows(value: int) -> object:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        return value

    caller = asyncio.ensure_future(asked(swallows).first("prouter_asked", value=1))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_who_was_cancelled_may_close_what_it_opened() -> None:
    closed = []

    async def tidy(value: int) -> object:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            closed.append(value)

    with pytest.raises(PluginFailure, match="did not answer"):
        await asked(tidy, deadlines={"prouter_asked": 0.02}).first("prouter_asked", value=3)
    assert closed == [3]


async def test_calls_are_counted_by_plugin_and_hook() -> None:
    def sometimes(value: int) -> object:
        if value == 1:
            raise RuntimeError
        if value == 2:
            raise Forbidden("meant")
        if value == 3:
            return [value]
        block(0.002)
        return value

    hooks = asked(sometimes)
    assert hooks.counts() == []
    for value in range(6):
        try:
            await hooks.first("prouter_asked", value=value)
        except (PluginFailure, Forbidden):
            pass
    (count,) = hooks.counts()
    assert (count.plugin, count.hook, count.calls, count.failures) == ("a", "prouter_asked", 6, 2)
    assert 0.002 <= count.slowest_seconds <= count.seconds
    assert count.seconds >= 0.006


async def test_counts_stay_when_a_plugin_goes() -> None:
    host = host_of({name: answering("prouter_asked", lambda value: value) for name in "ab"})
    hooks = Hooks(host)
    await hooks.first("prouter_asked", value=1)
    host.disable("b", "it is not needed")
    await hooks.first("prouter_asked", value=1)
    assert {count.plugin: count.calls for count in hooks.counts()} == {"a": 1, "b": 1}


async def test_a_failure_says_who_where_and_after_which_time(caplog: pytest.LogCaptureFixture) -> None:
    async def slow(value: int) -> object:
        await asyncio.sleep(0.05)
        raise RuntimeError

    with pytest.raises(PluginFailure) as failed:
        await asked(slow).first("prouter_asked", value=1)
    assert failed.value.seconds is not None
    assert failed.value.seconds >= 0.04
    assert f"plugin 'a' failed in prouter_asked after {failed.value.seconds:.3f} s: RuntimeError" == failed.value.detail
    assert f"plugin a failed in prouter_asked after {failed.value.seconds:.3f} s: RuntimeError" in caplog.text


async def test_observers_have_bounds_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    class Slow:
        @hookimpl
        async def prouter_told(self, value: int) -> None:
            told.append(value)

    class Fails:
        @hookimpl
        def prouter_told(self, value: int) -> None:
            raise RuntimeError

    hooks = hooks_with(CallLimits(news_kept=3, muted_after=2), a=Slow, b=Fails)
    for value in range(10):
        hooks.notify("prouter_told", subject="x", value=value)
    await hooks.close()
    assert told == [7, 8, 9]
    assert {count.plugin: count.calls for count in hooks.counts()} == {"a": 3, "b": 2}
    assert "plugin b is told nothing any more: it failed 2 times in a row" in caplog.text


async def test_many_short_news_leave_others_their_turn() -> None:
    turns: list[int] = []
    told: list[int] = []

    class Quick:
        @hookimpl
        def prouter_told(self, value: int) -> None:
            told.append(value)
            block(TURN_SECONDS / 4)

    hooks = hooks_with(CallLimits(), a=Quick)
    for value in range(100):
        hooks.notify("prouter_told", subject="x", value=value)
    while len(told) < 100:
        turns.append(len(told))
        await asyncio.sleep(0)
    assert len(set(turns)) >= 100 / 4
    await hooks.close()


async def test_an_observer_keeps_up_with_many_news_in_each_turn() -> None:
    told: list[int] = []

    class Plugin:
        @hookimpl
        def prouter_told(self, value: int) -> None:
            told.append(value)

    for kept in (10, 1000):  # with room for few it does not wait until many have come
        told.clear()
        hooks = hooks_with(CallLimits(news_kept=kept), a=Plugin)
        for value in range(2000):
            hooks.notify("prouter_told", subject="x", value=value)
            if value % (kept // 5) == 0:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        await hooks.close()
        assert told == list(range(2000))


async def test_what_an_observer_says_of_news_is_about_what_they_are_about() -> None:
    """However many come while it is told of others."""
    found: list[tuple[int, str, str]] = []

    class Plugin:
        @hookimpl
        async def prouter_told(self, value: int) -> None:
            found.append((value, *context.ids()))
            await asyncio.sleep(0)
            found.append((value, *context.ids()))

    hooks = hooks_with(CallLimits(), a=Plugin)
    for value in range(20):
        with context.about(job=f"job {value}", agent="agent"):
            hooks.notify("prouter_told", subject="x", value=value)
        await asyncio.sleep(0)
    await hooks.close()
    assert found == [(value, f"job {value}", "agent") for value in range(20) for _ in range(2)]


async def calls_of(hooks: Hooks) -> int:
    """How many functions, of C too, it takes to ask a hook that one plugin implements and one that none does."""
    await hooks.first("prouter_asked", value=1)
    assert not hooks.implemented("prouter_changed")
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        await hooks.first("prouter_asked", value=1)
        hooks.implemented("prouter_changed")
    finally:
        sys.setprofile(None)
    return count


async def test_plugins_of_other_hooks_cost_a_call_nothing() -> None:
    one = {"a": answering("prouter_asked", lambda value: value)}
    others = {f"other_{number}": answering("prouter_allowed", lambda value: None) for number in range(30)}
    alone = await calls_of(hooks_with(CallLimits(), **one))
    beside = await calls_of(hooks_with(CallLimits(), **one, **others))
    assert alone == beside
    assert alone < 40


async def test_without_a_task_a_coroutine_is_begun_in_one() -> None:
    """A request is decided where its bytes came; what awaits may want the task that is made for it then."""

    async def waits(value: int) -> object:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        return value

    answers = []

    async def decide(hooks: Hooks) -> None:
        answers.append(await hooks.first("prouter_asked", value=4))

    done = asyncio.Event()

    def came() -> None:
        left = begin(decide(asked(waits)), contextvars.copy_context())
        assert left is not None
        task = asyncio.get_running_loop().create_task(left)
        task.add_done_callback(lambda _: done.set())

    asyncio.get_running_loop().call_soon(came)
    await asyncio.wait_for(done.wait(), 10)
    assert answers == [("a", 4)]


async def test_one_that_is_not_begun_when_its_caller_goes_is_closed() -> None:
    begun = []

    async def waits(value: int) -> object:
        begun.append(value)
        return value

    async def decide(hooks: Hooks) -> None:
        await hooks.first("prouter_asked", value=4)

    left: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(
        lambda: left.set_result(begin(decide(asked(waits)), contextvars.copy_context()))
    )
    rest = await left
    rest.close()  # a coroutine that nobody awaited would be a warning
    assert begun == []
