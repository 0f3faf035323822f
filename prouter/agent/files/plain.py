"""The sandbox by paths, for systems without directory descriptors (Windows).

Each path is resolved and compared before it is used: links that lie there are seen, links that are swapped in between
are not. The documentation says so.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from pathlib import Path

from prouter.agent.files.trees import Names
from prouter.errors import FileMissing

_BINARY = getattr(os, "O_BINARY", 0)
_NEVER_BLOCKS = getattr(os, "O_NONBLOCK", 0)
_NOT_IN_NAMES = "\\:" if os.name == "nt" else ""
"""On Windows a name with these would be a path, a drive or a stream of a file."""


class PathTree:
    """Implements Tree."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, names: Names) -> int:
        return os.open(self._inside(names), os.O_RDONLY | _BINARY | _NEVER_BLOCKS)

    def directory(self, names: Names) -> PathDirectory:
        found = self._inside(names)
        if not found.is_dir():
            code = errno.ENOTDIR if found.exists() else errno.ENOENT
            raise OSError(code, os.strerror(code))
        return PathDirectory(found)

    def make_directory(self, names: Names) -> bool:
        above = self.directory(names[:-1])
        _check(names[-1])
        try:
            (above.path / names[-1]).mkdir(0o755)
        except FileExistsError:
            return False
        return True

    def remove_directory(self, names: Names) -> None:
        (self.directory(names[:-1]).path / names[-1]).rmdir()

    def close(self) -> None:
        return

    def _inside(self, names: Names) -> Path:
        if not self._path.is_dir():
            raise FileMissing("the job's sandbox is gone")
        for name in names:
            _check(name)
        root = self._path.resolve(strict=True)
        try:
            found = root.joinpath(*names).resolve(strict=True)
        except RuntimeError:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        if not found.is_relative_to(root):
            raise OSError(errno.EXDEV, "leaves the sandbox")
        return found


class PathDirectory:
    """Implements Directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def kind(self, name: str) -> int:
        _check(name)
        try:
            return (self.path / name).lstat().st_mode
        except FileNotFoundError:
            return 0

    def facts(self, name: str) -> os.stat_result:
        _check(name)
        return (self.path / name).lstat()

    def names(self) -> Generator[str, None, None]:
        with os.scandir(self.path) as entries:
            for entry in entries:
                yield entry.name

    def create(self, name: str) -> int:
        return os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)

    def permit(self, file: int, mode: int) -> None:
        if hasattr(os, "fchmod"):
            os.fchmod(file, mode)

    def rename(self, name: str, to: str) -> None:
        (self.path / name).replace(self.path / to)

    def move(self, name: str, into: PathDirectory, to: str) -> None:
        _check(name)
        _check(to)
        (self.path / name).replace(into.path / to)

    def adopt(self, source: Path, name: str) -> None:
        _check(name)
        source.replace(self.path / name)

    def hand_out(self, name: str, to: Path) -> None:
        _check(name)
        (self.path / name).replace(to)

    def link_out(self, name: str, to: Path) -> None:
        _check(name)
        if (self.path / name).is_symlink():  # not every system can give one a second name
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        to.hardlink_to(self.path / name)

    def unlink(self, name: str) -> None:
        _check(name)
        (self.path / name).unlink()

    def sync(self) -> None:
        return

    def close(self) -> None:
        return


def _check(name: str) -> None:
    if any(character in _NOT_IN_NAMES for character in name):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
