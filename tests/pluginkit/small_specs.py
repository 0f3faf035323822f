"""A hook of each kind with short deadlines, and an app that has plugins for them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prouter.hookspecs import hookspec
from prouter.model.access import Refusal
from prouter.model.http import Reply, RequestHead
from prouter.model.plugin import Kind, Route
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.discovery import Found, Switches
from prouter.pluginkit.host import PluginHost

SHORT = 0.05


@hookspec(Kind.COLLECT)
def prouter_routes() -> Sequence[Route]:
    raise NotImplementedError


@hookspec(Kind.FIRST, deadline_seconds=SHORT)
def prouter_asked(value: int) -> int | str | None:
    """First."""


@hookspec(Kind.CHAIN, deadline_seconds=SHORT, chained="value")
def prouter_changed(value: int) -> int | None:
    """Chain."""


@hookspec(Kind.CHAIN, deadline_seconds=SHORT, chained="head")
def prouter_head(head: RequestHead) -> RequestHead | Reply | None:
    """Chain of heads."""


@hookspec(Kind.VETO, deadline_seconds=SHORT)
def prouter_allowed(value: int) -> Refusal | None:
    """Veto."""


@hookspec(Kind.GATHER, deadline_seconds=SHORT)
def prouter_gathered() -> int | None:
    """Gather."""


@hookspec(Kind.SETUP, deadline_seconds=SHORT)
def prouter_startup(log: list[str]) -> None:
    """Setup."""


@hookspec(Kind.NOTIFY, deadline_seconds=SHORT)
def prouter_told(value: int) -> None:
    """Notify."""


@hookspec(Kind.NOTIFY, deadline_seconds=SHORT)
def prouter_news_missed(count: int) -> None:
    """Notify, by the mechanism itself."""


@hookspec(Kind.NOTIFY, deadline_seconds=SHORT)
def prouter_handle_exception(error: BaseException, about: str) -> None:
    """Notify, by the mechanism itself."""


@hookspec(Kind.NOTIFY, deadline_seconds=SHORT)
def prouter_shutdown() -> None:
    """The end."""


def host_of(plugins: dict[str, type], *, required: Sequence[str] = ()) -> PluginHost:
    """An app with plugins by name; of two, the later name is asked first."""
    host = PluginHost(sys.modules[__name__])
    found = [Found(name, "tests", "1", lambda made=plugin: made) for name, plugin in sorted(plugins.items())]
    host.load(found, Switches(required=frozenset(required)))
    return host


def hooks_of(**plugins: type) -> Hooks:
    return Hooks(host_of(plugins))
