"""Answers of a job that means harm, as data: what it sends, and what a client may get of it.

Belongs here: bytes and verdicts. Does not: how they are sent and judged (test_hostile_jobs.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from smuggling_bodies import chunk_sizes
from smuggling_forms import BROKEN, Read

OK = b"HTTP/1.1 200 OK\r\n"
POISON = OK + b"Content-Length: 6\r\n\r\npoison"


@dataclass(frozen=True)
class NoAnswer:
    """502 in its place; the client's connection stays in step."""


@dataclass(frozen=True)
class Cut:
    """502, or an answer that its client sees to be cut."""


@dataclass(frozen=True)
class One:
    """One answer with this body, and nothing of what stands behind it."""

    body: bytes = b"ok"
    status: int = 200
    ends: bool = False
    """With the connection."""


Verdict = NoAnswer | Cut | One


@dataclass(frozen=True)
class Hostile:
    name: str
    data: bytes
    allowed: Verdict
    then: str = "hang"
    """What the job does behind it; as in apps/torture.py."""

    @property
    def behind(self) -> str:
        """Where it is one answer, the job serves on."""
        return "keep" if isinstance(self.allowed, One) and self.then == "hang" else self.then

    def __str__(self) -> str:
        return self.name


def framed(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK", body: bytes = b"ok") -> bytes:
    return b"\r\n".join([first, *lines, b"", b""]) + body


PADDED = ("chunk: a space behind", "chunk: a space before an extension", "chunk: a tab in an extension")
"""Old servers do such things, and mean no harm by it."""
LENGTH, CHUNKED = b"Content-Length: 2", b"Transfer-Encoding: chunked"

STATUS_LINES = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "HTTP/2": b"HTTP/2 200 OK",
    "HTTP/1.2": b"HTTP/1.2 200 OK",
    "HTTP/11": b"HTTP/11 200 OK",
    "http in small letters": b"http/1.1 200 OK",
    "ICY": b"ICY 200 OK",
    "a space before": b" HTTP/1.1 200 OK",
    "an empty line before": b"\r\nHTTP/1.1 200 OK",
    "two spaces": b"HTTP/1.1  200 OK",
    "a tab": b"HTTP/1.1\t200 OK",
    "two digits": b"HTTP/1.1 20 OK",
    "four digits": b"HTTP/1.1 2000 OK",
    "a status of letters": b"HTTP/1.1 2oo OK",
    "a minus": b"HTTP/1.1 -200 OK",
    "a status below all": b"HTTP/1.1 099 OK",
    "a status beyond all": b"HTTP/1.1 600 OK",
    "no space behind the status": b"HTTP/1.1 200OK",
    "digits of another alphabet": "HTTP/1.1 \uff12\uff10\uff10 OK".encode(),
    "no status": b"HTTP/1.1",
    "a NUL in the reason": b"HTTP/1.1 200 O\0K",
    "a bare CR in the reason": b"HTTP/1.1 200 OK\rX: y",
    "a bare LF in the reason": b"HTTP/1.1 200 OK\nX: y",
    "a control character in the reason": b"HTTP/1.1 200 O\x1bK",
}
LINES = {
    "a bare LF": b"X: y\nContent-Length: 40",
    "a bare CR": b"X: y\rContent-Length: 40",
    "a bare CR in a cookie": b"Set-Cookie: a=b\rSet-Cookie: c=d",
    "a NUL": b"X: y\0z",
    "a control character": b"X: y\x01z",
    "DEL": b"X: y\x7f",
    "obs-fold": b"X: y\r\n z",
    "obs-fold with a tab": b"X: y\r\n\tz",
    "a space before the first name": b" X: y",
    "a space before the colon": b"X : y",
    "a space within a name": b"X Y: z",
    "no colon": b"X-Line",
    "an empty name": b": y",
    "8 bits in a name": b"X-\xe9: y",
    "another status line": b"HTTP/1.1 200 OK",
    "an endless line": b"X: " + b"y" * 200_000,
    "a thousand lines": b"\r\n".join([b"X: y"] * 1000),
}
FRAMINGS = {
    "two lengths, equal": (LENGTH, LENGTH),
    "two lengths, different": (LENGTH, b"Content-Length: 40"),
    "a list of lengths": (b"Content-Length: 2, 2",),
    "a plus": (b"Content-Length: +2",),
    "a minus": (b"Content-Length: -2",),
    "a hexadecimal length": (b"Content-Length: 0x2",),
    "two numbers": (b"Content-Length: 2 2",),
    "no length": (b"Content-Length:",),
    "a length of 20 digits": (b"Content-Length: 18446744073709551618",),
    "a length in another alphabet": ("Content-Length: \uff12".encode(),),
    "a space before the colon of a length": (b"Content-Length : 2",),
    "a length and chunks": (LENGTH, CHUNKED),
    "chunks and a length": (CHUNKED, LENGTH),
    "chunked in two lines": (CHUNKED, CHUNKED),
    "chunked twice": (b"Transfer-Encoding: chunked, chunked",),
    "gzip, chunked": (b"Transfer-Encoding: gzip, chunked",),
    "identity": (b"Transfer-Encoding: identity", LENGTH),
    "a coding nobody knows": (b"Transfer-Encoding: xchunked",),
    "no coding": (b"Transfer-Encoding:", LENGTH),
    "a vertical tab before chunked": (b"Transfer-Encoding: \x0bchunked",),
    "a space before the colon of a coding": (b"Transfer-Encoding : chunked", LENGTH),
    "a folded coding": (b"Transfer-Encoding:\r\n chunked", LENGTH),
}


