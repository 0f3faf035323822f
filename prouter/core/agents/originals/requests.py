"""What the parts of the gateway share about a request: its target and headers as v1 has them, its body, its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from prouter.errors import NotPossible
from prouter.web.serve import give_leave

KEPT_BYTES = 1024 * 1024
"""Of a request's body that is kept, so that the request can be sent again when the agent could not take it."""

Pairs = list[list[str]]


def split_target(target: str) -> tuple[str, Pairs]:
    """Path and query as an original gets them: decoded. Raises NotPossible for bytes that are no text."""
    raw_path, _, raw_query = target.partition("?")
    try:
        path = unquote(raw_path, errors="strict")
        query = [
            list(pair) for pair in parse_qsl(raw_query, keep_blank_values=True, errors="strict", max_num_fields=10_000)
        ]
    except ValueError as error:
        raise NotPossible("an original agent takes paths and queries in UTF-8 only") from error
    return path, query


def text_of(value: bytes) -> str:
    """A header's bytes as text which the agent writes as the same bytes, where they are UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def header_pairs(request: web.BaseRequest, drop: Iterable[str]) -> Pairs:
    """The headers without those to `drop` (lower case)."""
    drop = frozenset(drop)
    pairs = ((text_of(name), text_of(value)) for name, value in request.raw_headers)
    return [[name, value] for name, value in pairs if name.lower() not in drop]


class Body:
    """A request's body, which can be read a second time when it is short."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._content = request.content
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._asked_for = False
        self._ended = not request.body_exists

    @property
    def repeatable(self) -> bool:
        """Whether `chunks` gives all of it once more."""
        return self._ended and self._kept_bytes <= KEPT_BYTES

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of it; what was read before comes first."""
        for chunk in tuple(self._kept):
            yield chunk
        if not self._ended and not self._asked_for:
            self._asked_for = True
            give_leave(self._request)  # v1 has no word for the job's own
        while not self._ended:
            chunk = await self._content.readany()
            if not chunk:
                self._ended = True
                return
            self._kept_bytes += len(chunk)
            if self._kept_bytes <= KEPT_BYTES:
                self._kept.append(chunk)
            else:
                self._kept.clear()
            yield chunk


class Answer(web.StreamResponse):
    """An answer with just the headers that it was given: aiohttp's own Server, Date and Content-Type are the job's."""

    def __init__(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__(status=status)
        for name, value in headers:
            self.headers.add(name, value)

    async def _prepare_headers(self) -> None:
        given = {name.lower() for name in self.headers}
        length = self.headers.get("Content-Length")
        await super()._prepare_headers()
        if length is not None and self.status == 304:  # where aiohttp takes it off
            self.headers["Content-Length"] = length
        for name in ("Server", "Date", "Content-Type"):
            if name.lower() not in given:
                self.headers.popall(name, None)
