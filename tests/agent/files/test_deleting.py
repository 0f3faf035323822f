"""A tree that a job made goes whole, whatever it is like; what can not go is named and the rest goes all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prouter.agent.files import deleting
from prouter.agent.files.deleting import delete_tree

pytestmark = pytest.mark.as_user


def dig(place: Path, depth: int, name: str = "d") -> None:
    """Directories in one another, deeper than a path can say."""
    place.mkdir()
    here = os.open(place, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def test_a_tree_deeper_than_any_path_goes(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    dig(tmp_path / "deep", 3000, "d" * 100)
    delete_tree(tmp_path / "deep")
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_all_kinds_go_and_links_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleting, "BATCH", 3)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "f").touch()
    tree = tmp_path / "tree"
    for place in ("a/b", "a/c/d", "locked/in"):
        (tree / place).mkdir(parents=True)
        for number in range(10):
            (tree / place / str(number)).touch()
            (tree / place / f"l{number}").symlink_to(tmp_path / "kept")
    os.mkfifo(tree / "fifo")
    for place in ("locked/in", "locked"):
        (tree / place).chmod(0)
    delete_tree(tree)
    delete_tree(tree)
    (tmp_path / "link").symlink_to("kept")
    delete_tree(tmp_path / "link")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["kept", "kept/f"]


def test_what_can_not_go_stays_alone_and_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    for name in ("a", "b"):
        (tree / name).mkdir(parents=True)
        for number in ("1", "2", "busy"):
            (tree / name / number).touch()
    unlink = os.unlink

    def busy(name: str, *, dir_fd: int) -> None:
        if name == "busy":
            raise PermissionError(1, "Operation not permitted")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", busy)
    with pytest.raises(OSError, match="not permitted"):
        delete_tree(tree)
    assert sorted(path.name for path in tree.rglob("*")) == ["a", "b", "busy", "busy"]
