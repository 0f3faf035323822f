"""The spool and its readers, joined: whatever is written, dropped and begun anew, what is read is true and in place."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from prouter.agent.guard.held.segments import DIRECTORY, STDERR, STDOUT
from prouter.agent.guard.held.spool import Spool
from prouter.agent.output.reader import SpoolReader
from prouter.model.output import OutputPiece, OutputStream

VIEWS = (None, OutputStream.STDOUT, OutputStream.STDERR)
LIMITS = st.integers(1, 4000)
WRITES = st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=600))
ROOM = st.one_of(st.none(), st.integers(0, 300))
"""How large a file can become, as on a disk that is full for the moment."""
STEPS = st.lists(st.one_of(WRITES, st.sampled_from(["read", "restart"]), ROOM), max_size=60)


def all_from(reader: SpoolReader, offset: int) -> list[OutputPiece]:
    found = []
    while (batch := reader.read(offset)).pieces or batch.more:
        found += batch.pieces
        offset = found[-1].after if found else offset
    return found


@contextmanager
def files_of_at_most(size: int | None) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Story:
    """A spool, what it was given, and a follower of each view."""

    def __init__(self, place: Path, limit: int) -> None:
        self.place = place
        self.limit = limit
        self.spool = Spool(str(place), limit)
        self.said = dict.fromkeys(VIEWS, b"")
        self.followers = {view: SpoolReader(place, view) for view in VIEWS}
        self.read_to = dict.fromkeys(VIEWS, 0)

    def write(self, stream: int, data: bytes) -> None:
        self.spool.write(stream, memoryview(data))
        for view in (None, OutputStream.STDOUT if stream == STDOUT else OutputStream.STDERR):
            self.said[view] += data

    def tell(self, steps: list) -> None:
        room = None
        for step in steps:
            match step:
                case "read":
                    for view, reader in self.followers.items():
                        self.read_to[view] = self.check(view, all_from(reader, self.read_to[view]), self.read_to[view])
                case "restart":
                    self.spool.close()
                    self.spool = Spool(str(self.place), self.limit)
                case (stream, data):
                    with files_of_at_most(room):
                        self.write(stream, data)
                case _:
                    room = step

    def check(self, view: OutputStream | None, pieces: list[OutputPiece], offset: int) -> int:
        """Each piece begins where the last one ended, and is what was said there."""
        for piece in pieces:
            assert piece.offset == offset
            assert piece.after > offset
            assert bool(piece.data) == (piece.stream is not None)
            if piece.data:
                assert piece.data == self.said[view][piece.offset : piece.after]
            offset = piece.after
        return offset

    def size(self) -> int:
        return sum(path.stat().st_size for path in (self.place / DIRECTORY).glob("*"))


@contextmanager
def story(limit: int) -> Iterator[Story]:
    with tempfile.TemporaryDirectory() as place:
        told = Story(Path(place), limit)
        try:
            yield told
        finally:
            told.spool.close()


@given(LIMITS, STEPS.map(lambda steps: [step for step in steps if isinstance(step, (str, tuple))]))
@settings(max_examples=150, deadline=None)
def test_what_is_read_is_the_newest_part_of_what_was_written_and_no_more_than_the_limit(limit, steps) -> None:
    with story(limit) as told:
        told.tell(steps)
        told.spool.close()
        assert told.size() <= max(limit, 13)
        for view in VIEWS:
            pieces = all_from(SpoolReader(told.place, view), 0)
            assert told.check(view, pieces, 0) == len(told.said[view])
            assert all(piece.data for piece in pieces[1:]), "only the oldest is missing"
            assert SpoolReader(told.place, view).end() == len(told.said[view])


@given(LIMITS, STEPS)
@settings(max_examples=150, deadline=None)
def test_a_disk_that_is_full_for_a_while_leaves_gaps_and_all_else_in_place(limit, steps) -> None:
    with story(limit) as told:
        told.tell([*steps, "read"])
        told.spool.close()
        assert told.size() <= max(limit, 13)
        for view in VIEWS:
            assert told.check(view, all_from(SpoolReader(told.place, view), 0), 0) == len(told.said[view])
            offset = told.read_to[view]
            assert told.check(view, all_from(told.followers[view], offset), offset) == len(told.said[view])


@given(st.lists(WRITES, max_size=20), st.data())
@settings(max_examples=100, deadline=None)
def test_reading_can_begin_at_any_offset(writes, data) -> None:
    with story(1 << 20) as told:
        for write in writes:
            told.write(*write)
        for view in VIEWS:
            offset = data.draw(st.integers(0, len(told.said[view]) + 3))
            found = b"".join(piece.data for piece in all_from(SpoolReader(told.place, view), offset))
            assert found == told.said[view][offset:]


LINES = st.lists(
    st.tuples(
        st.sampled_from([STDOUT, STDERR]),
        st.binary(min_size=1, max_size=9).map(lambda data: bytes(b"\nab"[byte % 3] for byte in data)),
    ),
    max_size=20,
)


@given(LINES, st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_the_tail_begins_where_the_last_lines_begin(writes, lines) -> None:
    with story(1 << 20) as told:
        for write in writes:
            told.write(*write)
        for view in VIEWS:
            whole = told.said[view].splitlines(keepends=True)
            wanted = b"".join(whole[len(whole) - lines :] if lines < len(whole) else whole)
            assert told.said[view][SpoolReader(told.place, view).tail(lines) :] == wanted


def test_a_job_directory_that_was_removed_stays_so(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "job"))
    spool.write(STDOUT, memoryview(b"last words"))
    spool.close()
    assert spool.kept == b"last words"
    assert not (tmp_path / "job").exists()


def test_a_record_that_its_writer_could_not_finish_is_not_there(tmp_path: Path) -> None:
    with story(1 << 20) as told:
        told.write(STDOUT, b"whole")
        told.write(STDOUT, b"torn")
        told.spool.close()
        [segment] = (told.place / DIRECTORY).iterdir()
        segment.write_bytes(segment.read_bytes()[:-1])
        told.said = {view: b"whole" if view is not OutputStream.STDERR else b"" for view in VIEWS}
        told.spool = Spool(str(told.place), 1 << 20)
        told.write(STDERR, b"after")
        pieces = all_from(SpoolReader(told.place, None), 0)
        assert [(piece.offset, piece.data) for piece in pieces] == [(0, b"whole"), (5, b"after")]
