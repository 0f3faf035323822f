"""A part of a file is those bytes and says which they are; what is no range at all gets the whole."""

from __future__ import annotations

import pytest
from storing import Store

pytestmark = pytest.mark.as_user

DATA = bytes(range(256)) * 8
SIZE = len(DATA)


async def test_one_range_is_those_bytes(store: Store) -> None:
    (store.sandbox / "f").write_bytes(DATA)
    whole = await store.ask("GET", "file/f")
    assert whole.headers["Accept-Ranges"] == "bytes"
    wanted = {
        "0-0": (0, 0),
        "10-19": (10, 19),
        "2000-": (2000, SIZE - 1),
        f"{SIZE - 1}-": (SIZE - 1, SIZE - 1),
        "5-99999": (5, SIZE - 1),
        "-3": (SIZE - 3, SIZE - 1),
        "-99999": (0, SIZE - 1),
    }
    for asked, (first, last) in wanted.items():
        answer = await store.ask("GET", "file/f", Range=f"bytes={asked}")
        assert (answer.status, answer.content) == (206, DATA[first : last + 1]), asked
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
        assert answer.headers["Content-Length"] == str(last - first + 1)
        assert answer.headers["ETag"] == whole.headers["ETag"]


async def test_a_range_behind_the_end_says_where_the_end_is(store: Store) -> None:
    (store.sandbox / "f").write_bytes(DATA)
    (store.sandbox / "empty").touch()
    asked = [("f", f"{SIZE}-", SIZE), ("f", f"{SIZE}-{SIZE}", SIZE), ("f", "-0", SIZE)]
    for name, wanted, size in [*asked, ("empty", "0-", 0), ("empty", "-1", 0)]:
        answer = await store.ask("GET", f"file/{name}", Range=f"bytes={wanted}")
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}"), wanted
        assert answer.json["type"] == "urn:prouter:range"


async def test_what_is_no_single_range_gets_the_whole_file(store: Store) -> None:
    (store.sandbox / "f").write_bytes(DATA)
    odd = ("bytes=0-1,5-6", "bytes=", "bytes=-", "bytes=9-2", "bytes=a-b", "lines=1-2", "0-5", "bytes=" + "9" * 99)
    for asked in odd:
        answer = await store.ask("GET", "file/f", Range=asked)
        assert (answer.status, answer.content) == (200, DATA), asked
    answer = await store.ask("HEAD", "file/f", Range="bytes=0-1")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))


async def test_a_range_of_a_file_that_was_changed_is_the_whole_new_one(store: Store) -> None:
    (store.sandbox / "f").write_bytes(DATA)
    told = (await store.ask("HEAD", "file/f")).headers
    for same in (told["ETag"], told["Last-Modified"]):
        assert (await store.ask("GET", "file/f", Range="bytes=1-2", If_Range=same)).status == 206
    for other in ('"other"', f"W/{told['ETag']}", "Mon, 01 Jan 2001 00:00:00 GMT", "nonsense"):
        answer = await store.ask("GET", "file/f", Range="bytes=99999-", If_Range=other)
        assert (answer.status, answer.content) == (200, DATA), other


async def test_a_condition_comes_before_a_range(store: Store) -> None:
    (store.sandbox / "f").write_bytes(DATA)
    tag = (await store.ask("HEAD", "file/f")).headers["ETag"]
    assert (await store.ask("GET", "file/f", Range="bytes=1-2", If_None_Match=tag)).status == 304
    assert (await store.ask("GET", "file/f", Range="bytes=99999-", If_Match='"other"')).status == 412


async def test_no_file_is_removed_by_reading_a_part_of_it(store: Store) -> None:
    (store.sandbox / "f").write_bytes(DATA)
    assert (await store.ask("GET", "file/f?remove=1", Range="bytes=0-")).status == 400
    assert await store.names() == ["f"]
