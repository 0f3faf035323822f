"""Looking into directories and changing what is in them, beneath one sandbox. Blocks: runs in threads."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from prouter.agent.files.paths import is_temporary
from prouter.agent.files.trees import Directory, Names, Tree, explain
from prouter.errors import Conflict, InvalidRequest, TooLarge
from prouter.model.sandbox_files import FileEntry

MAX_LISTED_NAMES = 1_000_000
"""Names of one directory that are looked at for a page: a second. Only those of the page are kept."""
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


def etag_of(facts: os.stat_result) -> str:
    """Strong: every write changes the time, every upload the inode."""
    return f'"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"'


def entry_of(name: str, facts: os.stat_result) -> FileEntry:
    kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "other")
    return FileEntry(name, kind, facts.st_size, stat.S_IMODE(facts.st_mode), facts.st_mtime)


def current_etag(tree: Tree, names: Names) -> str | None:
    """Of what a download would read; of the thing itself where it can not be opened; None when nothing is there."""
    try:
        found = tree.open(names)
    except OSError:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened(tree, names[:-1]) as parent:
            return etag_of(parent.facts(names[-1]))
        return None
    try:
        return etag_of(os.fstat(found))
    finally:
        os.close(found)


def list_directory(
    tree: Tree, names: Names, path: str, choose: Callable[[Iterable[str]], Sequence[str]]
) -> list[FileEntry]:
    """Raises FileMissing, Conflict (no directory), TooLarge."""
    try:
        with opened(tree, names) as directory, shown_names(directory) as shown:
            entries = []
            for name in choose(_bounded(shown, path)):
                with contextlib.suppress(FileNotFoundError):  # went meanwhile
                    entries.append(entry_of(name, directory.facts(name)))
            return entries
    except OSError as error:
        raise explain(error, path) from None


@contextlib.contextmanager
def shown_names(directory: Directory) -> Iterator[Iterator[str]]:
    """All but those of uploads that are under way; reading ends with the context, whoever gives up before the last."""
    with contextlib.closing(directory.names()) as names:
        yield (name for name in names if not is_temporary(name))


def _bounded(names: Iterator[str], path: str) -> Iterator[str]:
    for count, name in enumerate(names):
        if count == MAX_LISTED_NAMES:
            raise TooLarge(f"{path!r} holds more than {MAX_LISTED_NAMES} names, too many to look through at a time")
        yield name


def make_directory(tree: Tree, names: Names, path: str) -> FileEntry:
    """With those above it. Raises Conflict when something has this name already."""
    made: list[Names] = []
    try:
        with opened_parent(tree, names, made) as parent:
            if not tree.make_directory(names):
                raise Conflict(f"{path!r} is there already")
            parent.sync()
            return entry_of(names[-1], parent.facts(names[-1]))
    except OSError as error:
        remove_made(tree, made)
        raise explain(error, path) from None


def move(tree: Tree, names: Names, to: Names) -> FileEntry:
    """In one step; a file takes the place of a file."""
    with contextlib.ExitStack() as held:
        try:
            source = held.enter_context(opened(tree, names[:-1]))
            kind = source.facts(names[-1]).st_mode
        except OSError as error:
            raise explain(error, "/".join(names)) from None
        return _moved(tree, source, names[-1], kind, to)


def _moved(tree: Tree, source: Directory, name: str, kind: int, to: Names) -> FileEntry:
    made: list[Names] = []
    path = "/".join(to)
    try:
        with opened_parent(tree, to, made) as target:
            there = target.kind(to[-1])
            if there and (stat.S_ISDIR(there) or stat.S_ISDIR(kind)):
                raise Conflict(f"{path!r} is in the way")
            source.move(name, target, to[-1])
            target.sync()
            source.sync()
            return entry_of(to[-1], target.facts(to[-1]))
    except OSError as error:
        remove_made(tree, made)
        if error.errno == errno.EINVAL:
            raise InvalidRequest(f"Invalid request: a directory can not be moved into itself: {path!r}") from None
        raise explain(error, path) from None


def remove(tree: Tree, names: Names, path: str, *, directories: bool) -> None:
    """A symlink as the last name goes itself; with `directories` an empty one goes too. Raises Conflict."""
    try:
        with opened(tree, names[:-1]) as parent:
            if not stat.S_ISDIR(parent.kind(names[-1])):
                parent.unlink(names[-1])
            elif directories:
                tree.remove_directory(names)
            else:
                raise InvalidRequest(f"Invalid request: {path!r} is a directory")
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise Conflict(f"{path!r} is a directory that is not empty") from None
        raise explain(error, path) from None


def opened(tree: Tree, names: Names) -> contextlib.closing[Directory]:
    return contextlib.closing(tree.directory(names))


def opened_parent(tree: Tree, names: Names, made: list[Names]) -> contextlib.closing[Directory]:
    """The directory above, made where it is missing; `made` gets what was made, the upper ones first."""
    above = names[:-1]
    try:
        return opened(tree, above)
    except FileNotFoundError:
        for depth in range(1, len(above) + 1):
            if tree.make_directory(above[:depth]):
                made.append(above[:depth])
    return opened(tree, above)


def remove_made(tree: Tree, made: Sequence[Names]) -> None:
    """What was made for something that failed then."""
    for names in reversed(made):
        with contextlib.suppress(OSError):  # not empty any more: somebody else uses it
            tree.remove_directory(names)
