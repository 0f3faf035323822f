"""One owner for each uid of a job, whoever else claims it."""

from __future__ import annotations

import random

import pytest

from prouter.core.agents.owners import Owners
from prouter.model import job_machine
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import JobRecord, Sender

JOB = JobRecord(JobUid("0" * 32), "", Sender("CLIENT", "r", ""), created_at=1.0)
A, B, C = AgentUid("a"), AgentUid("b"), AgentUid("c")


def test_the_first_has_it_and_each_other_claim_is_told_once() -> None:
    owners = Owners()
    assert [owners.note(JOB, agent) for agent in (A, A, B, B, C, A)] == [None, None, A, None, A, None]
    assert owners.of(JOB.uid) == A


def test_the_next_has_it_when_it_is_removed() -> None:
    owners = Owners()
    for agent in (A, B, C):
        owners.note(JOB, agent)
    owners.release(JOB.uid, B)
    owners.note(job_machine.closed(JOB), A)
    assert owners.of(JOB.uid) == C


@pytest.mark.parametrize("seed", range(20))
def test_whoever_has_it_there_is_one_owner_who_has_it_and_nothing_is_left_over(seed: int) -> None:
    chance, owners = random.Random(seed), Owners()
    have: set[AgentUid] = set()
    for _ in range(100):
        agent, before = chance.choice((A, B, C)), owners.of(JOB.uid)
        if chance.random() < 0.5:
            owners.note(JOB, agent)
            have.add(agent)
        else:
            owners.release(JOB.uid, agent)
            have.discard(agent)
        owner = owners.of(JOB.uid)
        assert (owner in have) if have else owner is None
        assert before not in have or owner == before, "it is taken from nobody"
    for agent in (A, B, C):
        owners.release(JOB.uid, agent)
    assert not owners._owners
    assert not owners._others
