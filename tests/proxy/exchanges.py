"""Exchanges for the machine as data: what a client asks, what a job answers, and what the client may see of it.

Belongs here: strategies, the bytes that they stand for, a reader of answers that shares no code with ours. Does not:
the order in which bytes move (test_exchange_machine.py).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from machine import FIN, RESET

PIECE = 256
REPEATABLE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Asked:
    """A request, but for its number."""

    method: str = "GET"
    kind: str = "job"
    """Who answers: a job, the router, a handler of ours."""
    framing: str = "none"
    """Of its body: none, length, chunked; trailers: chunked, with some."""
    body: bytes = b""
    version: str = "1.1"
    lines: tuple[str, ...] = ()

    @property
    def closes(self) -> bool:
        kept = "Connection: keep-alive" in self.lines
        return (self.version == "1.0" and not kept) or "Connection: close" in self.lines

    def raw_body(self) -> bytes:
        match self.framing:
            case "length":
                return self.body
            case "chunked" | "trailers":
                return chunked(self.body, b"X-Sum: 1\r\n" * (self.framing == "trailers"))
        return b""

    def raw(self, number: int) -> bytes:
        framing = {name: ["Transfer-Encoding: chunked"] for name in ("chunked", "trailers")}
        framing["length"] = [f"Content-Length: {len(self.body)}"]
        lines = [f"{self.method} /{self.kind}/{number} HTTP/{self.version}", "Host: x", *self.lines]
        return "\r\n".join([*lines, *framing.get(self.framing, []), "", ""]).encode() + self.raw_body()


@dataclass(frozen=True)
class Script:
    """What the job does with a request."""

    kind: str = "length"
    body: bytes = b"x"
    interim: int = 0
    cookie: bool = False
    """The head is one that is changed on its way."""
    says_close: bool = False
    early: bool = False
    """It answers when the head is there, and does not wait for the body."""
    stale: bool = False
    """It closes a kept connection at the first byte of the first attempt."""
    then: str = ""
    """It closes behind its answer all the same."""
    extra: bytes = b""
    """Sent behind the end, with its last byte."""
    cut: float | None = None
    """It ends after this part of its answer."""
    cut_by: str = FIN
    splits: tuple[float, ...] = ()

    def whole(self, number: str, method: str) -> bytes:
        """Its answer, complete."""
        version, status = "1.0" if self.kind.startswith("1.0") else "1.1", {"204": 204, "304": 304}.get(self.kind, 200)
        lines = [f"HTTP/{version} {status} Fine", f"X-N: {number}"]
        lines += ["Set-Cookie: a=b"] * self.cookie + ["Connection: close"] * self.says_close
        lines += {"chunked": ["Transfer-Encoding: chunked"], "1.0 kept": ["Connection: keep-alive"]}.get(self.kind, [])
        if self.kind in ("length", "1.0 kept", "304", "1.0 with length"):
            lines.append(f"Content-Length: {len(self.body)}")
        head = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * self.interim + "\r\n".join([*lines, "", ""]).encode()
        if method == "HEAD" or self.kind in ("204", "304"):
            return head
        return head + (chunked(self.body, b"X-Sum: 2\r\n") if self.kind == "chunked" else self.body)

    @property
    def by_close(self) -> bool:
        return self.kind in ("until close", "1.0")

    def sent(self, number: str, method: str) -> tuple[list[bytes], str]:
        """In these pieces, and then this end."""
        data, end = self.whole(number, method), self.then
        if self.by_close or (self.kind.startswith("1.0") and self.kind != "1.0 kept") or self.says_close:
            end = FIN
        if self.cut is not None:
            data, end = data[: int(self.cut * len(data))], self.cut_by
        places = sorted({int(split * len(data)) for split in self.splits} | {0, len(data)})
        pieces = [part for a, b in itertools.pairwise(places) for part in small(data[a:b])]
        if self.cut is None and pieces:
            pieces[-1] += self.extra
        return pieces, end


def small(data: bytes) -> list[bytes]:
    """In parts as a kernel might show them, so that what is under way at a time is bounded."""
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


def chunked(body: bytes, trailers: bytes) -> bytes:
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


@dataclass(frozen=True)
class Seen:
    """An answer, as far as it came."""

    status: int
    lines: dict[str, str]
    body: bytes
    whole: bool
    interim: int = 0

    @property
    def own(self) -> bool:
        """The router says it."""
        return self.lines.get("content-type") == "application/problem+json"


def read_answers(data: bytes, methods: list[str], ended: str) -> tuple[list[Seen], bytes]:
    """What a client reads; and the bytes that are no answer to anything it asked."""
    found: list[Seen] = []
    interim = 0
    while data and len(found) < len(methods):
        block, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        first, *lines = block.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        if status < 200:
            interim, data = interim + 1, rest
            continue
        method = methods[len(found)]
        body, rest, whole = _body(rest, fields, bodyless=method == "HEAD" or status in (204, 304), ended=ended)
        found.append(Seen(status, fields, body, whole, interim))
        interim, data = 0, rest
        if not whole:
            break
    return found, data


def _body(data: bytes, fields: dict[str, str], *, bodyless: bool, ended: str) -> tuple[bytes, bytes, bool]:
    if bodyless:
        return b"", data, True
    if "transfer-encoding" in fields:
        body, at = b"", 0
        while (end := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:end].partition(b";")[0].strip(), 16)
            if not size:
                stop = data.find(b"\r\n\r\n", at)
                return body, data[stop + 4 :] if stop >= 0 else b"", stop >= 0
            body += data[end + 2 : end + 2 + size]
            at = end + 4 + size
        return body, b"", False
    if "content-length" in fields:
        size = int(fields["content-length"])
        return data[:size], data[size:], len(data) >= size
    return data, b"", ended == FIN


THEMES = ("alike", "short", "bodies", "kinds", "cuts", "slow")
"""What a run is mostly about: of all at once, the rare things would hardly ever meet."""
FRACTIONS = st.floats(0, 1, exclude_max=True)
KINDS = ["length", "chunked", "204", "304", "until close", "1.0", "1.0 kept", "1.0 with length"]


def bodies(theme: str) -> st.SearchStrategy[bytes]:
    large = st.integers(100, 4000).map(lambda size: b"y" * size)
    return large if theme in ("slow", "bodies") else st.binary(min_size=1, max_size=6)


@st.composite
def asked(draw: st.DrawFn, theme: str) -> Asked:
    if theme == "alike" or (theme == "slow" and draw(st.booleans())):
        return draw(st.sampled_from([Asked(), Asked(), Asked(), Asked(), Asked("POST"), Asked("HEAD")]))
    if theme == "bodies":
        method = draw(st.sampled_from(["POST", "POST", "GET"]))
        framing = draw(st.sampled_from(["length", "chunked", "trailers"]))
        return Asked(method, draw(st.sampled_from(["job", "job", "job", "serve"])), framing, draw(bodies(theme)))
    method = draw(st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST", "DELETE"]))
    version = draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    lines = [(), (), (), ("Cookie: c",), ("Connection: close",), ("Expect: 100-continue",), ("Connection: keep-alive",)]
    return Asked(
        method,
        draw(st.sampled_from(["job", "job", "job", "api", "serve"])),
        draw(st.sampled_from(["none", "none", "length"] + ["chunked", "trailers"] * (version == "1.1"))),
        draw(bodies(theme)),
        version,
        draw(st.sampled_from(lines)),
    )


@st.composite
def scripts(draw: st.DrawFn, theme: str) -> Script:
    kind = draw(st.sampled_from(["length", "length", "chunked"] if theme in ("alike", "bodies") else KINDS))
    by_close = kind in ("until close", "1.0")
    extra = draw(st.sampled_from([b"", b"", b"HTTP/1.1 200 OK\r\n\r\n"])) if theme in ("alike", "kinds") else b""
    return Script(
        kind,
        draw(bodies(theme)),
        draw(st.sampled_from([0, 0, 1, 2])) if theme in ("kinds", "cuts") else 0,
        draw(st.sampled_from([False, False, True])),
        draw(st.sampled_from([False, False, False, True])),
        theme in ("bodies", "kinds") and draw(st.booleans()),
        theme == "alike" and draw(st.booleans()),
        draw(st.sampled_from(["", "", "", FIN, RESET])) if theme != "slow" else "",
        b"" if by_close else extra,
        draw(st.none() | FRACTIONS) if theme == "cuts" else None,
        RESET if by_close else draw(st.sampled_from([FIN, RESET])),
        tuple(draw(st.lists(FRACTIONS, max_size=4))),
    )


PLAIN = [Script(), Script(body=b"other"), Script(body=b"yy" * 90)]
ODD = [
    Script("chunked"),
    Script("204"),
    Script("until close"),
    Script("1.0"),
    Script(cookie=True),
    Script(says_close=True),
    Script(interim=1),
    Script(stale=True),
    Script(then=FIN),
    Script(then=RESET),
    Script(extra=b"HTTP/1.1 200 OK\r\n\r\n"),
    Script(splits=(0.3,)),
    Script(splits=(0.9,)),
    Script(cut=0.0),
    Script(cut=0.5),
    Script(cut=0.9, cut_by=RESET),
    Script(early=True),
    Script(body=b"y" * 2000),
]


@st.composite
def short_talks(draw: st.DrawFn) -> list[tuple[Asked, Script]]:
    """Many that need no exchange, and one of another kind somewhere among them."""
    body = st.sampled_from([b"four", b"HEAD / HTTP/1.1\r\n\r\n", b"z" * 100])
    posts = body.map(lambda body: Asked("POST", framing="length", body=body))
    requests = draw(st.sampled_from([st.just(Asked()), st.just(draw(posts)), posts]))
    alike = st.tuples(requests, st.sampled_from(PLAIN))
    talk = draw(st.lists(alike, min_size=3, max_size=8))
    odd = (
        draw(
            st.sampled_from([Asked(), Asked("HEAD"), Asked("POST"), Asked("POST", framing="chunked", body=b"odd")])
            | requests
            | requests.map(lambda asked: replace(asked, lines=("Connection: close",)))
            | requests.map(lambda asked: replace(asked, lines=("Expect: 100-continue",)))
        ),
        draw(st.sampled_from(ODD)),
    )
    talk.insert(draw(st.integers(2, len(talk))), odd)
    return talk


def pairs(theme: str) -> st.SearchStrategy[list[tuple[Asked, Script]]]:
    if theme == "short":
        return short_talks()
    return st.lists(st.tuples(asked(theme), scripts(theme)), min_size=1, max_size=12 if theme == "slow" else 5)
