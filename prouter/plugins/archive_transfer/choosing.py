"""What of a sandbox goes into an archive: all below a directory, or what two globs leave of that, within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fnmatch import fnmatchcase

from prouter.errors import TooLarge
from prouter.model.services import FoundEntry, SandboxFiles

LOOKED_AT = 4
"""Times `archives.max_entries`: so many files and directories are looked at to choose members among them."""

Members = AsyncIterator[FoundEntry]


class Choice:
    """fnmatch on the path below `top`, where `*` crosses slashes, as the original did it; directories must match, too.

    An empty glob is none.
    """

    def __init__(self, files: SandboxFiles, top: str, include: str | None, exclude: str | None, most: int) -> None:
        self._files = files
        self._top = top
        self._include = include or None
        self._exclude = exclude or None
        self._most = most

    async def check(self) -> None:
        """Before anything is sent. Raises as `members` does."""
        async for _ in self.members():
            pass

    async def members(self) -> Members:
        """Each directory before what is in it. Raises FileMissing, Conflict (no directory), TooLarge."""
        count = 0
        async for found in self._files.walk(self._top, self._all_excluded, LOOKED_AT * self._most):
            for path, entry in found:
                if not self._fits(path):
                    continue
                count += 1
                if count > self._most:
                    raise TooLarge(
                        f"an archive has at most {self._most} members (archives.max_entries), and here are more; "
                        "`path`, `include` and `exclude` choose fewer"
                    )
                yield path, entry

    def _fits(self, path: str) -> bool:
        if self._include is not None and not fnmatchcase(path, self._include):
            return False
        return self._exclude is None or not fnmatchcase(path, self._exclude)

    def _all_excluded(self, directory: str) -> bool:
        """Whether the glob matches whatever is in it, so that nobody need look: it ends in a star, and matches this."""
        return self._exclude is not None and self._exclude.endswith("*") and fnmatchcase(directory, self._exclude)