def vectors() -> list[Hostile]:
    no, cut = NoAnswer(), Cut()
    zero = b"0\r\n\r\n" + POISON
    found = [Hostile(f"status line: {n}", framed(LENGTH, first=line), no) for n, line in STATUS_LINES.items()]
    found += [Hostile(f"line: {n}", framed(line, LENGTH), no) for n, line in LINES.items()]
    found += [Hostile(f"framing: {n}", framed(*lines, body=zero), no) for n, lines in FRAMINGS.items()]
    for name, (request, verdict) in chunk_sizes().items():
        body = request.partition(b"\r\n\r\n")[2]
        if name in PADDED:
            found.append(Hostile(name, framed(CHUNKED, body=body), One(b"hello")))
        elif verdict == BROKEN:
            found.append(Hostile(name, framed(CHUNKED, body=body), cut))
        elif isinstance(verdict, Read):
            found.append(Hostile(name, framed(CHUNKED, body=body), One(b"hello" if b"hello" in body else body[4:28])))
    interim = b"HTTP/1.1 103 Early\r\n\r\n"
    return [
        *found,
        Hostile("framing: chunks in HTTP/1.0", framed(CHUNKED, first=b"HTTP/1.0 200 OK", body=zero), no),
        Hostile("framing: a coding with an underscore", framed(b"Transfer_Encoding: chunked", LENGTH), One()),
        Hostile("framing: a length that Connection names", framed(b"Connection: content-length", LENGTH), One()),
        Hostile("framing: a length short of what comes", framed(LENGTH, body=b"ok!"), One()),
        Hostile("framing: a length beyond what comes", framed(b"Content-Length: 9"), cut, "close"),
        Hostile("framing: chunks without an end", framed(CHUNKED, body=b"2\r\nok\r\n"), cut, "close"),
        Hostile("framing: chunks that end in their size", framed(CHUNKED, body=b"2\r\nok\r\n5"), cut, "close"),
        Hostile("framing: trailers without an end", framed(CHUNKED, body=b"2\r\nok\r\n0\r\nX: y\r\n"), cut, "close"),
        Hostile("framing: none, and a reset", framed(), cut, "reset"),
        Hostile("framing: none", framed(), One(ends=True), "close"),
        Hostile("only LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", no),
        Hostile("only CR", b"HTTP/1.1 200 OK\rContent-Length: 2\r\rok", no, "close"),
        Hostile("HTTP/0.9", b"ok", no, "close"),
        Hostile("nothing", b"", no, "close"),
        Hostile("nothing, and a reset", b"", no, "reset"),
        Hostile("half a head", b"HTTP/1.1 200 OK\r\nContent-Len", no, "close"),
        Hostile("endless interim answers", interim * 100 + POISON, no),
        Hostile("interim answers and then nothing", interim * 2, no, "close"),
        Hostile("an interim answer with a body", framed(LENGTH, first=b"HTTP/1.1 103 Early") + POISON, no),
        Hostile("an interim answer that is none", b"HTTP/1.1 103 Early\r\nX : y\r\n\r\n" + POISON, no),
        Hostile("interim answers before a good one", interim * 3 + framed(LENGTH), One()),
        Hostile("a switch unasked", framed(b"Upgrade: x", first=b"HTTP/1.1 101 S", body=POISON), no),
        Hostile("a switch to nothing", framed(first=b"HTTP/1.1 101 S", body=POISON), no),
        Hostile("a second answer", framed(LENGTH) + POISON, One()),
        Hostile("a second answer behind none", framed(b"Content-Length: 0", body=POISON), One(b"")),
        Hostile("a second answer behind chunks", framed(CHUNKED, body=zero), One(b"")),
        Hostile("a second answer of interim ones", framed(LENGTH) + interim * 3, One()),
        Hostile("a body of 204", framed(LENGTH, first=b"HTTP/1.1 204 No", body=POISON), One(b"", 204)),
        Hostile("a body of 304", framed(LENGTH, first=b"HTTP/1.1 304 No", body=POISON), One(b"", 304)),
        Hostile("chunks of 204", framed(CHUNKED, first=b"HTTP/1.1 204 No", body=zero), One(b"", 204)),
        Hostile("HTTP/1.0", framed(first=b"HTTP/1.0 200 OK"), One(ends=True), "close"),
        Hostile("HTTP/1.0 with a length", framed(LENGTH, first=b"HTTP/1.0 200 OK"), One(), "close"),
        Hostile("HTTP/1.0 that is kept", framed(LENGTH, b"Connection: keep-alive", first=b"HTTP/1.0 200 OK"), One()),
        Hostile("close, and more", framed(LENGTH, b"Connection: close") + POISON, One()),
        Hostile("no reason", framed(LENGTH, first=b"HTTP/1.1 200"), One()),
        Hostile("8 bits in the reason", framed(LENGTH, first=b"HTTP/1.1 200 \xe9"), One()),
        Hostile("8 bits in a value", framed(b"X: \xe9\xff", LENGTH), One()),
        Hostile("a status nobody knows", framed(LENGTH, first=b"HTTP/1.1 299 Odd"), One(status=299)),
    ]


VECTORS = vectors()
SWITCH = framed(b"Connection: Upgrade", first=b"HTTP/1.1 101 S")
SWITCHES = {
    name: SWITCH.replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n\r\n") + POISON
    for name, lines in {
        "to another one": b"Upgrade: other",
        "to h2c": b"Upgrade: h2c",
        "to websocket": b"Upgrade: websocket\r\nSec-WebSocket-Accept: x",
        "to more than one": b"Upgrade: torture, other",
        "in two lines": b"Upgrade: torture\r\nUpgrade: other",
        "to a name that begins like it": b"Upgrade: torture/2",
        "to none": b"X: y",
    }.items()
}
"""Answers to a request to switch to `torture`."""
