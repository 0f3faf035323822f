"""Where a body ends, however it arrives; a cut is told apart from an end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prouter.http1.framing import CHUNKED, NO_BODY, BadBody, BodyKind, BodyWatch, ChunkDecoder, Framing

CUTS = st.lists(st.integers(0, 400), max_size=12)
EXTENSIONS = st.sampled_from(["", ";a=b", ' ; q="x;y"', "  ", ';a;b = "\\"\t\\\\" ;c=d\t'])
TRAILERS = st.lists(st.sampled_from(["X-Sum: abc", "Expires: never", "Empty:"]), max_size=3)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A chunked body, and its payload."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    parts = [
        f"{len(c):{draw(st.sampled_from(['x', 'X', '04x']))}}{draw(EXTENSIONS)}\r\n".encode() + c + b"\r\n"
        for c in chunks
    ]
    trailers = "".join(line + "\r\n" for line in draw(TRAILERS)).encode()
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n", b"".join(chunks)


def pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return (data[start:stop] for start, stop in itertools.pairwise(places))


def taken(watch: BodyWatch, parts: Iterator[bytes]) -> bytes:
    return b"".join(part[: watch.feed(part)] for part in parts)


@given(chunked_bodies(), st.binary(max_size=30), CUTS)
def test_a_chunked_body_ends_where_it_ends_however_it_is_split(
    body: tuple[bytes, bytes], behind: bytes, cuts: list[int]
) -> None:
    watch = BodyWatch(CHUNKED, padded=True)
    assert taken(watch, pieces(body[0] + behind, cuts)) == body[0]
    assert watch.complete
    assert watch.end_of_stream()


@given(st.binary(min_size=1, max_size=100), st.binary(max_size=30), CUTS)
def test_a_body_with_a_length_ends_there_however_it_is_split(body: bytes, behind: bytes, cuts: list[int]) -> None:
    watch = BodyWatch(Framing(BodyKind.LENGTH, len(body)))
    assert taken(watch, pieces(body + behind, cuts)) == body
    assert watch.complete


@given(chunked_bodies(), CUTS)
def test_the_payload_is_the_same_however_it_is_split(body: tuple[bytes, bytes], cuts: list[int]) -> None:
    decoder = ChunkDecoder()
    assert b"".join(decoder.feed(part) for part in pieces(body[0], cuts)) == body[1]


@given(chunked_bodies(), st.integers(0, 400), CUTS)
def test_every_shorter_chunked_body_is_a_cut(body: tuple[bytes, bytes], length: int, cuts: list[int]) -> None:
    short = body[0][: min(length, len(body[0]) - 1)]
    watch = BodyWatch(CHUNKED, padded=True)
    assert taken(watch, pieces(short, cuts)) == short
    assert not watch.complete
    assert not watch.end_of_stream()


def test_what_ends_by_close_ends_by_close_only() -> None:
    for kind in (BodyKind.UNTIL_CLOSE, BodyKind.TUNNEL):
        watch = BodyWatch(Framing(kind))
        assert watch.feed(b"anything") == 8
        assert not watch.complete
        assert watch.end_of_stream()
    assert BodyWatch(NO_BODY).feed(b"GET") == 0


BAD = {
    "no size": b"\r\n",
    "a sign": b"+5\r\nhello\r\n",
    "a minus": b"-1\r\n",
    "a prefix": b"0x5\r\nhello\r\n",
    "a space before": b" 5\r\nhello\r\n",
    "an underscore": b"1_0\r\n",
    "too large": b"1" + b"0" * 16 + b"\r\n",
    "a bare LF": b"5\nhello\r\n",
    "a bare CR": b"5\rhello\r\n",
    "a bare LF in an extension": b"5;a\nb\r\nhello\r\n",
    "a bare CR in an extension": b"5;a\rb\r\nhello\r\n",
    "NUL in an extension": b"5;\0\r\nhello\r\n",
    "no CR LF behind the chunk": b"5\r\nhelloX",
    "LF behind the chunk": b"5\r\nhello\n0\r\n\r\n",
    "an open quote in an extension": b'5;a="b\r\nhello\r\n',
    "an extension of no name": b"5;\r\nhello\r\n",
    "an extension of two words": b"5;a b\r\nhello\r\n",
    "an endless extension": b"5;" + b"a" * 5000,
    "a length in the trailers": b"0\r\nContent-Length: 5\r\n\r\n",
    "a coding in the trailers": b"0\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n",
    "Upgrade in the trailers": b"0\r\nUpgrade: h2c\r\n\r\n",
    "a Host in the trailers": b"0\r\nHost: y\r\n\r\n",
    "a space before the colon": b"0\r\nX : y\r\n\r\n",
    "a bare LF in the trailers": b"0\r\nX: y\n\r\n",
    "endless trailers": b"0\r\n" + b"X: y\r\n" * 5000,
}


PADDED = [b"5 \r\n", b"5\t\r\n", b"5 ;a\r\n", b"5; a\r\n", b"5;a =b\r\n", b"5;a= b\r\n", b'5;a="b" \r\n']


@pytest.mark.parametrize("line", PADDED)
def test_spaces_around_sizes_are_for_answers_only(line: bytes) -> None:
    body = line + b"hello\r\n0\r\n\r\n"
    assert BodyWatch(CHUNKED, padded=True).feed(body) == len(body)
    with pytest.raises(BadBody):
        BodyWatch(CHUNKED).feed(body)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_body_that_could_be_read_in_two_ways_is_none(body: bytes, padded: bool) -> None:
    for parts in ([body], [body[i : i + 1] for i in range(len(body))]):
        watch = BodyWatch(CHUNKED, padded=padded)
        with pytest.raises(BadBody):
            taken(watch, iter(parts))
        assert not watch.complete
