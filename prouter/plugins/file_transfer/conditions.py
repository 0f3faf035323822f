"""Conditional requests (RFC 9110 13) and ranges (14) as pure text: headers in, what is to be done out."""

from __future__ import annotations

import re

from prouter.errors import PreconditionFailed, RangeNotSatisfiable
from prouter.model.http import RequestHead
from prouter.model.times import http_date

_TAG = re.compile(r'\s*(?:(W/)?("[\x21\x23-\x7e\x80-\xff]*")|(\*))\s*(?:,|$)')
_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")


class Conditions:
    """If-Match and If-None-Match of one request. Dates are not looked at: a tag is exact and a second is not."""

    def __init__(self, head: RequestHead) -> None:
        self._match = _tags(head.all("if-match"))
        self._none_match = _tags(head.all("if-none-match"))

    def refuse(self, etag: str | None) -> None:
        """Before a change; `etag` is that of what is there now, None when nothing is. Raises PreconditionFailed."""
        if self._match is not None and not _names(self._match, etag, weak=False):
            raise PreconditionFailed("the file is not the one that If-Match names: it was changed, or is not there")
        if self._none_match is not None and _names(self._none_match, etag, weak=True):
            raise PreconditionFailed("the file is one that If-None-Match excludes: it is there already")

    def unchanged(self, etag: str) -> bool:
        """Before a download: whether the client has this file already. Raises PreconditionFailed."""
        if self._match is not None and not _names(self._match, etag, weak=False):
            raise PreconditionFailed("the file is not the one that If-Match names: it was changed")
        return self._none_match is not None and _names(self._none_match, etag, weak=True)


def asked_range(head: RequestHead, etag: str, modified_at: float, size: int) -> range | None:
    """The bytes that a GET wants; None for the whole file: no range, several, or one that is no range at all.

    Raises RangeNotSatisfiable.
    """
    lines = head.all("range")
    found = _RANGE.fullmatch(lines[0]) if len(lines) == 1 else None
    if found is None or not _same_file(head.get("if-range"), etag, modified_at):
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(f"the file has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return range(start, stop)


def _same_file(if_range: str | None, etag: str, modified_at: float) -> bool:
    """Strong tags are compared, and dates as text, as RFC 9110 13.1.5 wants both."""
    return if_range is None or if_range.strip() in (etag, http_date(modified_at))


def _tags(lines: list[str]) -> list[tuple[bool, str]] | None:
    """(weak, tag) pairs, `*` as a tag; None without the header. What is no tag names nothing."""
    if not lines:
        return None
    text, found, place = ", ".join(lines), [], 0
    while (tag := _TAG.match(text, place)) and tag.end() > place:
        found.append((bool(tag[1]), tag[2] or tag[3]))
        place = tag.end()
    return found


def _names(tags: list[tuple[bool, str]], etag: str | None, *, weak: bool) -> bool:
    """Whether one of them is this file's. Our own are all strong; `*` is any file that is there."""
    if etag is None:
        return False
    return any(tag == "*" or (tag == etag and (weak or not is_weak)) for is_weak, tag in tags)
