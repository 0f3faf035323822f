"""Frames of a server made those of a client: the same messages, masked, at any split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prouter.plugins.ws_bridge.frames import BadFrame, Masker

frames = st.lists(
    st.tuples(st.sampled_from([0x81, 0x01, 0x80, 0x82, 0x88, 0x89, 0xC1]), st.binary(max_size=400)), max_size=6
)


def server_frame(first: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    return bytes((first, 126)) + len(payload).to_bytes(2, "big") + payload


def read_client_frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        first, second = data[0], data[1]
        assert second & 0x80
        length, used = second & 0x7F, 2
        if length == 126:
            length, used = int.from_bytes(data[2:4], "big"), 4
        key, data = data[used : used + 4], data[used + 4 :]
        found.append((first, bytes(byte ^ key[n % 4] for n, byte in enumerate(data[:length]))))
        data = data[length:]
    return found


@given(sent=frames, cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_any_split_gives_the_same_messages(sent, cuts) -> None:
    stream = b"".join(server_frame(*frame) for frame in sent)
    masker, received, before = Masker(), b"", 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        received += masker.feed(stream[before:cut])
        before = cut
    assert read_client_frames(received) == sent
    assert not masker.amid


@given(frame=st.tuples(st.just(0x82), st.binary(min_size=1, max_size=300)), cut=st.integers(1, 300))
def test_an_end_amid_a_frame_is_known(frame, cut) -> None:
    stream = server_frame(*frame)
    masker = Masker()
    masker.feed(stream[: min(cut, len(stream) - 1)])
    assert masker.amid


def test_a_masked_frame_of_a_server_is_refused() -> None:
    with pytest.raises(BadFrame):
        Masker().feed(b"\x81\x80abcd")


def test_each_frame_has_a_key_of_its_own() -> None:
    first, second = (Masker().feed(server_frame(0x82, bytes(16))) for _ in range(2))
    assert first != second
