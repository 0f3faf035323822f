"""What a router keeps of its last run, however its file was torn: it is read whole, or set aside and left out."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from prouter.core.agents.memory import MAX_BYTES, AgentMemory, DialedAgent, Remembered
from prouter.model.access import Secret

NOTHING = Remembered(frozenset(), ())
UIDS = ["first", "zwölf", "\udcff of other bytes"]
DIALED = (DialedAgent("one:1", None), DialedAgent("two:2", Secret("of the agent")))
WRONG = [
    "",
    "\0" * 64,
    "null",
    "[]",
    "5",
    "{}",
    "[" * 100_000,
    '{"uids": "abc", "dialed": []}',
    '{"uids": [["a"]], "dialed": []}',
    '{"uids": [1], "dialed": []}',
    '{"uids": [], "dialed": 5}',
    '{"uids": [], "dialed": ["a"]}',
    '{"uids": [], "dialed": [{"address": "a"}]}',
    '{"uids": [], "dialed": [{"address": null, "token": null}]}',
    '{"uids": [], "dialed": [{"address": "a", "token": {"b": 1}}]}',
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "agents.json"


def test_what_was_written_is_read_and_nobody_else_can_read_it(place: Path) -> None:
    place.with_name("agents.json.new").touch(0o600)  # of a run that was killed
    assert AgentMemory(place).write(UIDS, DIALED)
    found = AgentMemory(place).read()
    assert found.uids == frozenset(UIDS)
    assert [(kept.address, kept.token and kept.token.reveal()) for kept in found.dialed] == [
        ("one:1", None),
        ("two:2", "of the agent"),
    ]
    assert [path.name for path in place.parent.iterdir()] == ["agents.json"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_a_file_that_was_cut_anywhere_is_set_aside_with_a_word(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    AgentMemory(place).write(UIDS, DIALED)
    whole = place.read_bytes()
    aside = place.with_name("torn-agents.json")
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        caplog.clear()
        assert AgentMemory(place).read() == NOTHING
        assert (place.exists(), aside.read_bytes()) == (False, whole[:length])
        assert str(aside) in caplog.text
        assert "of the agent" not in caplog.text, "a token"


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:40].replace("\0", "0"))
def test_garbage_is_set_aside(text: str, place: Path) -> None:
    place.write_text(text)
    assert AgentMemory(place).read() == NOTHING
    assert place.with_name("torn-agents.json").read_text() == text


def test_what_is_larger_than_any_is_not_read_into_memory(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(MAX_BYTES * 100)
    assert AgentMemory(place).read() == NOTHING
    assert place.with_name("torn-agents.json").stat().st_size == MAX_BYTES * 100


def test_what_can_not_be_read_stays(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    place.mkdir()
    assert AgentMemory(place).read() == NOTHING
    assert place.is_dir()
    assert "left out" in caplog.text


def test_what_is_not_known_yet_is_left_out(place: Path) -> None:
    place.write_text(json.dumps({"uids": ["a"], "dialed": [], "of a later version": {}}))
    assert AgentMemory(place).read() == Remembered(frozenset(["a"]), ())
