"""A client's path in a sandbox, as text: what can be refused before any file is touched."""

from __future__ import annotations

import re

from prouter.errors import InvalidRequest

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
"""What Linux takes."""
MAX_NAMES = 256
"""Directories in one another: a walk holds a descriptor of each."""
TEMPORARY_PREFIX = ".prouter-upload-"
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{16}")


def is_temporary(name: str) -> bool:
    """Whether it is a file that is still being uploaded: it is ours, and nobody else's to name."""
    return _TEMPORARY.fullmatch(name) is not None


def split(path: str) -> tuple[str, ...]:
    """The names of a relative path; `.` and doubled slashes are left out. Raises InvalidRequest.

    Names may hold surrogate escapes: any bytes but `/` and NUL.
    """
    try:
        lengths = [len(name.encode("utf-8", "surrogateescape")) for name in path.split("/")]
    except UnicodeEncodeError:
        raise InvalidRequest("Invalid request: the path is no text") from None
    if "\0" in path:
        raise InvalidRequest("Invalid request: a path can not hold NUL")
    if path.startswith("/"):
        raise InvalidRequest("Invalid request: a path in the sandbox is relative")
    if sum(lengths) + len(lengths) - 1 > MAX_PATH_BYTES:
        raise InvalidRequest(f"Invalid request: a path has at most {MAX_PATH_BYTES} bytes")
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if not names or path.endswith(("/", "/.")):
        raise InvalidRequest("Invalid request: the path names no file")
    if ".." in names:
        raise InvalidRequest("Invalid request: a path can not hold `..`")
    if max(lengths) > MAX_NAME_BYTES:
        raise InvalidRequest(f"Invalid request: a name has at most {MAX_NAME_BYTES} bytes")
    if any(map(is_temporary, names)):
        raise InvalidRequest("Invalid request: such a name is kept for files that are still being uploaded")
    if len(names) > MAX_NAMES:
        raise InvalidRequest(f"Invalid request: a path has at most {MAX_NAMES} names")
    return names


def split_directory(path: str) -> tuple[str, ...]:
    """The same for a directory: slashes and dots at the end are one, and nothing at all is the sandbox itself."""
    named = path.rstrip("/")
    while named.endswith("/."):
        named = named[:-2].rstrip("/")
    return () if named in ("", ".") and not path.startswith("/") else split(named or path)
