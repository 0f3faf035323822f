"""Exceptions that nobody expected are told to plugins: from hooks and tasks, each app its own, never the hook's own."""

from __future__ import annotations

import asyncio
import contextvars
from typing import ClassVar

import pytest
from small_specs import hooks_of, host_of

from prouter import hookimpl
from prouter.errors import InvalidRequest, PluginFailure
from prouter.model import unexpected
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.limits import MUTED_AFTER
from prouter.pluginkit.tasks import TaskOwner


class Reporter:
    told: ClassVar[list[tuple[str, str]]]

    def __init__(self) -> None:
        type(self).told = []

    @hookimpl
    def prouter_handle_exception(self, error: BaseException, about: str) -> None:
        self.told.append((type(error).__name__, about))


class OtherReporter(Reporter):
    pass


class Broken:
    @hookimpl
    def prouter_allowed(self, value: int) -> None:
        if value == 1:
            raise InvalidRequest("on purpose")
        raise KeyError(value)


async def fails() -> None:
    raise ZeroDivisionError


async def test_hooks_and_tasks_tell_what_went_wrong_and_where() -> None:
    hooks = hooks_of(broken=Broken, reporter=Reporter)
    hooks.hear_exceptions()
    for value, expected in ((1, InvalidRequest), (2, PluginFailure)):
        with pytest.raises(expected):
            await hooks.veto("prouter_allowed", value=value)
    owner = TaskOwner("cleaning")
    owner.start("of everything", fails())
    await owner.finish(5)
    await hooks.close()
    assert Reporter.told == [
        ("KeyError", "prouter_allowed of plugin broken"),
        ("ZeroDivisionError", "cleaning: of everything"),
    ]


async def test_two_apps_of_one_process_hear_their_own() -> None:
    async def app(hooks: Hooks, name: str) -> None:
        hooks.hear_exceptions()
        owner = TaskOwner(name)
        owner.start("work", fails())
        await owner.finish(5)
        await hooks.close()

    apps = [("one", hooks_of(one=Reporter)), ("two", hooks_of(two=OtherReporter)), ("deaf", hooks_of(broken=Broken))]
    async with asyncio.TaskGroup() as group:
        for name, hooks in apps:
            group.create_task(app(hooks, name), context=contextvars.copy_context())
    assert Reporter.told == [("ZeroDivisionError", "one: work")]
    assert OtherReporter.told == [("ZeroDivisionError", "two: work")]


async def test_its_own_failures_and_those_of_what_it_begins_are_not_told() -> None:
    asked: list[str] = []
    tasks = TaskOwner("reporting")

    class Recursive:
        @hookimpl
        def prouter_handle_exception(self, error: BaseException, about: str) -> None:
            asked.append(about)
            tasks.start("a report", fails())
            raise RuntimeError("no room for reports")

    host = host_of({"recursive": Recursive})
    hooks = Hooks(host)
    hooks.hear_exceptions()
    for number in range(MUTED_AFTER + 5):
        unexpected.tell(ValueError(), f"number {number}")
    await asyncio.sleep(0)
    await hooks.close()
    await tasks.finish(5)
    assert asked == [f"number {number}" for number in range(MUTED_AFTER)], "told again of its own, or not muted"
    assert host.describe()[0]["failures"] == MUTED_AFTER


def test_nothing_is_built_where_nobody_listens() -> None:
    hooks = hooks_of(broken=Broken)
    hooks.hear_exceptions()
    assert unexpected.listener.get() is None
    unexpected.tell(ValueError(), "nobody")
