"""On behalf of which request something is done to a job: news of it may come by another way than the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prouter.model.ids import JobUid
from prouter.model.jobs import JobRef
from prouter.pluginkit import context


class Acting:
    """Calls that are under way; what is logged of a job meanwhile has the request's id."""

    def __init__(self) -> None:
        self._requests: dict[JobUid, list[str]] = {}

    @contextmanager
    def on(self, ref: JobRef) -> Iterator[None]:
        """While the request of this context acts on the job."""
        mine = context.request_id.get()
        acting = self._requests.setdefault(ref.job, [])
        acting.append(mine)
        try:
            with context.about(job=ref.job, agent=ref.agent):
                yield
        finally:
            acting.remove(mine)
            if not acting:
                self._requests.pop(ref.job, None)

    def request_of(self, job: JobUid) -> str:
        """That of this context, else the newest that acts on the job; empty where nobody asked."""
        acting = self._requests.get(job)
        return context.request_id.get() or (acting[-1] if acting else "")
