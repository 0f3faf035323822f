"""Whether a client takes what a route answers (RFC 9110 12.5.1). Pure; errors are told whatever a client takes."""

from __future__ import annotations

from prouter.errors import NotAcceptable
from prouter.model.http import RequestHead

BYTES = ("", "application/octet-stream", "application/x-tar")
"""Answers without a content, and what a job made: of what type it is, only the client knows."""


def check_acceptable(head: RequestHead, media_type: str) -> None:
    """Raises NotAcceptable for an Accept that leaves `media_type` out."""
    if media_type in BYTES or not head.all("accept"):
        return
    quality = _quality(", ".join(head.all("accept")), media_type)
    if quality == 0:
        raise NotAcceptable(f"this is answered as {media_type} only, which the Accept header leaves out")


def _quality(accept: str, media_type: str) -> float:
    """By the range that names it most closely; parameters of types are not told apart."""
    kind = media_type.partition("/")[0]
    closeness = {media_type: 3, f"{kind}/*": 2, "*/*": 1}
    best, found = 0, 0.0 if accept.strip() else 1.0
    for part in accept.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        if closeness.get(name, 0) > best:
            best, found = closeness[name], _weight(parameters)
    return found


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0
