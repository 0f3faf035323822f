"""The runs of a job one after another, for who follows its output."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.agent.jobs.held import HeldDriver
from prouter.agent.jobs.records import Launch
from prouter.agent.output.reader import output_ends
from prouter.errors import Conflict
from prouter.model.drivers import Running
from prouter.model.jobs import StartRequest
from prouter.model.output import OutputStream

VIEWS = (None, *OutputStream)
MAX_EARLIER = 16
"""Runs of which is known where their output ended, for who followed one and was cut off meanwhile."""


@dataclass(frozen=True, slots=True)
class Start:
    """A start that was accepted."""

    driver: HeldDriver
    request: StartRequest
    key: str | None
    """The Idempotency-Key of who asked for it."""
    running: Running | None = None
    """The tree, when an earlier run of the agent began it."""
    launch: Launch = Launch({}, 0)  # noqa: RUF009 -- a frozen value
    """What that tree was given."""


class Run:
    """One run, or the one to come."""

    def __init__(
        self,
        *,
        begun: bool = False,
        begins_at: int = 0,
        number: int = 1,
        earlier: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self.begun = begun
        self.begins_at = begins_at
        """The offset of its first byte in the view of both streams."""
        self.number = number
        """From 1 on; it does not change with the agent's end."""
        self._earlier = dict(earlier or {})
        """By its number, where the output of a run before ended in each of VIEWS."""
        self.ends: Mapping[OutputStream | None, int] | None = None
        """Where its output ended in each view; known once the next one is about to begin."""

    async def next(self, job_directory: Path) -> Run:
        """The run that begins now, before it can write anything."""
        if not self.begun:
            self.begun = True
            return self
        self.ends = await asyncio.to_thread(output_ends, job_directory)
        earlier = self._earlier | {self.number: [self.ends[view] for view in VIEWS]}
        newest = {number: earlier[number] for number in sorted(earlier)[-MAX_EARLIER:]}
        return Run(begun=True, begins_at=self.ends[None], number=self.number + 1, earlier=newest)

    def of(self, number: int | None) -> Run:
        """The run of that number, this one without. Raises Conflict for one of which is not known where it ended."""
        if number is None or number == self.number:
            return self
        if number not in self._earlier:
            raise Conflict(f"the job has run anew, and where its run {number} ended is not known any more")
        run = Run(begun=True, number=number)
        run.ends = dict(zip(VIEWS, self._earlier[number], strict=True))
        return run

    def to_wire(self) -> list[Any]:
        """For `from_wire` of the agent's next run."""
        return [self.number, {str(number): list(ends) for number, ends in self._earlier.items()}]

    @classmethod
    def from_wire(cls, value: Any, *, begun: bool) -> Run:
        """The run that was current when the agent ended; the first one where that is not known."""
        match value:
            case [int(number), dict(earlier)]:
                with suppress(ValueError, TypeError):
                    known = {int(name): ends for name, ends in earlier.items() if len(ends) == len(VIEWS)}
                    return cls(begun=begun, number=number, earlier=known)
        return cls(begun=begun)
