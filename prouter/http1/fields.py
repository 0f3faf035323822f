"""Header lines, the same for requests and answers: strict, every byte kept (latin-1)."""

from __future__ import annotations

import re

from prouter.model.http import Headers

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 -- a grammar's word, no secret
"""RFC 9110 5.6.2."""
VALUE = r"[\t\x20-\x7e\x80-\xff]*"
"""RFC 9110 5.5: visible characters, space, tab, obs-text; no NUL, no bare CR or LF."""

LINE = re.compile(rf"({TOKEN}):[ \t]*({VALUE})\r\n")
"""The value with the spaces behind it: an expression that leaves them out takes quadratic time over long runs."""
LINES = re.compile(rf"(?:{TOKEN}:{VALUE}\r\n)*\r\n")


class BadFields(ValueError):
    """A header line that is none; the text says what is wrong with it."""


def parse_fields(text: str, start: int) -> Headers:
    """The header lines of `text` from `start` to its end, which is the empty line. Raises BadFields."""
    if LINES.fullmatch(text, start) is None:
        raise BadFields(_why(text, start))
    return checked_fields(text, start)


def checked_fields(text: str, start: int) -> Headers:
    """The same for lines that are known to be good."""
    found = LINE.findall(text, start)
    if " \r" in text or "\t\r" in text:
        found = [(name, value.rstrip(" \t")) for name, value in found]
    return tuple(found)


def _why(text: str, start: int) -> str:
    """For the person who sent it. Slow, and only called for what is wrong."""
    for line in text[start:].split("\r\n"):
        if line[:1] in (" ", "\t"):
            return "a header line begins with a space (obs-fold)"
        if "\n" in line or "\r" in line:
            return "a bare CR or LF stands in a header line"
        if "\0" in line:
            return "a NUL stands in a header line"
        name, colon, _ = line.partition(":")
        if line and (not colon or re.fullmatch(TOKEN, name) is None):
            return "a header line has no proper name"
    return "a header line has a control character"


def names_in(values: list[str]) -> list[str]:
    """Comma-separated tokens of one or more header values, lower case (Connection, Upgrade, TE)."""
    return [token for value in values for part in value.split(",") if (token := part.strip().lower())]
