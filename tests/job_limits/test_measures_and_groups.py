"""Parts of limits alone: measures of a sandbox, cgroups that the machine of the tests may not have, ceilings."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("guardians are Linux's", allow_module_level=True)

from prouter.agent.guard.held import cgroup, controllers, measure
from prouter.agent.guard.held.bounds import Bounds, in_units
from prouter.agent.guard.held.measure import MAX_DEPTH, TOO_DEEP, Measure
from prouter.agent.guard.held.walk import SLOWEST_SECONDS, Walk
from prouter.agent.jobs.limits import JobLimits
from prouter.errors import InvalidRequest, NotPossible
from prouter.testing import eventually

LIMITS = {"memory_bytes": 64 * 1024 * 1024}


def measured(path: Path) -> int:
    measuring = Measure(str(path))
    while (size := measuring.step(0.01)) is None:
        pass
    return size


def test_a_measure_counts_blocks_once_and_stays_inside(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "large").write_bytes(os.urandom(1 << 20))
    empty = measured(inside)
    (inside / "file").write_bytes(os.urandom(1 << 18))
    (inside / "again").hardlink_to(inside / "file")
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    with (inside / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    with (inside / "file").open("rb") as file:
        os.fsync(file)
    assert 1 << 18 <= measured(inside) - empty < 1 << 19
    (tmp_path / "name").symlink_to(outside)
    assert measured(tmp_path / "name") == 0, "a sandbox that became a link is not followed"


def test_a_measure_goes_on_where_it_was(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_bytes(b"x" * 5000)
    measuring, steps = Measure(str(tmp_path)), 1
    while (size := measuring.step(0)) is None:
        steps += 1
    assert steps > 50
    assert size == measured(tmp_path)


def test_a_file_counts_once_in_several_trees(tmp_path: Path) -> None:
    linked: set[tuple[int, int]] = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "file").write_bytes(os.urandom(1 << 20))
    (tmp_path / "two" / "file").hardlink_to(tmp_path / "one" / "file")
    one, two = (Measure(str(tmp_path / name), linked).step(60) or 0 for name in ("one", "two"))
    assert one >= 1 << 20 > two


@pytest.mark.parametrize("beneath", [True, False])
def test_a_directory_that_can_not_be_read_on_ends_no_measure(
    beneath: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there are no descriptors of directories, as on Windows."""
    monkeypatch.setattr(measure, "BENEATH", beneath)
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / str(number)).write_bytes(os.urandom(1 << 20))
    (tmp_path / "link").symlink_to("good")
    (tmp_path / "good" / "link").symlink_to("/")

    class Stale:
        """A directory whose server says ESTALE behind the first entry."""

        def __init__(self, entries: os._ScandirIterator[str]) -> None:
            self._entries = entries
            self._told = 0

        def close(self) -> None:
            self._entries.close()

        def __next__(self) -> os.DirEntry[str]:
            self._told += 1
            if self._told > 1:
                raise OSError(errno.ESTALE, "Stale file handle")
            return next(self._entries)

    scandir = os.scandir
    bad = (tmp_path / "bad").stat().st_ino
    monkeypatch.setattr(os, "scandir", lambda at: Stale(scandir(at)) if os.stat(at).st_ino == bad else scandir(at))
    assert 3 << 20 <= measured(tmp_path) < 4 << 20


def test_nothing_can_hide_in_the_depth(tmp_path: Path) -> None:
    os.makedirs(tmp_path / "/".join("d" * (MAX_DEPTH + 5)))
    before = len(os.listdir("/dev/fd"))
    assert measured(tmp_path) >= TOO_DEEP
    assert len(os.listdir("/dev/fd")) == before


