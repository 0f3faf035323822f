"""Which file met its limit, looked for in sandboxes of all kinds: within bounds, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("guardians are Linux's", allow_module_level=True)

from prouter.agent.guard.held import grown
from prouter.agent.guard.held.bounds import Bounds
from prouter.agent.guard.held.controllers import Controllers

SIZE = 4096


def found(sandbox: Path, since: float = 0.0) -> str:
    return grown.file_of_size(str(sandbox), SIZE, since)


def write(path: Path, size: int = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def test_it_is_exactly_as_long_as_the_limit_and_of_the_sandbox(tmp_path: Path) -> None:
    sandbox, outside = tmp_path / "sandbox", tmp_path / "outside"
    for size in (SIZE - 1, SIZE + 1):
        write(sandbox / str(size), size)
    write(sandbox / ".pagent.stdout")
    write(outside / "file")
    (sandbox / "link").symlink_to(outside)
    (sandbox / "name").symlink_to(outside / "file")
    (sandbox / "loop").symlink_to(sandbox)
    assert found(sandbox) == ""
    write(sandbox / "a" / "b" / "file")
    assert found(sandbox) == "a/b/file"
    (tmp_path / "replaced").symlink_to(sandbox)
    assert found(tmp_path / "replaced") == "", "a sandbox that became a link is not followed"
    assert found(tmp_path / "gone") == ""


def test_it_was_written_in_this_run(tmp_path: Path) -> None:
    write(tmp_path / "uploaded")
    began = os.stat(tmp_path / "uploaded").st_mtime + 1
    assert found(tmp_path, began) == ""
    os.utime(tmp_path / "uploaded", (began, began))
    assert found(tmp_path, began) == "uploaded"


def test_a_look_is_bounded_and_what_is_near_is_seen_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        write(tmp_path / "deep" / "er" / str(number), 1)
    write(tmp_path / "deep" / "file")
    monkeypatch.setattr(grown, "ENTRIES", 5)
    assert found(tmp_path) == "deep/file"
    (tmp_path / "deep" / "file").unlink()
    write(tmp_path / "deep" / "er" / "est" / "file")
    assert found(tmp_path) == ""
    monkeypatch.undo()
    assert found(tmp_path) == "deep/er/est/file"
    monkeypatch.setattr(grown, "SECONDS", -1.0)
    assert found(tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"two\nlines\x1b[1m", r"two\nlines\x1b[1m"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("ü".encode(), "ü"),
        (b"x" * 250, "..."),
    ],
)
def test_a_path_is_shown_in_one_line(tmp_path: Path, name: bytes, shown: str) -> None:
    with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
        file.write(bytes(SIZE))
    assert found(tmp_path).startswith(shown)
    assert len(found(tmp_path)) <= 203


@pytest.mark.parametrize(
    ("exit_code", "told"), [(1, True), (153, True), (-6, True), (0, False), (-9, False), (None, False)]
)
def test_who_succeeds_or_is_killed_by_others_met_no_limit(tmp_path: Path, exit_code: int | None, told: bool) -> None:
    bounds = Bounds({"file_bytes": SIZE}, "", Controllers(claimed_at=time.time()), str(tmp_path))
    write(tmp_path / "file")
    wanted = ("limit", "a file of it grew beyond its limit of 4 KiB: file")
    assert bounds.at_end(exit_code) == (wanted if told else None)


def test_the_signal_alone_says_it_when_the_file_is_gone(tmp_path: Path) -> None:
    bounds = Bounds({"file_bytes": SIZE}, "", Controllers(), str(tmp_path))
    assert bounds.at_end(-25) == ("limit", "a file of it grew beyond its limit of 4 KiB")


def test_one_entry_that_can_not_be_looked_at_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount whose server is gone, a file that was renamed meanwhile."""
    names = [f"file{number}" for number in range(5)]
    for name in names:
        write(tmp_path / name, 1)
    write(tmp_path / "full")
    scandir = os.scandir

    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self._entry = entry.name, entry

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            if self.name in names:
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
            return self._entry.stat(follow_symlinks=follow_symlinks)

    @contextlib.contextmanager
    def scanned(path: str) -> Iterator[Iterator[Entry]]:
        with scandir(path) as entries:
            yield iter(sorted((Entry(entry) for entry in entries), key=lambda entry: entry.name))

    monkeypatch.setattr(grown.os, "scandir", scanned)
    assert found(tmp_path) == "full"


def test_what_is_to_be_looked_at_yet_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"{number:0200}").mkdir()
    write(tmp_path / "last" / "file")
    monkeypatch.setattr(grown, "WAITING", 0)
    assert found(tmp_path) == ""
    write(tmp_path / "file")
    assert found(tmp_path) == "file", "what is near is seen all the same"
    (tmp_path / "file").unlink()
    monkeypatch.setattr(grown, "WAITING", 21 * 201)
    assert found(tmp_path) == "last/file"


def test_a_disk_that_does_not_answer_holds_no_end_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hangs(path: str) -> os.stat_result:
        answers.wait(60)
        raise OSError(errno.EIO, "Input/output error")

    write(tmp_path / "file")
    monkeypatch.setattr(grown, "SECONDS", 0.05)
    monkeypatch.setattr(grown, "MORE_SECONDS", 0.05)
    monkeypatch.setattr(grown.os, "lstat", hangs)
    looking = threading.Thread(target=found, args=(tmp_path,))
    looking.start()
    looking.join(30)
    hung = looking.is_alive()
    answers.set()
    looking.join()
    assert not hung


def test_a_clock_that_is_set_back_hides_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is set forward makes none of those before into one of the run."""
    write(tmp_path / "uploaded")
    began, hour = time.time(), 3600
    os.utime(tmp_path / "uploaded", (began - 60, began - 60))
    claimed = Controllers(claimed_at=began)
    assert Bounds({"file_bytes": SIZE}, "", claimed, str(tmp_path)).at_end(1) is None
    monkeypatch.setattr(time, "time", lambda: began + hour)
    assert Bounds({"file_bytes": SIZE}, "", claimed, str(tmp_path)).at_end(1) is None
    monkeypatch.setattr(time, "time", lambda: began - hour)
    (tmp_path / "uploaded").unlink()
    write(tmp_path / "file")
    os.utime(tmp_path / "file", (began - hour + 1, began - hour + 1))
    assert Bounds({"file_bytes": SIZE}, "", claimed, str(tmp_path)).at_end(1) is not None
