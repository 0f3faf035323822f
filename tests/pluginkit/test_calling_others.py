"""Hooks at a start (collect, setup), of many answers (gather) and of observers (notify)."""

from __future__ import annotations

import asyncio
import logging

import pytest
from small_specs import hooks_of, host_of

from prouter import hookimpl
from prouter.errors import StartupError
from prouter.model.plugin import Route
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.limits import MUTED_AFTER, NEWS_KEPT


async def nothing(call: object) -> None: ...


class Good:
    @hookimpl
    def prouter_routes(self) -> list[Route]:
        return [Route(("GET",), "/good", "good.read", "Good.", nothing)]


class Raises:
    @hookimpl
    def prouter_routes(self) -> list[Route]:
        raise RuntimeError("no routes today")


class Exits:
    @hookimpl
    def prouter_routes(self) -> list[Route]:
        raise SystemExit(0)


class Asynchronous:
    @hookimpl
    async def prouter_routes(self) -> list[Route]:
        return []


class Nonsense:
    @hookimpl
    def prouter_routes(self) -> int:
        return 5


class Mixed:
    @hookimpl
    def prouter_routes(self) -> list[object]:
        return [*Good().prouter_routes(), "a text"]


@pytest.mark.parametrize("broken", [Raises, Exits, Asynchronous, Nonsense, Mixed])
def test_collect_leaves_a_plugin_out_that_fails_and_says_why(broken: type) -> None:
    host = host_of({"broken": broken, "good": Good})
    collected = Hooks(host).collect("prouter_routes")
    assert [plugin for plugin, _ in collected] == ["good"]
    state = {plugin["name"]: plugin for plugin in host.describe()}
    assert state["broken"]["state"] == "failed"
    assert "prouter_routes" in state["broken"]["why"]
    assert Hooks(host).collect("prouter_routes") == collected


def test_collect_of_a_required_plugin_that_fails_ends_the_start() -> None:
    with pytest.raises(StartupError, match="broken"):
        Hooks(host_of({"broken": Raises}, required=["broken"])).collect("prouter_routes")


def gathering(answer: object) -> type:
    class Plugin:
        @hookimpl
        async def prouter_gathered(self) -> object:
            if isinstance(answer, BaseException):
                raise answer
            if answer == "hang":
                await asyncio.sleep(600)
            return answer

    return Plugin


async def test_gather_misses_the_answers_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    hooks = hooks_of(
        a=gathering(1), b=gathering(RuntimeError()), c=gathering("hang"), d=gathering(None), e=gathering(SystemExit())
    )
    assert await hooks.gather("prouter_gathered") == [("a", 1)]
    missing = [record.getMessage() for record in caplog.records if "is missing" in record.getMessage()]
    assert [name for name in "bce" if any(f"plugin {name} " in text for text in missing)] == ["b", "c", "e"]


def starting(name: str, log: list[str], error: BaseException | None = None) -> type:
    class Plugin:
        @hookimpl
        async def prouter_startup(self) -> None:
            log.append(f"{name} starts")
            if error is not None:
                raise error

        @hookimpl
        async def prouter_shutdown(self) -> None:
            log.append(f"{name} ends")

    return Plugin


async def test_setup_goes_in_order_and_the_end_in_reverse() -> None:
    log: list[str] = []
    hooks = hooks_of(a=starting("a", log), b=starting("b", log))
    await hooks.setup("prouter_startup", lambda plugin: {"log": []})
    await hooks.close()
    assert log == ["a starts", "b starts", "b ends", "a ends"]


@pytest.mark.parametrize("error", [RuntimeError(), SystemExit(1)])
async def test_a_setup_that_fails_undoes_what_was_done_and_is_named(error: BaseException) -> None:
    log: list[str] = []
    hooks = hooks_of(a=starting("a", log), b=starting("b", log, error), c=starting("c", log))
    with pytest.raises(StartupError, match="'b' failed to start"):
        await hooks.setup("prouter_startup", lambda plugin: {"log": []})
    await hooks.close()
    assert log == ["a starts", "b starts", "a ends"]


def observing(told: list[int], error: BaseException | None = None, wait: asyncio.Event | None = None) -> type:
    class Plugin:
        @hookimpl
        async def prouter_told(self, value: int) -> None:
            told.append(value)
            if wait is not None:
                await wait.wait()
            if error is not None:
                raise error

    return Plugin


async def test_observers_are_told_later_in_order_and_apart_from_each_other() -> None:
    good: list[int] = []
    bad: list[int] = []
    hooks = hooks_of(a=observing(good), b=observing(bad, SystemExit()))
    for value in range(5):
        hooks.notify("prouter_told", subject="x", value=value)
    assert good == bad == []
    await hooks.close()
    assert good == bad == [0, 1, 2, 3, 4]


async def test_an_observer_that_keeps_failing_is_told_nothing_any_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, "prouter")
    told: list[int] = []
    hooks = hooks_of(a=observing(told, RuntimeError()))
    for value in range(MUTED_AFTER * 2):
        hooks.notify("prouter_told", subject="x", value=value)
    await hooks.close()
    assert told == list(range(MUTED_AFTER))


async def test_an_observer_that_does_not_keep_up_loses_the_oldest_news_and_is_told_so() -> None:
    told: list[int] = []
    go_on = asyncio.Event()
    other: list[int] = []

    class Missing(observing(told, wait=go_on)):  # type: ignore[misc]
        @hookimpl
        def prouter_news_missed(self, count: int) -> None:
            told.append(-count)

    hooks = hooks_of(a=Missing, b=observing(other, wait=go_on))
    hooks.notify("prouter_told", subject="x", value=-1)
    await asyncio.sleep(0)
    for value in range(NEWS_KEPT + 10):
        hooks.notify("prouter_told", subject="x", value=value)
    go_on.set()
    await hooks.close()
    assert told == [-1, -10, *range(10, NEWS_KEPT + 10)]
    assert other == [-1, *range(10, NEWS_KEPT + 10)]
