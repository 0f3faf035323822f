"""What an agent's jobs hold, as a router knows it: counted as news come, since it is asked for with every one of them.

Fed with every change that the mirror tells. What is held, and from when to when, is said in model/resources.py.
"""

from __future__ import annotations

from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, JobState
from prouter.model.resources import JOBS, asked_by


class Holdings:
    """What is always true: the counts are those of `model.resources.in_use` over the records that were told last."""

    def __init__(self) -> None:
        self.started = 0
        """Jobs PENDING or RUNNING."""
        self.waiting = 0
        """Jobs NEW."""
        self.used: dict[str, int] = {JOBS: 0}
        self._holders: dict[JobUid, JobRecord] = {}

    def note(self, record: JobRecord) -> None:
        """A job's newest record."""
        before = self._holders.pop(record.uid, None)
        if before is not None:
            self._add(before, -1)
        if not record.ended:
            self._holders[record.uid] = record
            self._add(record, 1)

    def _add(self, record: JobRecord, sign: int) -> None:
        if record.state is JobState.NEW:
            self.waiting += sign
        else:
            self.started += sign
        for name, count in asked_by(record.resources).items():
            self.used[name] = self.used.get(name, 0) + sign * count
            if not self.used[name] and name != JOBS:
                del self.used[name]
