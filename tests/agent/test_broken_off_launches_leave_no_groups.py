"""A launch for which a guardian has no descriptors leaves nothing: nobody sweeps behind one that says it failed."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("guardians are Linux's", allow_module_level=True)

from prouter.agent.guard.held import cgroup, controllers
from prouter.agent.guard.held.launch import launch


@pytest.mark.parametrize("pipes", [0, 1, 2])
def test_its_groups_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipes: int) -> None:
    """`pipes`: how many there are still descriptors for."""
    (tmp_path / "sandbox").mkdir()
    groups = [tmp_path / name for name in ("version 2", "pids")]

    def make(job: str) -> str:
        groups[0].mkdir()
        return str(groups[0])

    def claim(job: str, group: str, limits: dict[str, int]) -> controllers.Controllers:
        groups[1].mkdir()
        return controllers.Controllers(group=group, made={"pids": str(groups[1])})

    pipe2, made = os.pipe2, []

    def scarce(flags: int) -> tuple[int, int]:
        if len(made) == pipes:
            raise OSError(errno.EMFILE, "Too many open files")
        made.append(pipe2(flags))
        return made[-1]

    monkeypatch.setattr(cgroup, "make", make)
    monkeypatch.setattr(controllers, "claim", claim)
    monkeypatch.setattr(os, "pipe2", scarce)
    with pytest.raises(OSError, match="Too many open files"):
        launch("job", str(tmp_path), {"cgroups": True, "args": ["true"], "env": {}, "cwd": str(tmp_path)})
    assert not any(group.exists() for group in groups)
    assert all(not os.path.exists(f"/proc/self/fd/{fd}") for pipe in made for fd in pipe)
