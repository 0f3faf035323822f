"""A daemon's state directory: locked, 0700, with the uid that was made once, and those of plugins in it.

A second daemon of the same kind on a machine finds the first directory locked and takes the next (`router-2`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from urllib.parse import quote

from prouter.errors import StartupError
from prouter.model.ids import new_uid
from prouter.pluginkit.durable import replace_file, set_aside

if sys.platform == "win32":
    from pathlib import WindowsPath as LocalPath
else:
    import fcntl
    from pathlib import PosixPath as LocalPath

log = logging.getLogger(__name__)

MAX_ON_ONE_MACHINE = 1000
MAX_UID_BYTES = 1024
"""Of the file of the uid; its owner may have written it."""


class PrivatePath(LocalPath):
    """A path whose directories, and those above and below it, are made for this user alone."""

    def mkdir(self, mode: int = 0o700, parents: bool = False, exist_ok: bool = False) -> None:
        super().mkdir(mode, parents, exist_ok)


def plugin_directory(state: Path, plugin: str) -> Path:
    """The plugin's own place in a daemon's state directory; nothing is made yet. Any name is a place below it."""
    name = quote(plugin, safe="")
    return PrivatePath(state) / "plugins" / (f"%2E{name[1:]}" if name.startswith(".") else name)


def default_base() -> Path:
    """Where state is kept when nobody says where (XDG Base Directory Specification; %LOCALAPPDATA% on Windows)."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "prouter"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "prouter"


class StateDirectory:
    """An open, locked state directory. `close` gives the lock back; so does the end of the process."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, given: str | None, kind: str) -> StateDirectory:
        """The directory `given`, or the first free one of this kind. Raises StartupError."""
        if given is not None:
            path = Path(given).expanduser().absolute()
            opened = cls._try(path)
            if opened is None:
                raise StartupError(f"{path} is in use by another {kind}; give each its own directory")
            return opened
        base = default_base()
        for number in range(1, MAX_ON_ONE_MACHINE):
            opened = cls._try(base / (kind if number == 1 else f"{kind}-{number}"))
            if opened is not None:
                return opened
        raise StartupError(f"{base} has {MAX_ON_ONE_MACHINE} state directories of a {kind}, all in use")

    @classmethod
    def _try(cls, path: Path) -> StateDirectory | None:
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise StartupError(f"{path} can not be used as a state directory: {error.strerror}") from None
        if not _lock(lock):
            os.close(lock)
            return None
        return cls(path, lock)

    def uid(self) -> str:
        """The uid kept here; made and written at the first call, and when the file holds none, which is set aside.

        Raises StartupError when it can not be read or written.
        """
        file = self.path / "uid"
        uid = new_uid()
        try:
            with file.open("rb") as opened:
                kept = opened.read(MAX_UID_BYTES + 1)
            if (found := _uid_in(kept)) is not None:
                return found
            aside = set_aside(file)
            log.error(
                "%s holds no uid (%d bytes) and is now %s; the uid is %s from now on", file, len(kept), aside, uid
            )
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StartupError(f"{file} can not be read: {error.strerror}") from None
        try:
            replace_file(file, f"{uid}\n".encode())
        except OSError as error:
            raise StartupError(f"{file} can not be written: {error.strerror}") from None
        return uid

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._lock)


def _uid_in(kept: bytes) -> str | None:
    """None for what was torn: nothing, NULs, what is no text. Whatever else its owner wrote there is who it is."""
    text = kept.decode("utf-8", "replace").strip()
    is_whole = text and "\0" not in text and "\ufffd" not in text and len(kept) <= MAX_UID_BYTES
    return text if is_whole else None


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours now. Without flock (Windows) the first byte of the file is locked instead."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
