"""Whatever a name is made of, it goes in and comes out as the same bytes."""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import quote, unquote_to_bytes

import pytest
from storing import Store

from prouter.client import Job

pytestmark = pytest.mark.as_user

NAMES = [
    b"with space",
    b"two\nlines\r\n",
    b"100%",
    b"%41",
    b"a;b",
    b"a?b",
    b"a#b",
    b"a&b=c+d",
    b"back\\slash",
    b"-rf",
    b"...",
    b"\xff\xfe",
    b"caf\xe9 \xc3\xa9",
    "日本".encode(),
    b"\x01\x7f",
    b"n" * 255,
]


async def test_names_of_all_bytes_are_uploaded_listed_fetched_moved_and_deleted(store: Store) -> None:
    raw = os.fsencode(store.sandbox)
    for name in NAMES:
        path = quote(b"d\xff/" + name)
        assert (await store.ask("PUT", f"file/{path}", name)).status == 200, name
    assert sorted(os.listdir(raw + b"/d\xff")) == sorted(NAMES)
    entries = (await store.ask("GET", "files?path=d%FF")).json["entries"]
    listed = {unquote_to_bytes(entry["path"]): entry for entry in entries if "path" in entry}
    for entry in entries:
        assert "path" in entry or entry["name"].encode() in NAMES
        assert "path" not in entry or "\ufffd" in entry["name"]
    assert set(listed) == {b"d\xff/\xff\xfe", b"d\xff/caf\xe9 \xc3\xa9"}
    assert {entry["name"].encode() for entry in entries if "path" not in entry} == set(NAMES[:11] + NAMES[13:])
    for name in NAMES:
        path, to = quote(b"d\xff/" + name), quote(b"moved\xfe/" + name)
        assert (await store.ask("GET", f"file/{path}")).content == name
        assert (await store.change(move=path, to=to, encoded=True)).status == 200, name
    assert sorted(os.listdir(raw + b"/moved\xfe")) == sorted(NAMES)
    for name in NAMES:
        assert (await store.ask("DELETE", f"file/{quote(b'moved%c/' % 0xFE + name)}")).status == 204, name
    assert os.listdir(raw + b"/moved\xfe") == []


async def test_a_name_that_is_not_utf8_has_its_path_from_the_sandbox_on(store: Store) -> None:
    answer = await store.change(mkdir="a%20b/%FF", encoded=True)
    assert (answer.json["name"], answer.json["path"]) == ("\ufffd", "a%20b/%FF")
    entry = (await store.ask("GET", "files?path=a%20b/")).json["entries"][0]
    assert (entry["name"], entry["path"]) == ("\ufffd", "a%20b/%FF")
    assert (await store.ask("DELETE", f"file/{entry['path']}")).status == 204


async def test_names_of_uploads_that_are_under_way_are_nobodys(store: Store) -> None:
    """They are not listed, and go when the agent is started again."""
    name = ".prouter-upload-0123456789abcdef"
    for path in (name, f"d/{name}", f"{name}/f"):
        for verb, data in (("PUT", b"x"), ("GET", None), ("DELETE", None)):
            answer = await store.ask(verb, f"file/{path}", data)
            assert (answer.status, "uploaded" in answer.json["detail"]) == (400, True), (verb, path)
        assert (await store.change(mkdir=path)).status == 400
        assert (await store.ask("GET", f"archive?path={path}")).status == 400
    (store.sandbox / "f").touch()
    assert (await store.change(move="f", to=name)).status == 400
    assert (await store.ask("PUT", f"file/{name}s", b"x")).status == 200
    assert await store.names() == [f"{name}s", "f"]


async def test_a_path_in_a_body_is_taken_as_it_is_unless_it_says_otherwise(store: Store) -> None:
    assert (await store.change(mkdir="%41")).json["name"] == "%41"
    assert (await store.change(mkdir="%41", encoded=True)).json["name"] == "A"
    assert (await store.change(mkdir="%2e%2e/x", encoded=True)).status == 400
    assert await store.names() == ["%41", "A"]


async def test_files_are_reached_by_the_jobs_uid_alone_too(store: Store) -> None:
    """Where a path has both readings it is told by the action: files that are named like actions are none."""
    async with store.router.client() as client:
        short = replace(store, job=Job(client, store.job.info | {"path": f"/jobs/{store.job.info['uid']}"}))
    assert (await short.ask("PUT", "file/files/info", b"content")).status == 200
    assert (await store.ask("GET", "file/files/info")).content == b"content"
    assert await short.names("?path=files") == ["info"]
    assert (await short.change(mkdir="archive/archive")).status == 200
    packed = (await short.ask("GET", "archive")).content
    assert packed == (await store.ask("GET", "archive")).content
    assert (await short.ask("DELETE", "file/files/info")).status == 204
    answer = await short.ask("POST", "archive", packed, Content_Type="application/octet-stream")
    assert answer.json == {"entries": 4, "bytes": 7}
    assert await store.names("?path=files") == ["info"]
