"""What a query says is what its route declares, or refused: nobody's file goes because of a word that was misread."""

from __future__ import annotations

import pytest
from storing import Store

from prouter.model.query import read, switch

pytestmark = pytest.mark.as_user

WRONG = ["false", "no", "true", "2", "00", "01", "%31%20", "0&{0}=1", "1&{0}=0", "1&{0}=1"]


async def test_a_switch_is_1_or_0_or_nothing_and_anything_else_changes_nothing(store: Store) -> None:
    (store.sandbox / "f").write_bytes(b"kept")
    for value in WRONG:
        asked = value.format("remove")
        answer = await store.ask("GET", f"file/f?remove={asked}")
        assert (answer.status, answer.json["title"]) == (400, "Invalid request"), asked
        assert (await store.ask("PUT", f"file/g?executable={value.format('executable')}", b"x")).status == 400
        assert (await store.ask("GET", f"archive?compress={value.format('compress')}")).status == 400
        assert (await store.ask("GET", f"output?follow={value.format('follow')}")).status == 400
    assert await store.names() == ["f"]
    for value in ("", "0"):
        assert (await store.ask("GET", f"file/f?remove={value}")).content == b"kept"
        assert (await store.ask("GET", f"archive?compress={value}")).headers["Content-Type"] == "application/x-tar"
        assert (await store.ask("PUT", f"file/f?executable={value}", b"kept")).status == 200
        assert (store.sandbox / "f").stat().st_mode & 0o777 == 0o644
    assert (await store.ask("GET", "file/f?remove=1")).content == b"kept"
    assert (await store.ask("GET", "file/f")).status == 404


async def test_parameters_that_are_declared_fit_their_schema(store: Store) -> None:
    for rest in (
        "wait?timeout=1_0",
        "wait?timeout=-1",
        "wait?timeout=nan",
        "wait?timeout=1&timeout=0",
        "archive?format=rar",
        "archive?path=a&path=b",
        "files?limit=1&limit=2",
        "files?limit=+1",
        "files?limit=0",
        "files?limit=000000001" + "0" * 5000,
        "files?limit=00000000199999",
        "output?stream=both",
        "output?offset=1e3",
    ):
        verb = "POST" if rest.startswith("wait") else "GET"
        assert (await store.ask(verb, rest)).status == 400, rest
    assert (await store.ask("POST", "wait?timeout=0.05&unknown=1&unknown=2")).status == 200


def test_values_are_decoded_and_arrays_come_as_often_as_they_like() -> None:
    label = {"label": {"type": "array", "items": {"type": "string", "pattern": "^[^:]+:"}}}
    assert read("label=a:1&label=b:2&x=%FF&x=%2b", label) == {"label": "b:2", "x": "+"}
    assert not switch({}, "remove")
    assert switch({"remove": "1"}, "remove")
