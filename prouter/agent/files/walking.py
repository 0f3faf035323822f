"""All that is below a directory of a sandbox, some at a time: as deep as paths go and no deeper. Blocks.

Only the names of the directories on the way down are kept, so a walk costs what its widest directories have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from prouter.agent.files.changes import entry_of, opened, shown_names
from prouter.agent.files.paths import MAX_NAMES, MAX_PATH_BYTES
from prouter.agent.files.trees import Directory, Names, Tree, explain
from prouter.errors import TooLarge
from prouter.model.sandbox_files import FoundEntry

STEP = 1000
"""Entries of one step, in one thread hop."""
_SHOWN = 60
"""Characters of a path that is too long to be shown whole."""


class Walk:
    """One walk. `skip` and `most` as in SandboxFiles.walk; the methods run in a thread, one at a time."""

    def __init__(self, tree: Tree, top: Names, skip: Callable[[str], bool], most: int) -> None:
        self._tree = tree
        self._top = top
        self._skip = skip
        self._most = most
        self._seen = 0
        self._levels: list[tuple[Names, list[str]]] = []
        """The directories on the way down, each with the names in it that are to come, the next one last."""
        self._begun = False

    def step(self) -> list[FoundEntry]:
        """The next entries; empty at the end."""
        if not self._begun:
            self._begun = True
            self._enter(())
        found: list[FoundEntry] = []
        while self._levels and len(found) < STEP:
            below, left = self._levels[-1]
            if not left:
                self._levels.pop()
                continue
            with self._going(below):
                with contextlib.closing(self._tree.directory((*self._top, *below))) as directory:
                    child = self._look(directory, below, left, found)
                if child is not None:
                    self._enter(child)
        return found

    def _look(self, directory: Directory, below: Names, left: list[str], found: list[FoundEntry]) -> Names | None:
        """Entries of one directory until one of them is a directory to go into, which is returned."""
        while left and len(found) < STEP:
            name = left.pop()
            try:
                entry = entry_of(name, directory.facts(name))
            except FileNotFoundError:  # went meanwhile
                continue
            names = (*below, name)
            path = "/".join(names)
            if entry.type in ("file", "directory"):
                self._check(names, path)
                found.append((path, entry))
            if entry.type == "directory" and not self._skip(path):
                return names
        return None

    def _enter(self, below: Names) -> None:
        """Raises FileMissing for the top only."""
        with (
            self._going(below),
            opened(self._tree, (*self._top, *below)) as directory,
            shown_names(directory) as shown,
        ):
            names = []
            for name in shown:
                self._seen += 1
                if self._seen > self._most:
                    raise TooLarge(
                        f"there are more than {self._most} files and directories to look through; `path` chooses a "
                        "part of them, and an `exclude` that ends in * leaves directories out"
                    )
                names.append(name)
            names.sort(reverse=True)
            self._levels.append((below, names))

    @contextlib.contextmanager
    def _going(self, below: Names) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:  # it went meanwhile, and all that is below it
            if not below:
                raise explain(error, "/".join(self._top)) from None
            self._forget(below)
        except OSError as error:
            raise explain(error, "/".join((*self._top, *below))) from None

    def _forget(self, below: Names) -> None:
        if self._levels and self._levels[-1][0] == below:
            self._levels.pop()

    def _check(self, names: Names, path: str) -> None:
        deep = len(self._top) + len(names) > MAX_NAMES
        size = len("/".join((*self._top, path)).encode("utf-8", "surrogateescape"))
        if deep or size > MAX_PATH_BYTES:
            raise TooLarge(
                f"{path[:_SHOWN] + '...'!r} is deeper than {MAX_NAMES} names or longer than {MAX_PATH_BYTES} bytes; "
                "an `exclude` that ends in * leaves directories out"
            )
