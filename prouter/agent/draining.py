"""Whether this agent takes new jobs: a switch that routers turn and that outlives the agent.

Belongs here: the switch and its file. Does not: refusing jobs (jobs/admission.py), telling routers (methods.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from prouter.agent.jobs.records import not_written
from prouter.errors import ProuterError
from prouter.model.agents import Drain
from prouter.model.services import Tasks
from prouter.pluginkit.durable import replace_file

log = logging.getLogger(__name__)

FILE = "drain.json"
MAX_BYTES = 4096


class DrainSwitch:
    """The switch; its file is `drain.json` in the agent's state directory.

    What is always true: what routers were told, and what is enforced, is on disk.
    """

    def __init__(self, directory: Path, tasks: Tasks) -> None:
        """Reads the file, blocking; one that is torn is set aside with a message, and the agent takes jobs."""
        self._path = directory / FILE
        self._tasks = tasks
        self._turning = asyncio.Lock()
        self.drain = Drain(self._read())
        self.told: Callable[[], None] = lambda: None
        """Called after every change."""

    async def turn(self, on: bool) -> Drain:
        """How it is then; turning it to where it is changes nothing. It goes on when the caller is gone.

        Raises NoRoom, Unavailable when it can not be written; nothing changed then.
        """
        turned: asyncio.Future[Drain] = asyncio.get_running_loop().create_future()
        self._tasks.start("drain", self._turn(on, turned))
        return await asyncio.shield(turned)

    async def _turn(self, on: bool, turned: asyncio.Future[Drain]) -> None:
        try:
            async with self._turning:
                if on != self.drain.on:
                    await asyncio.to_thread(self._write, on)
                    self.drain = Drain(on, self.drain.revision + 1)
                    log.info("draining: no new jobs are taken" if on else "no longer draining: new jobs are taken")
                    self.told()
            turned.set_result(self.drain)
        except ProuterError as error:
            turned.set_exception(error)
            turned.exception()  # seen: nobody may be waiting any more
        finally:
            turned.cancel()

    def _read(self) -> bool:
        try:
            with self._path.open("rb") as file:
                on = json.loads(file.read(MAX_BYTES))["draining"]
            if not isinstance(on, bool):
                raise ValueError(on)
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            aside = self._path.with_name(f"torn-{FILE}")
            with contextlib.suppress(OSError):
                self._path.replace(aside)
            log.warning(
                "%s does not say whether the agent drains (%s); new jobs are taken, and the file is now %s",
                self._path,
                type(error).__name__,
                aside,
            )
            return False
        return on

    def _write(self, on: bool) -> None:
        try:
            replace_file(self._path, json.dumps({"draining": on}).encode())
        except OSError as error:
            raise not_written(error, "whether the agent drains could not be written") from error
