"""Nothing outside of a sandbox is read or written, whatever the path says and whoever swaps links meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opening import Opening

from prouter.agent.files.paths import MAX_NAMES, split
from prouter.errors import Conflict, FileMissing, Forbidden, InvalidRequest, ProuterError, RequestError

pytestmark = pytest.mark.as_user

BAD_PATHS = ["", ".", "/", "/etc/passwd", "..", "../f", "a/../../f", "a/..", "a/", "a/.", "a\0b", "\ud800", "x" * 256]
BAD_PATHS += ["é" * 128, "a/" * 2048 + "a", "a/" * MAX_NAMES + "a"]
TRIES = 250


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: ascii(path[:12]))
async def test_a_path_that_is_no_path_into_the_sandbox_is_refused(files: Opening, path: str) -> None:
    with pytest.raises(InvalidRequest):
        await files.read(path)
    with pytest.raises(InvalidRequest):
        await files.write(path, b"x")
    async with files() as opened:
        with pytest.raises(InvalidRequest):
            await opened.remove(path)
    assert files.left() == []


@given(st.text())
def test_a_split_path_is_only_names(path: str) -> None:
    with contextlib.suppress(InvalidRequest):
        names = split(path)
        assert names
        assert not {"", ".", ".."} & set(names)
        assert not any("/" in name or "\0" in name for name in names)


@pytest.mark.parametrize("name", ["naïve ☃ 名", "a\\b", "a:b", "%2e%2e", "...", "-rf", "\udcff\udcfe", "x" * 255])
async def test_any_bytes_are_a_name(files: Opening, name: str) -> None:
    await files.write(f"d//./{name}", b"here")
    assert await files.read(f"./d/{name}") == b"here"
    assert os.listdir(os.fsencode(files.path / "d")) == [os.fsencode(name)]


async def test_links_that_stay_inside_are_followed_to_read_and_to_find_the_directory(files: Opening) -> None:
    (files.path / "d" / "e").mkdir(parents=True)
    (files.path / "f").write_bytes(b"inside")
    (files.path / "d" / "e" / "up").symlink_to("../../f")
    (files.path / "there").symlink_to("d/e")
    assert await files.read("there/up") == b"inside"
    await files.write("there/new", b"written")
    assert (files.path / "d" / "e" / "new").read_bytes() == b"written"


@pytest.mark.parametrize("target", ["{outside}", "../outside", "../sandbox/../outside", "{sandbox}/d"])
async def test_links_that_leave_or_are_absolute_are_refused(files: Opening, target: str) -> None:
    (files.path / "d").mkdir()
    (files.path / "d" / "f").write_bytes(b"inside, but by an absolute link")
    where = target.format(outside=files.path.parent / "outside", sandbox=files.path)
    (files.path / "link").symlink_to(where)
    (files.path / "file").symlink_to(where + "/f")
    for work in (files.read("link/f"), files.read("file"), files.write("link/x", b"x"), files.write("link/d/x", b"x")):
        with pytest.raises(InvalidRequest, match="leads out"):
            await work
    assert os.listdir(files.path.parent / "outside") == ["f"]


async def test_a_sandbox_that_was_swapped_for_a_link_is_gone(files: Opening) -> None:
    files.path.rmdir()
    files.path.symlink_to("outside")
    with pytest.raises(FileMissing, match="sandbox is gone"):
        await files.read("f")
    with pytest.raises(FileMissing, match="sandbox is gone"):
        await files.write("x", b"x")


async def test_a_sandbox_that_was_cleaned_is_missing(files: Opening) -> None:
    files.path.rmdir()
    for work in (files.read("f"), files.write("f", b"x")):
        with pytest.raises(FileMissing, match="sandbox is gone"):
            await work


async def test_what_is_no_regular_file_is_refused_at_once(files: Opening) -> None:
    os.mkfifo(files.path / "fifo")
    (files.path / "directory").mkdir()
    (files.path / "to fifo").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(files.path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    names = ["fifo", "directory", "to fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(files.path / "device", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
        names.append("device")
    async with asyncio.timeout(10):
        for name in names:
            with pytest.raises(InvalidRequest, match="no regular file"):
                await files.read(name)


async def test_reading_says_what_the_file_is(files: Opening) -> None:
    path = files.path / "f"
    path.write_bytes(b"first")
    async with files() as sandbox:
        async with sandbox.reading("f") as opened:
            first = opened.etag
            assert (opened.size, opened.modified_at) == (5, path.stat().st_mtime)
        async with sandbox.reading("f") as again:
            assert again.etag == first
        assert first.startswith('"')
        assert first.endswith('"')
        await files.write("f", b"other")
        async with sandbox.reading("f") as other:
            assert other.etag != first


async def test_removing_takes_files_and_links_but_no_directories(files: Opening) -> None:
    (files.path / "d").mkdir()
    (files.path / "f").write_bytes(b"")
    (files.path / "out").symlink_to("../outside/f")
    async with files() as sandbox:
        await sandbox.remove("f")
        await sandbox.remove("out")
        with pytest.raises(InvalidRequest, match="directory"):
            await sandbox.remove("d")
        with pytest.raises(FileMissing):
            await sandbox.remove("f")
    assert files.left() == ["d"]
    assert (files.path.parent / "outside" / "f").read_bytes() == b"secret"


async def test_a_file_that_may_not_be_read_is_forbidden(files: Opening) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (files.path / "f").write_bytes(b"")
    (files.path / "f").chmod(0)
    with pytest.raises(Forbidden):
        await files.read("f")


@contextlib.contextmanager
def endlessly(swap: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            swap()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def swaps_with_a_link(sandbox: Path, name: str, target: str) -> Callable[[], None]:
    """What has this name is by turns itself and a link to somewhere outside; it is never missing (renameat2(2))."""
    link = sandbox / "link"
    link.symlink_to(target)
    exchange = ctypes.CDLL(None, use_errno=True).renameat2
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE

    def swap() -> None:
        assert exchange(here, os.fsencode(link), here, os.fsencode(sandbox / name), both) == 0

    return swap


@pytest.mark.parametrize("target", ["../outside", "{above}/outside"])
async def test_swapping_a_directory_for_a_link_never_leads_out(files: Opening, target: str) -> None:
    (files.path / "d").mkdir()
    (files.path / "d" / "f").write_bytes(b"inside")
    seen = set()
    with endlessly(swaps_with_a_link(files.path, "d", target.format(above=files.path.parent))):
        for number in range(TRIES):
            with contextlib.suppress(RequestError):
                seen.add(await files.read("d/f"))
            if number % 5 == 0:
                with contextlib.suppress(RequestError):
                    await files.write("d/new/written", b"x")
    assert seen <= {b"inside"}
    assert sorted(os.listdir(files.path.parent / "outside")) == ["f"]


async def test_swapping_a_file_for_a_link_never_leads_out(files: Opening) -> None:
    (files.path / "f").write_bytes(b"inside")
    seen = set()
    with endlessly(swaps_with_a_link(files.path, "f", "../outside/f")):
        for _ in range(TRIES):
            with contextlib.suppress(RequestError):
                seen.add(await files.read("f"))
    assert seen <= {b"inside"}


async def test_moving_a_directory_out_while_a_link_goes_up_from_it_never_leads_out(files: Opening) -> None:
    (files.path / "x" / "y").mkdir(parents=True)
    (files.path / "f").write_bytes(b"inside")
    (files.path / "l").symlink_to("x/y/../../f")
    away = files.path.parent / "outside" / "y"

    def swap() -> None:
        os.rename(files.path / "x" / "y", away)
        os.rename(away, files.path / "x" / "y")

    seen: set[bytes | type[ProuterError]] = set()
    with endlessly(swap):
        for _ in range(TRIES):
            try:
                seen.add(await files.read("l"))
            except (FileMissing, InvalidRequest, Conflict) as error:
                seen.add(type(error))
    assert seen <= {b"inside", FileMissing, InvalidRequest}
