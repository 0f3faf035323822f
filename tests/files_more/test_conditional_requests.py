"""A client that has a file already, or changes one that it knows, says so and is believed."""

from __future__ import annotations

import asyncio
from email.utils import formatdate

import pytest
from storing import Store

pytestmark = pytest.mark.as_user


async def etag(store: Store, rest: str = "file/f") -> str:
    answer = await store.ask("HEAD", rest)
    assert answer.status == 200
    return str(answer.headers["ETag"])


async def test_a_tag_is_strong_and_changes_with_the_file(store: Store) -> None:
    await store.ask("PUT", "file/f", b"one")
    first = await etag(store)
    answer = await store.ask("GET", "file/f")
    assert first.startswith('"')
    assert answer.headers["ETag"] == first
    assert answer.headers["Last-Modified"] == formatdate((store.sandbox / "f").stat().st_mtime, usegmt=True)
    await store.ask("PUT", "file/f", b"two")
    second = await etag(store)
    assert second != first
    with (store.sandbox / "f").open("ab") as file:
        file.write(b"!")
    assert await etag(store) not in (first, second)


async def test_a_file_that_the_client_has_is_not_sent_again(store: Store) -> None:
    await store.ask("PUT", "file/f", b"one")
    tag = await etag(store)
    for verb in ("GET", "HEAD"):
        for names in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = await store.ask(verb, "file/f", If_None_Match=names)
            assert (answer.status, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    for names in ('"other"', "nonsense", ""):
        assert (await store.ask("GET", "file/f", If_None_Match=names)).content == b"one"
    assert (await store.ask("GET", "file/f?remove=1", If_None_Match=tag)).status == 304
    assert await store.names() == ["f"]


async def test_a_download_of_another_file_than_was_meant_is_refused(store: Store) -> None:
    await store.ask("PUT", "file/f", b"one")
    tag = await etag(store)
    for names, status in ((tag, 200), ("*", 200), (f'"x", {tag}', 200), (f"W/{tag}", 412), ('"x"', 412)):
        assert (await store.ask("GET", "file/f", If_Match=names)).status == status, names
    assert (await store.ask("GET", "file/missing", If_Match="*")).status == 404


@pytest.mark.parametrize("verb", ["PUT", "POST"])
async def test_an_upload_replaces_only_what_it_names(store: Store, verb: str) -> None:
    assert (await store.ask(verb, "file/new/f", b"x", If_Match="*")).status == 412
    assert await store.names() == []
    assert (await store.ask(verb, "file/f", b"one", If_None_Match="*")).status == 200
    assert (await store.ask(verb, "file/f", b"two", If_None_Match="*")).status == 412
    tag = await etag(store)
    assert (await store.ask(verb, "file/f", b"two", If_Match='"other"')).status == 412
    assert (store.sandbox / "f").read_bytes() == b"one"
    assert (await store.ask(verb, "file/f", b"two", If_Match=tag)).status == 200
    assert (await store.ask(verb, "file/f", b"three", If_Match=tag)).status == 412
    assert (store.sandbox / "f").read_bytes() == b"two"
    (store.sandbox / "dangling").symlink_to("nowhere")
    assert (await store.ask(verb, "file/dangling", b"x", If_None_Match="*")).status == 412


async def test_a_file_is_deleted_only_as_it_is_known(store: Store) -> None:
    await store.ask("PUT", "file/f", b"one")
    assert (await store.ask("DELETE", "file/f", If_Match='"other"')).status == 412
    assert await store.names() == ["f"]
    assert (await store.ask("DELETE", "file/f", If_Match=await etag(store))).status == 204


async def test_of_many_who_change_the_same_version_one_wins(store: Store) -> None:
    await store.ask("PUT", "file/f", b"0")
    for conditions in ({"If_Match": await etag(store)}, {"If_None_Match": "*"}):
        path = "file/f" if "If_Match" in conditions else "file/g"
        sent = [store.ask("PUT", path, b"%d" % number, **conditions) for number in range(8)]
        statuses = sorted([answer.status for answer in await asyncio.gather(*sent)])
        assert statuses == [200] + [412] * 7
    assert await store.names() == ["f", "g"]