class Silent(Measure):
    """Of a disk that does not answer before it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.answers = threading.Event()

    def step(self, seconds: float) -> int | None:
        assert self.answers.wait(60)
        return super().step(seconds)


async def test_nobody_waits_for_a_disk_that_does_not_answer_and_it_goes_on_when_it_does(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    silent = Silent(tmp_path)
    walk = Walk(silent)
    before = threading.active_count()
    assert [walk.look() for _ in range(20)] == [None] * 20
    assert threading.active_count() == before + 1
    silent.answers.set()
    size, seconds = await eventually(walk.look)
    assert 1 << 20 <= size < 2 << 20
    assert seconds <= SLOWEST_SECONDS + 1, "its work, and not for how long it waited"


async def test_where_there_is_no_thread_it_is_measured_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    walk = Walk(Measure(str(tmp_path)))
    assert await eventually(walk.look)


def test_a_version_2_group_with_memory(tmp_path: Path) -> None:
    for name in ("memory.max", "memory.swap.max", "memory.oom.group", "cpu.stat"):
        (tmp_path / name).write_text("")
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    found = controllers.claim("job", str(tmp_path), LIMITS | {"cpu_seconds": 1})
    assert (found.memory, found.cpu, found.made) == ("cgroup2", "cgroup2", {})
    assert (tmp_path / "memory.max").read_text() == str(LIMITS["memory_bytes"])
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "memory.oom.group").read_text() == "1"
    bounds = Bounds(LIMITS, str(tmp_path), found, str(tmp_path))
    assert bounds.at_end(-9) is None, "kills of an earlier run are not this one's"
    (tmp_path / "memory.events").write_text("low 0\noom 4\noom_kill 3\n")
    assert bounds.at_end(-9) == ("out-of-memory", "it used more memory than its limit of 64 MiB")


def test_jobs_are_put_where_memory_can_be_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "service" / "agent"
    own.mkdir(parents=True)
    monkeypatch.setattr(cgroup, "_mount", lambda: str(tmp_path))
    monkeypatch.setattr(cgroup, "_own", lambda: "/service/agent")
    for group in (own, own.parent):
        (group / "cgroup.controllers").write_text("cpu memory pids\n")
        (group / "cgroup.subtree_control").write_text("")
    assert cgroup.parent() == str(own), "what is above is not ours"
    monkeypatch.setattr(cgroup, "_delegated", lambda path: True)
    assert cgroup.parent() == str(own.parent)
    switch = own.parent / "cgroup.subtree_control"
    assert switch.read_text() == "+pids", "and memory before"
    switch.write_text("memory pids")
    assert cgroup.parent() == str(own.parent)
    assert switch.read_text() == "memory pids"
    switch.write_text("")
    (own.parent / "cgroup.controllers").write_text("cpu pids\n")
    assert not cgroup.limits_memory(str(own.parent))
    assert switch.read_text() == "", "beside processes the one for tasks alone would make groups below useless"


def test_a_version_2_group_with_tasks(tmp_path: Path) -> None:
    events, limits = tmp_path / "pids.events", {"processes": 50}
    (tmp_path / "pids.max").write_text("")
    (tmp_path / "pids.peak").write_text("1224\n")
    events.write_text("max 7\n")
    found = controllers.claim("job", str(tmp_path), limits)
    assert (found.tasks, found.made) == ("cgroup2", {})
    assert (tmp_path / "pids.max").read_text() == "1224"
    bounds = Bounds(limits, "", found, str(tmp_path))
    assert bounds.at_end(1) is None, "what an earlier run was refused is not this one's"
    events.write_text("max 8\n")
    words = "it had more than the 1224 processes and threads that its limit of 50 processes allows"
    assert bounds.at_end(1) == bounds.excess() == ("limit", words)
    (tmp_path / "pids.peak").write_text("1223\n")
    (tmp_path / "pids.current").write_text("1223\n")
    assert bounds.at_end(1) is None, "there was no room above the job's group"
    (tmp_path / "pids.peak").write_text("1224\n")
    assert bounds.at_end(1) == ("limit", words)
    assert controllers.claim("job", str(tmp_path), {"processes": 1 << 53}).tasks == "", "more than there can be"


def test_a_version_2_group_with_tasks_and_no_peak(tmp_path: Path) -> None:
    """As before Linux 6.1: the kernel counts what was refused in the group of who forks, whichever group was full."""
    events, current, limits = tmp_path / "pids.events", tmp_path / "pids.current", {"processes": 50}
    for path, text in ((tmp_path / "pids.max", ""), (events, "max 7\n"), (current, "0\n")):
        path.write_text(text)
    found = controllers.claim("job", str(tmp_path), limits)
    bounds = Bounds(limits, "", found, str(tmp_path))
    events.write_text("max 8\n")
    for tasks in ("3", "611", ""):
        current.write_text(tasks)
        assert bounds.excess() is None, "there was no room above the job's group, or below it"
        assert bounds.at_end(1) is None
    current.write_text("1200")
    assert bounds.at_end(1) is None, "nor is that its limit's which was refused before it had so many"
    events.write_text("max 9\n")
    words = "it had more than the 1224 processes and threads that its limit of 50 processes allows"
    assert bounds.at_end(1) == ("limit", words)
    current.write_text("0")
    assert bounds.at_end(1) == ("limit", words), "it was full when it was looked at"


@pytest.mark.parametrize(("size", "words"), [(1 << 30, "1 GiB"), (1536, "1536 bytes"), (3 << 20, "3 MiB")])
def test_limits_are_told_exactly(size: int, words: str) -> None:
    assert in_units(size) == words


def test_ceilings_hold_for_starts_that_ask_for_nothing_and_for_restarts(caplog: pytest.LogCaptureFixture) -> None:
    given = {"processes": 512, "output_bytes": 8192, "memory_bytes": None, "cpu_seconds": 7}
    most = {"processes": 100, "memory_bytes": 1000, "cpu_seconds": None}
    limits = JobLimits.read(
        given, most, {"processes": "watched", "output_bytes": "truncated", "memory_bytes": "watched"}
    )
    assert "no way to limit cpu_seconds" in caplog.text
    assert "processes" not in caplog.text
    everything = {"processes": 100, "output_bytes": 8192, "memory_bytes": 1000, "cpu_seconds": 7}
    assert limits.of({}) == everything
    assert limits.of({"memory_bytes": 5000, "processes": 3}) == everything | {"processes": 3}
    limits.check({"memory_bytes": 1000, "processes": 100})
    for asked, why in (
        ({"memory_bytes": 1001}, "at most 1000 memory_bytes"),
        ({"output_bytes": 8193}, "keeps at most 8192"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            limits.check(asked)
    with pytest.raises(NotPossible, match="no way to limit cpu_seconds"):
        limits.check({"cpu_seconds": 5})
