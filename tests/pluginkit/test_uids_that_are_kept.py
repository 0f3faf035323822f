"""A daemon is who it was as long as its file of the uid is whole, whatever its owner wrote there."""

from __future__ import annotations

from pathlib import Path

import pytest

from prouter.pluginkit.state import StateDirectory


def uid_with(place: Path, kept: bytes) -> str:
    (place / "uid").write_bytes(kept)
    state = StateDirectory.open(str(place), "agent")
    try:
        return state.uid()
    finally:
        state.close()


@pytest.mark.parametrize("text", ["host-7/ü", "rack 4\thost 7", "rack 4\nhost 7", "\x1bhost", "host\u200b7"])
def test_what_its_owner_wrote_stays(tmp_path: Path, text: str) -> None:
    assert uid_with(tmp_path, f"{text}\n".encode()) == text
    assert not (tmp_path / "torn-uid").exists()


@pytest.mark.parametrize("kept", [b"", b" \n", b"\0" * 33, b"host\0\0\0", b"half\xff", b"x" * 1025])
def test_what_is_torn_is_set_aside(tmp_path: Path, kept: bytes) -> None:
    uid = uid_with(tmp_path, kept)
    assert len(uid) == 32
    assert (tmp_path / "torn-uid").read_bytes() == kept
    assert (tmp_path / "uid").read_text() == f"{uid}\n"
