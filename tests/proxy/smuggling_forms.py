"""What a vector of request smuggling is: bytes, and what may become of them; and the words that vectors are made of.

`<P>` stands for the path of a job, `<H>` for the router's Host, `<N>` for the vector's number. Behind each one the
tests send BEHIND and LAST. The vectors themselves: smuggling.py, smuggling_bodies.py.
"""

from __future__ import annotations

from dataclasses import dataclass

BEHIND = b"GET <P>/behind-<N> HTTP/1.1\r\nHost: <H>\r\n\r\n"
LAST = b"GET <P>/last-<N> HTTP/1.1\r\nHost: <H>\r\nConnection: close\r\n\r\n"
HIDDEN = b"GET <P>/hidden-<N> HTTP/1.1\r\nHost: <H>\r\n\r\n"


@dataclass(frozen=True)
class Refused:
    """Answered with this status and the end of the connection; no request behind it is read."""

    status: int = 400
    head_may_pass: bool = False
    """The body is what is wrong: the job may have seen what came before that."""


@dataclass(frozen=True)
class Read:
    """Read in one way: the job gets these, whole, one after the other."""

    requests: tuple[tuple[str, bytes], ...]
    """Verb and the rest of the target; the body as it was framed."""
    stays: bool = True
    """The requests behind it are read too."""
    never: bytes = b""
    """Not among the lines that the job gets, in small letters."""


@dataclass(frozen=True)
class Answered:
    """The router's own affair: answered with an error, and the connection stays in step."""


Verdict = Refused | Read | Answered
REFUSED = Refused()
BROKEN = Refused(head_may_pass=True)


@dataclass(frozen=True)
class Vector:
    number: int
    name: str
    data: bytes
    allowed: Verdict

    def bytes_for(self, path: str, host: str, data: bytes | None = None) -> bytes:
        """What is sent, or `data` of it, to the job at `path`."""
        data = self.data if data is None else data
        for mark, value in (("<P>", path), ("<H>", host), ("<N>", str(self.number))):
            data = data.replace(mark.encode(), value.encode())
        return data

    def __str__(self) -> str:
        return self.name


def request(
    *lines: bytes, first: bytes = b"POST <P>/x HTTP/1.1", body: bytes = b"", host: bytes = b"Host: <H>"
) -> bytes:
    return b"\r\n".join([first, *([host] if host else []), *lines, b"", b""]) + body


def line(first: bytes) -> bytes:
    """A request with this line; the others are those of BEHIND."""
    return request(first=first)


def chunks(body: bytes) -> bytes:
    return request(TE + b"chunked", body=body)


TE, CL = b"Transfer-Encoding: ", b"Content-Length: "
NO_CHUNKS = b"0\r\n\r\n"
ONE_CHUNK = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED_READ = Read((("POST /x", ONE_CHUNK),))
EMPTY_READ = Read((("POST /x", b""),))
HELLO_READ = Read((("POST /x", b"hello"),))
