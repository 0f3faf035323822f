"""Where frames end, in whatever pieces they come: only between two of them may a close frame be put."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prouter.web.frame_ends import MOST_AT_ONCE, FrameEnds

SIZES = st.sampled_from([0, 1, 124, 125, 126, 127, 65535, 65536])


def frame(size: int, *, masked: bool = False) -> bytes:
    mask = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x82, mask | size))
    elif size < 65536:
        head = bytes((0x82, mask | 126)) + size.to_bytes(2)
    else:
        head = bytes((0x82, mask | 127)) + size.to_bytes(8)
    return head + b"mask" * masked + b"\xff" * size


@given(
    st.lists(st.tuples(SIZES, st.booleans()), max_size=6), st.lists(st.integers(1, 70_000) | st.just(1), max_size=30)
)
def test_it_is_known_in_any_pieces(sizes: list[tuple[int, bool]], pieces: list[int]) -> None:
    frames = [frame(size, masked=masked) for size, masked in sizes]
    data, ends, came = b"".join(frames), {0}, 0
    for each in frames:
        ends.add(max(ends) + len(each))
    found = FrameEnds()
    for piece in [*pieces, len(data)]:
        part = data[came : came + piece]
        if part:
            found.feed(part)
            came += len(part)
        assert found.between == (came in ends)


def test_more_small_frames_at_once_than_are_walked_over_are_not_known_any_more() -> None:
    found = FrameEnds()
    found.feed(frame(0) * (MOST_AT_ONCE + 1))
    assert not found.between
    found.feed(frame(5))
    assert not found.between
