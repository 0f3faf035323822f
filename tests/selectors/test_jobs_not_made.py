"""Plugins hear of every job that was asked for and is not there, so that they can give back what they took for it."""

from __future__ import annotations

import pytest

from prouter import hookspecs, implements
from prouter.client import RequestFailed
from prouter.model.access import Principal, Refusal
from prouter.model.jobs import CreateRequest
from prouter.testing import InProcess, eventually


class Ledger:
    """Notes who was admitted and who got no job."""

    def __init__(self) -> None:
        self.admitted: list[str] = []
        self.not_made: list[tuple[str, str]] = []

    @implements(hookspecs.prouter_admit_job)
    def prouter_admit_job(self, request: CreateRequest, principal: Principal) -> Refusal | None:
        self.admitted.append(request.name)
        return None

    @implements(hookspecs.prouter_job_not_made)
    def prouter_job_not_made(self, request: CreateRequest, principal: Principal, why: str) -> None:
        self.not_made.append((request.name, why))


class Strict:
    """Asked after the ledger: refuses and fails."""

    @implements(hookspecs.prouter_admit_job)
    def prouter_admit_job(self, request: CreateRequest, principal: Principal) -> Refusal | None:
        if request.name == "broken":
            raise ValueError
        return Refusal("not today") if request.name == "vetoed" else None


async def test_who_was_admitted_and_got_no_job_is_told(in_process: InProcess) -> None:
    in_process.expected_errors = ["prouter_admit_job", "Traceback", "ValueError"]
    router = await in_process.router(plugins={"a_strict": Strict, "ledger": Ledger})
    agent = await in_process.agent(router)
    ledger: Ledger = router.plugin("ledger")
    uid = "0" * 31 + "1"
    async with router.client() as client:
        await client.create({"type": "uid", "uid": agent.uid}, "made", uid=uid)
        for name, locator, made_before in (
            ("nobody", {"type": "uid", "uid": "not there"}, ""),
            ("no such selector", {"type": "strange"}, ""),
            ("vetoed", {"type": "uid", "uid": agent.uid}, ""),
            ("broken", {"type": "uid", "uid": agent.uid}, ""),
            ("other arguments", {"type": "uid", "uid": agent.uid}, uid),
        ):
            with pytest.raises(RequestFailed):
                await client.create(locator, name, uid=made_before)
        await client.explain({"type": "uid", "uid": "not there"}, "a dry run")
        await eventually(lambda: len(ledger.not_made) == 5)
    assert ledger.admitted == ["made", *(name for name, _ in ledger.not_made), "a dry run"]
    reasons = dict(ledger.not_made)
    assert "not found" in reasons["nobody"]
    assert reasons["vetoed"] == "the job is not admitted: not today"
    assert "made before with other arguments" in reasons["other arguments"]
