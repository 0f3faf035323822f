"""Reading the configuration again while the router runs: what can change without a restart is asked of the plugins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from prouter.core.access import Access
from prouter.core.origin import Origins
from prouter.core.settings import RouterSettings
from prouter.errors import ConfigError, ProuterError
from prouter.model import unexpected
from prouter.model.access import Guards
from prouter.model.reload import TakeOver
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.config import Settings

log = logging.getLogger(__name__)


class Reload:
    """One at a time, in two phases: everybody checks what was read; only if nobody found a mistake do all take over."""

    def __init__(self, reread: Callable[[], Settings], hooks: Hooks, access: Access) -> None:
        self._reread = reread
        self._hooks = hooks
        self._access = access
        self._running = asyncio.Lock()

    async def __call__(self) -> Mapping[str, Any]:
        """{"reloaded": {plugin: [key, ...]}, "failed": {plugin: [mistake, ...]}}, one of them empty.

        Raises ConfigError for a configuration that can not be read or does not fit the schemas.
        """
        async with self._running:
            settings = await asyncio.to_thread(self._reread)
            changes, failed = await self._checked(settings)
            guards = Guards()
            try:
                fresh = RouterSettings.read(settings.section)
                Origins(fresh)
                guards = self._access.judged(fresh, {who: c.guards for who, c in changes.items() if c.guards})
            except ConfigError as error:
                failed.setdefault("prouter", _mistakes(error))
            if failed:
                for who, mistakes in failed.items():
                    log.warning("all stays as it is; %s found a mistake: %s", who, "; ".join(mistakes))
                return {"reloaded": {}, "failed": failed}
            self._take_over(changes, guards)
        log.info("the configuration was read again: %s", ", ".join(sorted(changes)) or "nothing can change")
        return {"reloaded": {who: list(change.keys) for who, change in changes.items()}, "failed": {}}

    async def _checked(self, settings: Settings) -> tuple[dict[str, TakeOver], dict[str, list[str]]]:
        """What each plugin would take over, and who found a mistake."""
        changes: dict[str, TakeOver] = {}
        failed: dict[str, list[str]] = {}
        for plugin, answer in await self._hooks.each("prouter_reload", config=settings):
            if isinstance(answer, TakeOver):
                changes[plugin] = answer
            elif isinstance(answer, ProuterError):
                failed[plugin] = _mistakes(answer)
            elif answer is not None:
                failed[plugin] = [f"prouter_reload answered {type(answer).__name__} instead of a TakeOver"]
        return changes, failed

    def _take_over(self, changes: Mapping[str, TakeOver], guards: Guards) -> None:
        """Without a turn of the loop in between: no request meets one half of it."""
        for plugin, change in changes.items():
            try:
                change.apply()
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                # it broke its promise; how far it came is not known, and the others keep theirs
                log.exception("plugin %s failed to take over the configuration", plugin)
                unexpected.tell(error, f"reload of plugin {plugin}")
        self._access.take_guards(guards)

    async def by_signal(self) -> None:
        """SIGHUP: nobody waits for the answer, so mistakes go into the log."""
        try:
            await self()
        except ProuterError as error:
            log.error("the configuration could not be read again, all stays as it is: %s", error.detail)


def _mistakes(error: ProuterError) -> list[str]:
    return list(error.mistakes) if isinstance(error, ConfigError) else [error.detail]
