"""Reading a tar as it arrives: what tarfile writes, at any split; what we do not take is refused, never skipped."""

from __future__ import annotations

import contextlib
import io
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prouter.errors import InvalidRequest, TooLarge
from prouter.plugins.archive_transfer.inflate import IN_BYTES, Inflate
from prouter.plugins.archive_transfer.tar_reader import Member, TarReader

names = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60),
    min_size=1,
    max_size=4,
).map("/".join)
contents = st.dictionaries(names, st.binary(max_size=1500), max_size=6)


def packed(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT, **fields: object) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def read(data: bytes, cuts: list[int]) -> dict[str, bytes]:
    reader, found, last, before = TarReader(), {}, "", 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        for part in reader.feed(data[before:cut]):
            if isinstance(part, Member):
                last = part.path
                found[last] = b""
            else:
                found[last] += part
        before = cut
    reader.end()
    return found


@given(files=contents, cuts=st.lists(st.integers(0, 20000), max_size=10), form=st.sampled_from([1, 2]))
def test_what_tarfile_writes_is_read_at_any_split(files, cuts, form) -> None:
    assert read(packed(files, form), cuts) == files


@given(files=contents, place=st.integers(0, 20000), value=st.integers(0, 255))
def test_a_changed_byte_makes_nothing_worse_than_a_refusal(files, place, value) -> None:
    data = bytearray(packed(files))
    data[place % len(data)] = value
    with contextlib.suppress(InvalidRequest):
        read(bytes(data), [])


@given(files=contents.filter(bool), cut=st.integers(1, 20000))
def test_an_archive_that_ends_too_early_is_refused(files, cut) -> None:
    data = packed(files)
    end = len(data.rstrip(b"\0")) + 512
    with pytest.raises(InvalidRequest):
        read(data[: max(0, min(len(data), end) - cut)], [])


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]
)
def test_links_devices_and_what_is_not_known_are_refused_by_name(kind) -> None:
    with pytest.raises(InvalidRequest, match="evil"):
        read(packed({"evil": b""}, type=kind, linkname="target"), [])


def test_a_directory_that_hides_members_in_a_content_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="content"):
        read(packed({"a/": packed({"hidden": b"x"})[:1024]}), [])


def test_a_global_header_may_comment_but_not_name_a_path() -> None:
    def globally(**headers: str) -> bytes:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers) as archive:
            archive.addfile(tarfile.TarInfo("a"))
        return sink.getvalue()

    assert read(globally(comment="a commit"), []) == {"a": b""}
    with pytest.raises(InvalidRequest, match="global"):
        read(globally(path="elsewhere"), [])


@pytest.mark.parametrize("data", [b"", b"no tar" * 200, bytes(512), packed({"a": b"x"}) + b"behind"])
def test_what_is_no_whole_tar_is_refused(data) -> None:
    with pytest.raises(InvalidRequest):
        read(data, [])


def inflated(data: bytes, step: int = 700) -> bytes:
    inflate = Inflate(100, 10)
    out = b"".join(piece for start in range(0, len(data), step) for piece in inflate.feed(data[start : start + step]))
    inflate.end()
    return out


def gzipped(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(data) + packer.flush()


@given(st.binary(max_size=5000), st.integers(1, 900))
def test_gzip_comes_out_as_it_went_in_several_members_too(data, step) -> None:
    assert inflated(gzipped(data) + gzipped(b"more"), step) == data + b"more"


def test_many_small_members_are_taken_step_by_step_and_bounded() -> None:
    """Others have their turn after each step."""
    data = gzipped(b"") * 5000
    steps = list(Inflate(100, 5000).feed(data))
    assert len(steps) >= len(data) / IN_BYTES
    with pytest.raises(TooLarge, match="more than 4999 members"):
        list(Inflate(100, 4999).feed(data))


def test_a_bomb_and_a_broken_gzip_are_refused() -> None:
    with pytest.raises(TooLarge):
        inflated(gzipped(bytes(64 * 1024 * 1024)))
    with pytest.raises(InvalidRequest):
        inflated(gzipped(b"a" * 1000)[:-4])
    with pytest.raises(InvalidRequest):
        inflated(gzipped(b"a" * 1000) + b"behind")
