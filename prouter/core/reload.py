"""Reading the configuration again while the router runs: what can change without a restart is asked of the plugins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from prouter.core.access import Access
from prouter.core.settings import RouterSettings
from prouter.errors import ConfigError, ProuterError
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.config import Settings

log = logging.getLogger(__name__)


class Reload:
    """One at a time."""

    def __init__(self, reread: Callable[[], Settings], hooks: Hooks, access: Access, *, insecure: bool) -> None:
        self._reread = reread
        self._hooks = hooks
        self._access = access
        self._insecure = insecure
        self._running = asyncio.Lock()

    async def __call__(self) -> Mapping[str, Any]:
        """{"reloaded": {plugin: [key, ...]}, "failed": {plugin: [mistake, ...]}}. Raises ConfigError."""
        async with self._running:
            settings = await asyncio.to_thread(self._reread)
            reloaded: dict[str, list[str]] = {}
            failed: dict[str, list[str]] = {}
            for plugin, answer in await self._hooks.each("prouter_reload", config=settings):
                if isinstance(answer, ProuterError):
                    failed[plugin] = _mistakes(answer)
                elif answer is not None:
                    reloaded[plugin] = list(answer)
            try:
                self._access.read_guards(RouterSettings.read(settings.section), insecure=self._insecure)
            except ConfigError as error:
                failed["prouter"] = _mistakes(error)
        log.info("the configuration was read again: %s", ", ".join(sorted(reloaded)) or "nothing changed")
        for who, mistakes in failed.items():
            log.warning("%s could not take over the configuration: %s", who, "; ".join(mistakes))
        return {"reloaded": reloaded, "failed": failed}

    async def by_signal(self) -> None:
        """SIGHUP: nobody waits for the answer, so mistakes go into the log."""
        try:
            await self()
        except ProuterError as error:
            log.error("the configuration could not be read again, all stays as it is: %s", error.detail)


def _mistakes(error: ProuterError) -> list[str]:
    return list(error.mistakes) if isinstance(error, ConfigError) else [error.detail]
