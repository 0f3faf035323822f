"""Looking through directories: within bounds, and whatever comes and goes meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from opening import Opening

from prouter.agent.files import changes, walking
from prouter.errors import Conflict, FileMissing, TooLarge

pytestmark = pytest.mark.as_user


def nothing(path: str) -> bool:
    return False


async def walked(files: Opening, top: str = "", skip: Callable[[str], bool] = nothing, most: int = 100) -> list[str]:
    async with files() as sandbox:
        return [path async for found in sandbox.walk(top, skip, most) for path, _ in found]


async def test_each_directory_comes_before_what_is_in_it_at_any_step(
    files: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("a/b", "a/c/d", "e"):
        (files.path / place).mkdir(parents=True)
    for place in ("a/b/1", "a/b/2", "a/0", "z", "a/.prouter-upload-0123456789abcdef"):
        (files.path / place).touch()
    (files.path / "link").symlink_to("a")
    os.mkfifo(files.path / "fifo")
    wanted = ["a", "a/0", "a/b", "a/b/1", "a/b/2", "a/c", "a/c/d", "e", "z"]
    for step in (1, 2, 3, 1000):
        monkeypatch.setattr(walking, "STEP", step)
        assert await walked(files) == wanted
    assert await walked(files, "a/b") == ["1", "2"]
    assert await walked(files, skip=lambda path: path == "a") == ["a", "e", "z"]
    for top, error in (("z", Conflict), ("missing", FileMissing)):
        with pytest.raises(error):
            await walked(files, top)


async def test_what_goes_while_it_is_walked_is_left_out(files: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "STEP", 1)
    for place in ("a/1", "a/2", "b/1", "c"):
        (files.path / place).parent.mkdir(exist_ok=True)
        (files.path / place).touch()
    found = []
    async with files() as sandbox:
        async for batch in sandbox.walk("", nothing, 100):
            found += [path for path, _ in batch]
            if found[-1] == "a/1":
                shutil.rmtree(files.path / "a")
                shutil.rmtree(files.path / "b")
                (files.path / "b").touch()
    assert found == ["a", "a/1", "b", "c"]


async def test_more_names_than_allowed_are_too_many(files: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("a/1", "a/2", "b/1"):
        (files.path / place).parent.mkdir(exist_ok=True)
        (files.path / place).touch()
    assert len(await walked(files, most=5)) == 5
    with pytest.raises(TooLarge, match="more than 4 files"):
        await walked(files, most=4)
    monkeypatch.setattr(changes, "MAX_LISTED_NAMES", 1)
    async with files() as sandbox:
        assert len(await sandbox.list("b", sorted)) == 1
        with pytest.raises(TooLarge, match="more than 1 names"):
            await sandbox.list("a", sorted)
