"""Torn jobs that were set aside: none replaces another, each is as old as its name, nothing of them runs on."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from small_jobs import SLEEPS, made, python, runs

from prouter.agent.jobs import set_aside
from prouter.agent.jobs.records import JobDirectory, Records
from prouter.agent.jobs.set_aside import Aside
from prouter.errors import Unavailable
from prouter.model.ids import JobUid
from prouter.testing import Fleet, eventually

pytestmark = pytest.mark.as_user

UID = JobUid("7" * 32)
NINE_DAYS = 9 * 86_400.0


def torn_again(root: Path, text: str) -> None:
    """A job of that uid, its record torn; the agent reads it at its start."""
    directory = JobDirectory(root / UID)
    directory.make()
    (directory.path / "record.json").write_text(text)
    (directory.sandbox / "result").write_text(text)
    long_ago = time.time() - NINE_DAYS
    os.utime(directory.path, (long_ago, long_ago))
    assert Records(root).read_all() == []


async def there(root: Path) -> Aside:
    aside = Aside(root)
    await aside.look()
    return aside


@pytest.mark.parametrize("tells_changes", [True, False], ids=["posix", "as on windows"])
async def test_it_is_as_old_as_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells_changes: bool) -> None:
    """Not as old as the job, where a system tells when a directory was made instead of when it was changed."""
    monkeypatch.setattr(set_aside, "TELLS_CHANGES", tells_changes)
    before = time.time()
    torn_again(tmp_path, "torn")
    (found,) = await there(tmp_path)
    assert found.record.uid == f"torn-{UID}"
    assert before - 1 <= (found.record.finished_at or 0) <= time.time() + 1


async def test_none_takes_the_place_of_another(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        torn_again(tmp_path, text)
    found = sorted(await there(tmp_path), key=lambda one: one.record.uid)
    assert [one.record.uid for one in found] == [f"torn-{UID}", f"torn-{UID}-2", f"torn-{UID}-3"]
    told = [(one.directory.sandbox / "result").read_text() for one in found]
    assert told == ["first", "second", "third"]
    for name in ("torn-x", f"torn-{UID}-x", f"torn-{UID}-", f"torn-{UID}2"):
        (tmp_path / name).mkdir()
    assert len(list(await there(tmp_path))) == 3, "others are nobody's"


async def test_what_is_gone_counts_no_more_and_what_stays_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torn_again(tmp_path, "first")
    (found,) = await there(tmp_path)
    delete = JobDirectory.delete

    def fails(directory: JobDirectory) -> None:
        raise Unavailable("the agent has no means for it now")

    monkeypatch.setattr(JobDirectory, "delete", fails)
    with pytest.raises(Unavailable):
        await found.remove()
    assert not found.removing
    monkeypatch.setattr(JobDirectory, "delete", delete)
    await found.remove()
    assert found.removing, "its room is there again"
    assert list(tmp_path.iterdir()) == []


async def test_nothing_of_it_runs_on(fleet: Fleet) -> None:
    """Its record would say how it is to be told of, so nobody can stop it any more."""
    fleet.expected_errors += ["is lost", "which is not the guardian"]
    router, agent = await fleet.pair("jobs.survive_agent=True")
    async with router.client() as client:
        jobs = [await runs(client, agent) for _ in range(2)]
        places = [agent.jobs / job.info["uid"] for job in jobs]
        await eventually(lambda: all((place / "guardian.json").exists() for place in places))
        held = [json.loads((place / "guardian.json").read_text()) for place in places]
        agent.kill()
        for place in places:
            (place / "record.json").write_text("")
        (places[1] / "guardian.json").write_text("")
        assert all(alive(one["main"]["pid"]) for one in held)
        agent.start()
        await router.agent_is_there(agent)
        for one in held:
            await eventually(lambda one=one: not alive(one["main"]["pid"]) and not alive(one["guardian"]["pid"]))
        again = await made(client, agent)
        await again.start(python(SLEEPS), port_expected_count=0)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
