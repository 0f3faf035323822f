"""GET PATH/explain and POST /jobs/explain: which plugin decided what, and why."""

from __future__ import annotations

from collections.abc import Sequence

from prouter import hookimpl
from prouter.model.create_body import CREATE, create_request
from prouter.model.http import Reply
from prouter.model.plugin import Call, Route
from prouter.model.schemas import EXPLAINED_CREATION, EXPLAINED_JOB
from prouter.model.services import Router


class Explain:
    """Plugin `explain`."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        return [
            Route(
                ("GET", "HEAD"),
                "/jobs/{job}/explain",
                "explain.read",
                "Why a job is where it is, and which plugins a proxied request to it meets.",
                self._job,
                queued_ok=True,
                recorded=True,
                answer=EXPLAINED_JOB,
            ),
            Route(
                ("POST",),
                "/jobs/explain",
                "job.create",
                "What creating a job would come to, and who decides; nothing is made.",
                self._creation,
                schema=CREATE,
                recorded=True,
                answer=EXPLAINED_CREATION,
            ),
        ]

    @property
    def router(self) -> Router:
        assert self._router is not None
        return self._router

    async def _job(self, call: Call) -> Reply:
        return Reply.json(await self.router.explanations.job(call))

    async def _creation(self, call: Call) -> Reply:
        return Reply.json(await self.router.explanations.creation(create_request(call), call.principal))
