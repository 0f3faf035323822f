"""A client's path in a sandbox, as text: what can be refused before any file is touched."""

from __future__ import annotations

from prouter.errors import InvalidRequest

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
"""What Linux takes."""


def split(path: str) -> tuple[str, ...]:
    """The names of a relative path; `.` and doubled slashes are left out. Raises InvalidRequest.

    Names may hold surrogate escapes: any bytes but `/` and NUL.
    """
    raw = path.encode("utf-8", "surrogateescape")
    if "\0" in path:
        raise InvalidRequest("Invalid request: a path can not hold NUL")
    if path.startswith("/"):
        raise InvalidRequest("Invalid request: a path in the sandbox is relative")
    if len(raw) > MAX_PATH_BYTES:
        raise InvalidRequest(f"Invalid request: a path has at most {MAX_PATH_BYTES} bytes")
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if not names or path.endswith("/"):
        raise InvalidRequest("Invalid request: the path names no file")
    if ".." in names:
        raise InvalidRequest("Invalid request: a path can not hold `..`")
    if any(len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for name in names):
        raise InvalidRequest(f"Invalid request: a name has at most {MAX_NAME_BYTES} bytes")
    return names
