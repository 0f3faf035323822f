"""Requests of every kind for one connection, as data: what is sent, what may come of it, whether the connection stays.

Belongs here: bytes and expectations. Does not: the order and the pieces in which they are sent (test_any_order.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxied import Proxied

MUCH = "Content-Length: 100000"
"""More than ever comes: what follows is of this body."""
SAID = {
    "304": b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "until-close": b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nall of it",
    "length-cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabcde",
    "chunks-cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "nonsense": b"this is no answer\r\n\r\n",
    "more": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    "refused": b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    "no-upgrade": b"HTTP/1.1 403 No\r\nX-Why: so\r\nContent-Length: 2\r\n\r\nno",
}


@dataclass(frozen=True)
class Asked:
    """A request and what may come of it. A body that is None may be any; `ends` None: the answer says so or not."""

    data: bytes
    method: str = "GET"
    status: int = 200
    begins: bytes | None = None
    ends: bool | None = False
    cut: bool = False
    reaches: bool = True
    """The job may hear of it."""
    checked: bool = True
    """Whether who asks may is looked at; what is no request is refused before."""


Kind = Callable[[Proxied, str, tuple[str, ...]], Asked]
"""Of a job, a name that no other request has, and the lines of who asks."""
KINDS: dict[str, Kind] = {}


def kind(make: Kind) -> Kind:
    KINDS[make.__name__] = make
    return make


def to_router(job: Proxied, first: str, *lines: str) -> bytes:
    host = "Host: {}:{}".format(*job.router.address("control"))
    return "\r\n".join((f"{first} HTTP/1.1", host, *lines, "", "")).encode()


# --- the router's own ---


@kind
def info(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(to_router(job, "GET /info", *who), begins=b'{"auth"', reaches=False)


@kind
def of_a_job(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(to_router(job, f"GET {job.info['path']}/info", *who), begins=b'{"uid"', reaches=False)


@kind
def upload(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = to_router(job, f"POST {job.info['path']}/file/up", *who, "Content-Length: 5") + b"hello"
    return Asked(data, "POST", reaches=False)


@kind
def upload_in_chunks(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = to_router(job, f"POST {job.info['path']}/file/up", *who, "Transfer-Encoding: chunked")
    return Asked(data + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "POST", reaches=False)


@kind
def download(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(to_router(job, f"GET {job.info['path']}/file/204", *who), begins=SAID["204"], reaches=False)


@kind
def no_file(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(to_router(job, f"GET {job.info['path']}/file/{name}", *who), status=404, reaches=False)


@kind
def nothing(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(to_router(job, f"HEAD /{name}", *who), "HEAD", 404, reaches=False)


@kind
def no_verb(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(to_router(job, "FROBNICATE /info", *who), "FROBNICATE", 405, reaches=False)


@kind
def no_job(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = to_router(job, f"POST /jobs/{'0' * 32}/http/{name}", *who, "Content-Length: 5") + b"hello"
    return Asked(data, "POST", 404, reaches=False, ends=None)


# --- the job's ---


@kind
def get(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(job.request(f"/{name}?x=%2F", *who), begins=f"GET /{name}?x=%2F ".encode())


@kind
def head(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    job.says("head", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    return Asked(job.request(f"/say/{name}/head?then=keep", *who, method="HEAD"), "HEAD")


@kind
def post(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = b"\r\n" + job.request(f"/{name}", *who, "Content-Length: 12", method="POST") + b"GET / HTTP/1"
    return Asked(data, "POST", begins=f"POST /{name} ".encode())


@kind
def put_in_chunks(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = job.request(f"/{name}", *who, "Transfer-Encoding: chunked", method="PUT")
    return Asked(data + b"4;a=b\r\n0\r\n\r\r\n0\r\nX-Sum: 1\r\n\r\n", "PUT", begins=f"PUT /{name} ".encode())


@kind
def some_verb(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = job.request(f"/{name}", *who, method="FROBNICATE")
    return Asked(data, "FROBNICATE", begins=f"FROBNICATE /{name} ".encode())


@kind
def kept_by_an_old_client(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = job.request(f"/{name}", *who, "Connection: keep-alive", version="1.0")
    return Asked(data, begins=f"GET /{name} ".encode())


@kind
def last_of_an_old_client(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(job.request(f"/{name}", *who, version="1.0"), begins=f"GET /{name} ".encode(), ends=True)


@kind
def last(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(job.request(f"/{name}", *who, "Connection: close"), begins=f"GET /{name} ".encode(), ends=True)


def _said(what: str, asked: Asked, *lines: str, then: str = "keep", method: str = "GET", body: bytes = b"") -> Kind:
    def make(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
        data = job.request(f"/say/{name}/{what}?then={then}", *who, *lines, method=method)
        return replace(asked, data=data + body, method=method)

    return make


GOOD, NONE = Asked(b""), Asked(b"", status=502)
CUT = Asked(b"", ends=True, cut=True)
NO = Asked(b"", status=413, begins=b"no")
KINDS |= {
    "unchanged": _said("304", replace(GOOD, status=304)),
    "no_content": _said("204", replace(GOOD, status=204), "Content-Length: 0", method="DELETE"),
    "an_answer_in_chunks": _said("chunked", replace(GOOD, begins=b"abcde")),
    "interim": _said("interim", replace(GOOD, begins=b"ok")),
    "until_close": _said("until-close", replace(GOOD, begins=b"all of it", ends=True), then="close"),
    "cut": _said("length-cut", replace(CUT, begins=b"abcde"), then="close"),
    "cut_by_a_reset": _said("length-cut", CUT, then="reset"),
    "chunks_cut": _said("chunks-cut", replace(CUT, begins=b"abc"), then="close"),
    "no_answer": _said("nonsense", NONE),
    "more_than_an_answer": _said("more", replace(GOOD, begins=b"ok")),
    "no_upgrade": _said("no-upgrade", replace(NO, status=403), "Connection: upgrade", "Upgrade: torture"),
    "refused": _said("refused", NO, "Content-Length: 5", then="hang", method="POST", body=b"hello"),
    "refused_early": _said("refused", replace(NO, ends=True), MUCH, then="hang", method="POST", body=b"hello"),
}


@kind
def mute(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    return Asked(job.request(f"/mute/{name}", *who, method="DELETE"), "DELETE", 502)


@kind
def leave_to_send(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = job.request(f"/expect/{name}", *who, "Expect: 100-continue", "Content-Length: 4", method="POST") + b"body"
    return Asked(data, "POST", begins=b"body")


@kind
def no_leave(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    data = job.request(f"/final/{name}", *who, "Expect: 100-continue", MUCH, method="PUT")
    return Asked(data, "PUT", 417, b"no", ends=True)


# --- none at all ---


def _bad(old: bytes, new: bytes, status: int = 400) -> Kind:
    def make(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
        data = job.request(f"/{name}", "X-Line: y", *who)
        return Asked(data.replace(old, new, 1), status=status, ends=True, reaches=False, checked=False)

    return make


KINDS |= {
    "two_lengths": _bad(b"X-Line: y", b"Content-Length: 5\r\nContent-Length: 6"),
    "a_length_and_chunks": _bad(b"X-Line: y", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    "a_folded_line": _bad(b"X-Line: y", b"X-Line: y\r\n z"),
    "a_bare_line_feed": _bad(b"X-Line: y\r\n", b"X-Line: y\n"),
    "no_host": _bad(b"Host: ", b"X-Host: "),
    "h2c": _bad(b"X-Line: y", b"Connection: Upgrade\r\nUpgrade: h2c"),
    "connect": _bad(b"GET /", b"CONNECT /"),
    "too_long": _bad(b" HTTP/1.1", b"x" * 20_000 + b" HTTP/1.1", 414),
    "too_much": _bad(b"X-Line: y", b"X-Line: " + b"y" * 70_000, 431),
}


@kind
def no_chunk(job: Proxied, name: str, who: tuple[str, ...]) -> Asked:
    """Its head is good, and may arrive; its body is none, and with that nothing behind it is a request."""
    data = job.request(f"/{name}", *who, "Transfer-Encoding: chunked", method="POST") + b"5\r\nhelloX"
    return Asked(data, "POST", 400, ends=True)


ENDING = frozenset(
    (
        *("last", "last_of_an_old_client", "until_close", "cut", "cut_by_a_reset", "chunks_cut", "refused_early"),
        *("no_leave", "two_lengths", "a_length_and_chunks", "a_folded_line", "a_bare_line_feed", "no_host", "h2c"),
        *("connect", "too_long", "too_much", "no_chunk"),
    )
)
"""Behind which nothing is answered any more: of all kinds alike, a talk would hardly ever be long."""
