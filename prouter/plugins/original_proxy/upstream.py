"""The job's side, by aiohttp's client as the original used it: what it does to paths and to headers both ways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from prouter.errors import InvalidRequest
from prouter.model.reached import ReachedPort

CONNECT_SECONDS = 10.0
MAX_LINE_BYTES = 128 * 1024
"""Of an answer's status line and of each of its headers; what our own relay takes of a whole head."""
Pairs = Sequence[tuple[str, str]]

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect")
)
"""They are of the client's connection, not of ours (RFC 9110 7.6.1); `Expect` was answered by the router."""
KNOWN_NAMES = {str(name).lower(): str(name).title() for name in vars(hdrs).values() if isinstance(name, istr)}
"""Names that aiohttp 3.6 spelled its own way when it read an answer: `ETag` becomes `Etag`."""


def session(port: ReachedPort) -> aiohttp.ClientSession:
    """For one request: no cookies are kept, no proxy of the environment is asked, bodies are decompressed."""
    connector = aiohttp.TCPConnector() if port.socket is None else aiohttp.UnixConnector(path=port.socket)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=True,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
    )


def target(port: ReachedPort, path: str, query: Pairs) -> URL:
    """Of a decoded path. Raises InvalidRequest for one that can not be spelled."""
    if not path.startswith("/"):
        raise InvalidRequest("Invalid request: a path begins with a slash")
    host = "localhost" if port.number is None else port.host
    base = URL.build(scheme="http", host=host, port=port.number)
    try:
        return base.with_path(path).with_query(list(query))
    except ValueError as error:  # surrogates, above all
        raise InvalidRequest("Invalid request: the path or the query can not be part of an URL") from error


def sent(headers: Pairs, *, without: Iterable[str] = ()) -> CIMultiDict[str]:
    """The headers of a request to the job."""
    dropped = HOP_BY_HOP | frozenset(without)
    return CIMultiDict((name, value) for name, value in headers if name.lower() not in dropped)


def told(headers: CIMultiDictProxy[str]) -> list[list[str]]:
    """Headers of an answer as the original passed them on: without Content-Encoding, since the body comes
    decompressed, but with the job's own Content-Length."""
    pairs = [[KNOWN_NAMES.get(name.lower(), name), _text(value)] for name, value in headers.items()]
    return [pair for pair in pairs if pair[0] != "Content-Encoding"]


def _text(value: str) -> str:
    """Bytes that are not UTF-8 can not be said to an original: then all of the value is Latin-1 (RFC 9110 5.5)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value
