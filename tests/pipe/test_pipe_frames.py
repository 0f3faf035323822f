"""Frames of pipes that are websockets: whole at any split, masked as the RFC says, and what is none is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as OtherFrame
from websockets.frames import Opcode

from prouter.errors import RemoteProtocolError
from prouter.pipe.frames import BINARY, CLOSE, MAX_FRAME_BYTES, PING, SENT_BYTES, FrameReader, FrameWriter, mask

sides = pytest.mark.parametrize("masked", [True, False], ids=["client", "server"])


def read(reader: FrameReader, data: bytes, cuts: list[int]) -> tuple[bytes, list[tuple[int, bytes]]]:
    """The bytes of the stream, and the control frames, fed in pieces."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    came, others = b"", []
    for start, end in itertools.pairwise(places):
        for kind, payload in reader.feed(data[start:end]):
            if kind == BINARY:
                came += payload
            else:
                others.append((kind, payload))
    return came, others


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=2000), st.binary(min_size=4, max_size=4))
def test_a_mask_is_exclusive_or_and_takes_itself_off(data: bytes, key: bytes) -> None:
    masked = mask(data, key)
    assert masked == bytes(byte ^ key[place % 4] for place, byte in enumerate(data))
    assert mask(masked, key) == data


@sides
@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=300), st.integers(120, 70_000).map(lambda size: b"\xa5" * size)), max_size=5),
    st.lists(st.integers(0, 400_000), max_size=8),
)
def test_what_one_side_writes_the_other_reads_at_any_split(masked: bool, pieces: list[bytes], cuts: list[int]) -> None:
    writer, sent = FrameWriter(masks=masked), b""
    for piece in pieces:
        sent += writer.frames(piece) + writer.frame(PING, piece[:100])
    sent += writer.frame(CLOSE, b"\x03\xe8")
    came, others = read(FrameReader(masked=masked), sent, cuts)
    assert came == b"".join(pieces)
    assert others == [*((PING, piece[:100]) for piece in pieces), (CLOSE, b"\x03\xe8")]


@sides
def test_frames_of_another_make_are_read_whole_whatever_their_fragments(masked: bool) -> None:
    frames = [
        OtherFrame(Opcode.BINARY, b"one", fin=False),
        OtherFrame(Opcode.PING, b"amid"),
        OtherFrame(Opcode.CONT, b"x" * 70_000, fin=False),
        OtherFrame(Opcode.CONT, b"", fin=True),
        OtherFrame(Opcode.BINARY, b"two" * 100),
    ]
    sent = b"".join(frame.serialize(mask=masked) for frame in frames)
    assert read(FrameReader(masked=masked), sent, list(range(300))) == (
        b"one" + b"x" * 70_000 + b"two" * 100,
        [(PING, b"amid")],
    )


def test_a_hundred_thousand_frames_at_once_cost_no_more_than_their_bytes() -> None:
    data = FrameWriter(masks=False).frame(BINARY, b"x") * 100_000
    copied = 0

    class Counting(bytes):
        def __getitem__(self, wanted):  # type: ignore[no-untyped-def]
            nonlocal copied
            found = super().__getitem__(wanted)
            copied += len(found) if isinstance(found, bytes) else 0
            return found

    assert sum(len(payload) for _, payload in FrameReader(masked=False).feed(Counting(data))) == 100_000
    assert copied < 200 * 100_000


def test_a_long_write_is_several_frames_of_bounded_size_and_keys_differ() -> None:
    data = b"\0" * (3 * SENT_BYTES + 1)
    sent = FrameWriter(masks=True).frames(data)
    assert len(sent) == len(data) + 3 * 14 + 6
    keys = [sent[start + 10 : start + 14] for start in range(0, 3 * (SENT_BYTES + 14), SENT_BYTES + 14)]
    assert len(set(keys)) > 1, "a mask that does not change is none"


@pytest.mark.parametrize(
    ("data", "masked"),
    [
        (b"\x82\x01x", True),  # a client that does not mask
        (b"\x82\x81\0\0\0\0x", False),  # a server that does
        (b"\xc2\x01x", False),  # an extension that nobody agreed on
        (b"\x81\x01x", False),  # text
        (b"\x80\x01x", False),  # a continuation of nothing
        (b"\x02\x01x\x82\x01y", False),  # a message amid another
        (b"\x83\x01x", False),  # a kind that there is not
        (b"\x8b\x00", False),
        (b"\x09\x01x", False),  # a ping in fragments
        (b"\x89\x7e\x00\x7e", False),  # a ping that is too long
        (b"\x82\x7f" + (MAX_FRAME_BYTES + 1).to_bytes(8, "big"), False),
        (b"\x82\x7f" + b"\xff" * 8, False),
    ],
)
def test_what_no_peer_of_ours_sends_is_refused(data: bytes, masked: bool) -> None:
    with pytest.raises(RemoteProtocolError):
        list(FrameReader(masked=masked).feed(data))


@sides
@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\x82\x01x", b"\x82\x81keysx", b"\x88\x00"]))),
    st.data(),
)
def test_whatever_comes_is_read_or_refused_the_same_at_any_split(masked: bool, pieces: list[bytes], data) -> None:
    sent = b"".join(pieces)

    def outcome(cuts: list[int]) -> object:
        came: list[tuple[int, bytes]] = []
        reader = FrameReader(masked=masked)
        places = sorted({0, len(sent), *cuts})
        try:
            for start, end in itertools.pairwise(places):
                for kind, payload in reader.feed(sent[start:end]):
                    if kind == BINARY and came and came[-1][0] == BINARY:
                        came[-1] = (BINARY, came[-1][1] + payload)
                    else:
                        came.append((kind, payload))
        except RemoteProtocolError as error:
            came.append((-1, error.detail.encode()))
        return came

    assert outcome([]) == outcome(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
