"""Vetoes and scores that break each promise of their contract, and what the author is told."""

from __future__ import annotations

from typing import Any

import pytest

from prouter import agent_hookspecs, hookimpl, implements
from prouter.model.access import Refusal
from prouter.model.jobs import JobRecord
from prouter.model.plugin import Candidate, Score
from prouter.model.writes import FileWrite, WriteWay
from prouter.testing import ContractBroken, assert_contract
from prouter.testing.contracts import samples


class Shutdown:
    """A plugin of another kind."""

    @hookimpl
    def prouter_shutdown(self) -> None:
        """Does nothing."""


class Veto:
    @hookimpl
    def prouter_admit_job(self, request: Any, principal: Any) -> Any:
        return self.say(request)

    def say(self, request: Any) -> Any:
        return None if request.name else Refusal("a job needs a name")


class VetoWithoutReason(Veto):
    def say(self, request: Any) -> Any:
        return Refusal("")


class VetoOfBools(Veto):
    def say(self, request: Any) -> Any:
        return bool(request.name)


class VetoFragile(Veto):
    def say(self, request: Any) -> Any:
        return None if request.labels["team"] == "lab" else Refusal("no")


VETOES = {
    VetoWithoutReason: "its refusal has no reason",
    VetoOfBools: "it answered True; an objection is a Refusal",
    VetoFragile: "it raised KeyError",
}


@pytest.mark.parametrize("kind", VETOES)
async def test_vetoes(kind: type[Veto]) -> None:
    with pytest.raises(ContractBroken, match=VETOES[kind]):
        await assert_contract(kind(), "veto")


async def test_a_good_veto_and_one_that_decides_otherwise() -> None:
    named, nameless = {"request": samples.a_create_request()}, {"request": samples.a_create_request(name="")}
    await assert_contract(Veto(), "veto", allowed=[named], refused=[nameless])
    with pytest.raises(ContractBroken, match="it had no objection, which is wrong for"):
        await assert_contract(Veto(), "veto", refused=[named])
    with pytest.raises(ContractBroken, match=r"a job needs a name.*, which is wrong"):
        await assert_contract(Veto(), "veto", allowed=[nameless])
    with pytest.raises(ContractBroken, match="it implements no veto"):
        await assert_contract(Shutdown(), "veto")


async def test_a_veto_of_an_agent_under_a_name_of_its_own() -> None:
    class Small:
        @implements(agent_hookspecs.prouter_before_file_write)
        def may_be_written(self, record: JobRecord, write: FileWrite) -> Refusal | None:
            return Refusal("it is too large") if (write.size_bytes or 0) > 100 else None

    small, large = FileWrite("a", WriteWay.FILE, 100), FileWrite("a", WriteWay.FILE, 101)
    await assert_contract(Small(), "veto", allowed=[{"write": small}], refused=[{"write": large}])


async def test_a_plugin_with_two_vetoes_is_asked_which() -> None:
    class Two(Veto):
        @hookimpl
        def prouter_authorize(self, principal: Any, action: str) -> None:
            """Has no objection."""

    await assert_contract(Two(), "veto")
    with pytest.raises(ContractBroken, match="say which hook is meant"):
        await assert_contract(Two(), "veto", allowed=[{"action": "job.read"}])
    await assert_contract(Two(), "veto", hook="prouter_authorize", allowed=[{"action": "job.read"}])


async def test_scores() -> None:
    class Scores:
        points: Any = 3

        @hookimpl
        def prouter_score_agent(self, candidate: Candidate) -> Any:
            return self.points if self.points == "7" else Score(self.points) if candidate.properties else None

    await assert_contract(Scores(), "score")
    Scores.points = "7"
    with pytest.raises(ContractBroken, match="which is no Score and not None"):
        await assert_contract(Scores(), "score")
    Scores.points = float("nan")
    with pytest.raises(ContractBroken, match="it raised ValueError: nan points"):
        await assert_contract(Scores(), "score")
