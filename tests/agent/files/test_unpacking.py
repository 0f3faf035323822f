"""Many files at once: what is undone when one of them can not take its place, and what is left alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from opening import Opening

from prouter.agent.files.trees import DescriptorDirectory
from prouter.errors import NoRoom

pytestmark = pytest.mark.as_user


async def unpack(files: Opening, *names: str) -> None:
    async with files() as sandbox, sandbox.unpacking() as unpacking:
        for name in names:
            await unpacking.file(name, 0o644)
            await unpacking.write(b"archive")
        await unpacking.place()


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, before: object = None) -> None:
    """Placing this one finds no room."""
    adopt = DescriptorDirectory.adopt

    def adopted(directory: DescriptorDirectory, source: Path, to: str) -> None:
        if to == name and not source.parent.name.endswith("-replaced"):
            if callable(before):
                before()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        adopt(directory, source, to)

    monkeypatch.setattr(DescriptorDirectory, "adopt", adopted)


@pytest.mark.parametrize("links", [True, False])
async def test_what_was_there_is_there_again(files: Opening, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Also where a file can not have two names."""
    for name in ("a", "z"):
        (files.path / name).write_bytes(b"old")
    (files.path / "link").symlink_to("nowhere")
    inodes = {name: (files.path / name).lstat().st_ino for name in ("a", "link", "z")}
    fail_at(monkeypatch, "z")
    if not links:

        def none(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", none)
    with pytest.raises(NoRoom):
        await unpack(files, "a", "d/e", "link", "new", "z")
    assert {name: (files.path / name).lstat().st_ino for name in files.left()} == inodes
    assert not list(files.path.parent.glob(".unpacking*"))


async def test_what_the_job_put_there_meanwhile_stays(files: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    (files.path / "a").write_bytes(b"old")

    def job() -> None:
        (files.path / "mine").write_bytes(b"job")
        (files.path / "mine").rename(files.path / "a")

    fail_at(monkeypatch, "z", job)
    with pytest.raises(NoRoom):
        await unpack(files, "a", "b", "z")
    assert files.left() == ["a"]
    assert (files.path / "a").read_bytes() == b"job"
