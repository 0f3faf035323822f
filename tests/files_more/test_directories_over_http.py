"""Directories are listed, made, moved and deleted through the API, and nothing is lost in passing."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tarfile

import pytest
from storing import Store

from prouter.testing import Fleet

pytestmark = pytest.mark.as_user


async def test_a_list_tells_of_each_entry_itself_in_the_order_of_names(store: Store) -> None:
    (store.sandbox / "c.txt").write_bytes(b"12345")
    (store.sandbox / "c.txt").chmod(0o640)
    os.utime(store.sandbox / "c.txt", (1_000_000_000, 1_000_000_000.25))
    (store.sandbox / "a").mkdir()
    (store.sandbox / "b").symlink_to("/etc/passwd")
    os.mkfifo(store.sandbox / "d")
    entries = (await store.ask("GET", "files")).json["entries"]
    assert [(entry["name"], entry["type"]) for entry in entries] == [
        ("a", "directory"),
        ("b", "symlink"),
        ("c.txt", "file"),
        ("d", "other"),
    ]
    wanted = {"size": 5, "mode": 0o640, "modified_at": "2001-09-09T01:46:40.250Z", "name": "c.txt", "type": "file"}
    assert entries[2] == wanted
    assert (await store.ask("HEAD", "files")).status == 200


async def test_a_list_is_of_a_directory_in_the_sandbox(store: Store) -> None:
    (store.sandbox / "a" / "b").mkdir(parents=True)
    (store.sandbox / "a" / "b" / "f").touch()
    (store.sandbox / "inside").symlink_to("a/b")
    (store.sandbox / "outside").symlink_to("/etc")
    for path in ("a/b", "a/b/", "./a//b", "inside"):
        assert await store.names(f"?path={path}") == ["f"], path
    for path in (".", "./", ""):
        assert await store.names(f"?path={path}") == ["a", "inside", "outside"], path
    refused = {"missing": 404, "a/b/f": 409, "outside": 400, "..": 400, "/": 400, "/etc": 400, "a/%00": 400}
    assert {path: (await store.ask("GET", f"files?path={path}")).status for path in refused} == refused


async def test_a_list_comes_in_pages_and_bounded(store: Store) -> None:
    for number in range(25):
        (store.sandbox / f"f{number:02}").touch()
    found, cursor = [], ""
    while cursor is not None:
        page = (await store.ask("GET", f"files?limit=10&cursor={cursor}" if cursor else "files?limit=10")).json
        assert len(page["entries"]) <= 10
        found += [entry["name"] for entry in page["entries"]]
        cursor = page["next"]
    assert found == [f"f{number:02}" for number in range(25)]
    for bad in ("limit=0", "limit=x", "cursor=x"):
        assert (await store.ask("GET", f"files?{bad}")).status == 400


async def test_a_directory_with_more_names_than_an_archive_takes_comes_in_pages_and_parts(fleet: Fleet) -> None:
    router, agent = await fleet.pair("archives.max_entries=1000")
    async with router.client() as client:
        await in_pages_and_parts(Store(router, agent, await client.create({"type": "uid", "uid": agent.uid}, "files")))


async def in_pages_and_parts(store: Store) -> None:
    (store.sandbox / "many").mkdir()
    (store.sandbox / "f").touch()
    for number in range(1001):
        os.mknod(store.sandbox / "many" / f"{number:04}")
    page = (await store.ask("GET", "files?path=many&limit=2")).json
    assert [entry["name"] for entry in page["entries"]] == ["0000", "0001"]
    page = (await store.ask("GET", f"files?path=many&limit=1&cursor={page['next']}")).json
    assert [entry["name"] for entry in page["entries"]] == ["0002"]
    for query in ("", "?path=many", "?format=zip"):
        answer = await store.ask("GET", f"archive{query}")
        assert (answer.status, "archives.max_entries" in answer.json["detail"]) == (413, True), answer.content
    for query, names in (
        ("exclude=many*", ["f"]),
        ("exclude=many/*", ["f", "many"]),
        ("include=f", ["f"]),
        ("path=many&include=1000*", ["1000"]),
        ("path=many&include=&exclude=0*", ["1000"]),
    ):
        packed = (await store.ask("GET", f"archive?{query}")).content
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            assert archive.getnames() == names, query


async def test_an_archive_of_directories_deeper_than_paths_is_refused_with_a_sentence(store: Store) -> None:
    deep = "import os\nfor _ in range(400): os.mkdir('d'); os.chdir('d')"
    await store.job.start([sys.executable, "-c", deep], port_expected_count=0)
    await store.job.wait(30)
    (store.sandbox / "f").touch()
    answer = await store.ask("GET", "archive")
    assert (answer.status, "deeper than 256 names" in answer.json["detail"]) == (413, True)
    packed = (await store.ask("GET", "archive?exclude=d*")).content
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames()[-1] == "f"


async def test_a_directory_is_made_with_those_above_it(store: Store) -> None:
    answer = await store.change(mkdir="a/b/c/")
    assert (answer.status, answer.json["name"], answer.json["type"]) == (200, "c", "directory")
    assert (store.sandbox / "a/b/c").is_dir()
    (store.sandbox / "f").touch()
    refused = {"a/b/c": 409, "f": 409, "f/g": 409, "../x": 400, "/x": 400, ".": 400, "": 400}
    assert {path: (await store.change(mkdir=path)).status for path in refused} == refused


async def test_a_refused_move_names_what_it_is_about(store: Store) -> None:
    (store.sandbox / "f").touch()
    for move, to, named in (("nope", "x", "nope"), ("f/g", "x", "f/g"), ("f", "f/g", "f/g"), ("nope", "new/x", "nope")):
        answer = await store.change(move=move, to=to)
        assert answer.status in (404, 409)
        assert f"'{named}'" in answer.json["detail"], answer.json
    assert await store.names() == ["f"]


async def test_a_change_that_is_asked_twice_with_its_key_is_done_once(store: Store) -> None:
    (store.sandbox / "f").write_bytes(b"content")
    for number, change in enumerate(({"mkdir": "a/b"}, {"move": "f", "to": "a/g"})):
        key = f"key-{number}"
        first, second = await asyncio.gather(
            *(store.ask("POST", "files", change, Idempotency_Key=key) for _ in range(2)),
        )
        third = await store.ask("POST", "files", change, Idempotency_Key=key)
        assert first.status == second.status == third.status == 200
        assert first.json == second.json == third.json
        assert (await store.ask("POST", "files", change)).status in (404, 409)
        assert (await store.ask("POST", "files", {"mkdir": "x"}, Idempotency_Key=key)).status == 409
    refused = [await store.ask("POST", "files", {"move": "x", "to": "y"}, Idempotency_Key="key-2") for _ in range(2)]
    assert [answer.status for answer in refused] == [404, 404]
    (store.sandbox / "x").touch()
    assert (await store.ask("POST", "files", {"move": "x", "to": "y"}, Idempotency_Key="key-2")).status == 200
    assert (await store.ask("POST", "files", {"mkdir": "z"}, Idempotency_Key="")).status == 400
    assert await store.names() == ["a", "y"]


async def test_a_move_keeps_what_is_moved_and_makes_the_way(store: Store) -> None:
    (store.sandbox / "f").write_bytes(b"content")
    inode = (store.sandbox / "f").stat().st_ino
    answer = await store.change(move="f", to="new/place/g")
    assert (answer.status, answer.json["name"], answer.json["size"]) == (200, "g", 7)
    assert (store.sandbox / "new/place/g").stat().st_ino == inode
    assert (await store.change(move="new/place", to="dir")).json["type"] == "directory"
    assert (store.sandbox / "dir/g").read_bytes() == b"content"
    (store.sandbox / "link").symlink_to("nowhere")
    assert (await store.change(move="link", to="dir/link")).json["type"] == "symlink"
    assert os.readlink(store.sandbox / "dir/link") == "nowhere"


async def test_a_move_replaces_a_file_by_a_file_and_nothing_else(store: Store) -> None:
    for name in ("f", "g"):
        (store.sandbox / name).write_text(name)
    for name in ("empty", "full/inner"):
        (store.sandbox / name).mkdir(parents=True)
    (store.sandbox / "outside").symlink_to("/tmp")
    refused = {
        ("f", "empty"): 409,
        ("f", "full"): 409,
        ("full", "f"): 409,
        ("full", "empty"): 409,
        ("f", "g/x"): 409,
        ("full", "full/inner/x"): 400,
        ("f", "outside/x"): 400,
        ("f", "../x"): 400,
        ("missing", "way/x"): 404,
    }
    assert {(old, new): (await store.change(move=old, to=new)).status for old, new in refused} == refused
    assert await store.names() == ["empty", "f", "full", "g", "outside"]
    assert (await store.change(move="f", to="g")).status == 200
    assert (store.sandbox / "g").read_text() == "f"
    assert await store.names() == ["empty", "full", "g", "outside"]


async def test_a_change_that_is_none_is_refused(store: Store) -> None:
    for body in ({}, {"mkdir": "a", "move": "b", "to": "c"}, {"move": "b"}, {"mkdir": "a", "to": "b"}, {"mkdir": 1}):
        assert (await store.change(**body)).status == 400, body
    assert await store.names() == []


async def test_files_links_and_empty_directories_are_deleted(store: Store) -> None:
    (store.sandbox / "full").mkdir()
    (store.sandbox / "full" / "f").touch()
    (store.sandbox / "link").symlink_to("full")
    (store.sandbox / "outside").symlink_to("/tmp")
    wanted = [("full", 409), ("link", 204), ("outside", 204), ("full/f", 204), ("full", 204), ("full", 404)]
    wanted += [("..", 400), ("a/../b", 400)]
    for path, status in wanted:
        answer = await store.ask("DELETE", f"file/{path}".replace("..", "%2e%2e"))
        assert answer.status == status, path
        assert status != 204 or answer.content == b""
    assert await store.names() == []


async def test_an_upload_that_goes_on_is_not_listed(store: Store) -> None:
    (store.sandbox / ".prouter-upload-0123456789abcdef").touch()
    (store.sandbox / ".prouter-upload-mine").touch()
    assert await store.names() == [".prouter-upload-mine"]


async def test_the_client_has_a_method_for_each(store: Store) -> None:
    await store.job.mkdir("a/b")
    (store.sandbox / "a" / "f").write_bytes(b"x")
    assert (await store.job.move("a/f", "g %#?;é"))["size"] == 1
    assert [entry["name"] for entry in await store.job.files()] == ["a", "g %#?;é"]
    assert [entry["name"] for entry in await store.job.files("a")] == ["b"]
    await store.job.delete("g %#?;é")
    await store.job.delete("a/b")
    assert [entry["name"] for entry in await store.job.files()] == ["a"]
