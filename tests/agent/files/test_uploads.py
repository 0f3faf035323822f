"""An upload appears whole under its name, or leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import shutil
import stat
import subprocess
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opening import Opening

from prouter.agent.files.beneath import Beneath
from prouter.agent.files.paths import TEMPORARY_PREFIX
from prouter.agent.files.sandbox import SandboxOpener
from prouter.agent.files.trees import DescriptorDirectory, DescriptorTree
from prouter.agent.files.upload import FileUpload, clean_leftovers
from prouter.errors import Conflict, InvalidRequest, NoRoom, ProuterError

pytestmark = pytest.mark.as_user

MIB = 1024 * 1024


async def test_a_file_is_there_with_its_directories_and_digest(files: Opening) -> None:
    digest = await files.write("a/b/f", b"one", b"", b"two", expected=6)
    assert digest == hashlib.sha256(b"onetwo").hexdigest()
    assert await files.read("a/b/f") == b"onetwo"
    assert files.left() == ["a", "a/b", "a/b/f"]
    assert await files.write("empty") == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(("executable", "mode"), [(True, 0o755), (False, 0o644)])
async def test_executable_says_the_mode_whatever_the_umask_is(files: Opening, executable: bool, mode: int) -> None:
    before = os.umask(0o077)
    try:
        await files.write("f", b"x", executable=executable)
    finally:
        os.umask(before)
    assert stat.S_IMODE((files.path / "f").stat().st_mode) == mode


async def test_until_the_commit_the_old_file_is_there_and_then_the_new_one(files: Opening) -> None:
    (files.path / "f").write_bytes(b"old")
    async with files() as sandbox, sandbox.writing("f") as upload:
        await upload.write(b"n" * 3 * MIB)
        assert (files.path / "f").read_bytes() == b"old"
        await upload.commit()
        assert (files.path / "f").read_bytes() == b"n" * 3 * MIB
    assert files.left() == ["f"]


async def test_a_reader_keeps_the_file_that_it_opened(files: Opening) -> None:
    (files.path / "f").write_bytes(b"old")
    async with files() as sandbox, sandbox.reading("f") as opened:
        await files.write("f", b"new!")
        assert os.pread(opened.fd, 10, 0) == b"old"


async def test_a_link_at_the_target_is_replaced_and_not_followed(files: Opening) -> None:
    (files.path / "inner").write_bytes(b"kept")
    for target in ("inner", "../outside/f", "nowhere"):
        (files.path / "link").unlink(missing_ok=True)
        (files.path / "link").symlink_to(target)
        await files.write("link", b"new")
        assert not (files.path / "link").is_symlink()
    assert (files.path / "inner").read_bytes() == b"kept"
    assert (files.path.parent / "outside" / "f").read_bytes() == b"secret"


async def test_a_directory_in_the_place_of_the_file_is_a_conflict(files: Opening) -> None:
    (files.path / "d").mkdir()
    with pytest.raises(Conflict, match="is a directory"):
        await files.write("d", b"x")
    async with files() as sandbox, sandbox.writing("late") as upload:
        (files.path / "late").mkdir()
        with pytest.raises(Conflict, match="is a directory"):
            await upload.commit()
    assert files.left() == ["d", "late"]


@pytest.mark.parametrize("what", ["file", "link to a file", "link to nothing", "link to itself"])
async def test_what_is_no_directory_in_the_place_of_one_ends_the_upload(files: Opening, what: str) -> None:
    (files.path / "real").write_bytes(b"")
    targets = {"file": "", "link to a file": "real", "link to nothing": "nowhere", "link to itself": "d"}
    if targets[what]:
        (files.path / "d").symlink_to(targets[what])
    else:
        (files.path / "d").write_bytes(b"")
    before = files.left()
    with pytest.raises(InvalidRequest if what == "link to itself" else Conflict):
        async with asyncio.timeout(10):
            await files.write("d/e/f", b"x")
    assert files.left() == before


async def test_parents_made_for_an_upload_that_can_not_begin_go_again(files: Opening) -> None:
    (files.path / "a").mkdir()
    (files.path / "a" / "out").symlink_to("../..")
    with pytest.raises(InvalidRequest):
        await files.write("a/out/b/f", b"x")
    with pytest.raises(InvalidRequest):
        await files.write("new/" + "x" * 250 + "/" + "y" * 256, b"x")
    assert files.left() == ["a", "a/out"]


@pytest.mark.parametrize("expected", [2, 4])
async def test_another_size_than_expected_is_refused_at_the_commit(files: Opening, expected: int) -> None:
    with pytest.raises(InvalidRequest, match=f"3 bytes came of {expected}"):
        await files.write("d/f", b"abc", expected=expected)
    assert files.left() == []


async def test_without_a_commit_nothing_remains_but_what_others_put_there(files: Opening) -> None:
    async with files() as sandbox, sandbox.writing("a/b/f") as upload:
        await upload.write(b"x" * 2 * MIB)
        (files.path / "a" / "theirs").write_bytes(b"")
    assert files.left() == ["a", "a/theirs"]
    with pytest.raises(RuntimeError, match="of the caller"):
        async with files() as sandbox, sandbox.writing("c/f") as upload:
            raise RuntimeError("of the caller")
    assert files.left() == ["a", "a/theirs"]


async def test_a_directory_removed_before_the_commit_is_a_conflict(files: Opening) -> None:
    async with files() as sandbox, sandbox.writing("d/f") as upload:
        shutil.rmtree(files.path / "d")
        with pytest.raises(Conflict, match="removed meanwhile"):
            await upload.commit()
    assert files.left() == []


@pytest.mark.parametrize("turns", range(12))
async def test_an_upload_cancelled_anywhere_is_there_whole_or_leaves_nothing(files: Opening, turns: int) -> None:
    content = b"x" * (2 * MIB)
    upload = asyncio.create_task(files.write("a/b/f", content[:MIB], content[MIB:]))
    for _ in range(turns):
        await asyncio.sleep(0)
    upload.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await upload
    if files.left():
        assert files.left() == ["a", "a/b", "a/b/f"]
        assert (files.path / "a" / "b" / "f").read_bytes() == content


async def test_an_upload_cancelled_while_it_waits_for_its_client_leaves_nothing(files: Opening) -> None:
    begun = asyncio.Event()

    async def upload() -> None:
        async with files() as sandbox, sandbox.writing("a/b/f") as writing:
            await writing.write(b"x" * 2 * MIB)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(upload())
    async with asyncio.timeout(10):
        await begun.wait()
        assert any(TEMPORARY_PREFIX in name for name in files.left())
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # a second time, while it cleans
        with pytest.raises(asyncio.CancelledError):
            await task
    assert files.left() == []


async def test_uploads_side_by_side_into_a_directory_that_one_of_them_made(files: Opening) -> None:
    """One that fails takes away the directories that it made: the others make them again."""

    async def write(number: int) -> None:
        with contextlib.suppress(InvalidRequest):
            await files.write(f"a/b/{number}", b"x", expected=1 if number % 2 else 2)

    for _ in range(10):
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(write(number))
    assert files.left() == ["a", "a/b", "a/b/1", "a/b/3", "a/b/5", "a/b/7"]


@pytest.mark.parametrize("often", [1, 1000])
def test_a_directory_that_vanishes_before_the_upload_begins_is_made_again_some_times(sandbox: Path, often: int) -> None:
    """As an upload beside it that failed would take it away."""

    class Vanishing(DescriptorTree):
        left = often

        def directory(self, names: tuple[str, ...]) -> DescriptorDirectory:
            found = super().directory(names)
            if names and self.left:
                self.left -= 1
                os.rmdir(sandbox / "a")
            return found

    tree = Vanishing(sandbox, Beneath("auto"))
    upload = FileUpload(tree, ("a", "f"), False, None, asyncio.to_thread)
    try:
        if often == 1:
            upload.begin()
            assert [path.parent.name for path in sandbox.rglob(TEMPORARY_PREFIX + "*")] == ["a"]
        else:
            with pytest.raises(Conflict):
                upload.begin()
    finally:
        upload.clean()
        tree.close()
    assert list(sandbox.iterdir()) == []


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_file_larger_than_allowed_finds_no_room_and_leaves_nothing(files: Opening) -> None:
    with largest_file(2 * MIB), pytest.raises(NoRoom):
        await files.write("a/f", *[b"x" * MIB] * 4)
    assert files.left() == []


async def test_an_upload_that_found_no_room_can_not_be_committed(files: Opening) -> None:
    async with files() as sandbox, sandbox.writing("f") as upload:
        with largest_file(MIB), pytest.raises(NoRoom):
            await upload.write(b"x" * 2 * MIB)
        with pytest.raises(NoRoom):
            await upload.commit()
    assert files.left() == []


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_a_full_disk_is_no_room_and_leaves_nothing(files: Opening) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=20", "none", files.path], check=False)
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        with pytest.raises(NoRoom):
            await files.write("a/b/f", *[b"x" * MIB] * 4)
        assert files.left() == []
        with pytest.raises(NoRoom):  # no inodes: fails while its parents are made
            await files.write("/".join("abcdefghijklmnopqrstuvwxyz"), b"x")
        assert files.left() == []
        await files.write("a/b/f", b"x" * MIB)
    finally:
        subprocess.run(["umount", files.path], check=True)


async def test_memory_stays_flat_for_a_large_file(files: Opening) -> None:
    chunk = b"x" * (64 * 1024)
    async with files() as sandbox, sandbox.writing("f") as upload:
        tracemalloc.start()
        try:
            for _ in range(1024):
                await upload.write(chunk)
            size, _ = await upload.commit()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert size == 64 * MIB
    assert peak < 8 * MIB


async def test_a_busy_pool_delays_files_but_not_the_event_loop(sandbox: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        opening = Opening(SandboxOpener("auto", pool), sandbox)
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        blocked = loop.run_in_executor(pool, asyncio.run_coroutine_threadsafe(gate.wait(), loop).result)
        upload = asyncio.create_task(opening.write("f", b"x"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert opening.left() == []
        gate.set()
        await blocked
        await upload
    assert opening.left() == ["f"]


def test_leftovers_of_a_crash_are_cleaned_and_nothing_else(sandbox: Path) -> None:
    inner = sandbox / "a" / "b"
    inner.mkdir(parents=True)
    for directory in (sandbox, inner, sandbox.parent / "outside"):
        (directory / f"{TEMPORARY_PREFIX}0123456789abcdef").write_bytes(b"half")
    (inner / f"{TEMPORARY_PREFIX}notes").write_bytes(b"the job's own")
    (sandbox / "out").symlink_to("../outside")
    clean_leftovers(sandbox)
    clean_leftovers(sandbox / "missing")
    assert sorted(str(p.relative_to(sandbox)) for p in sandbox.rglob("*")) == [
        "a",
        "a/b",
        f"a/b/{TEMPORARY_PREFIX}notes",
        "out",
    ]
    assert (sandbox.parent / "outside" / f"{TEMPORARY_PREFIX}0123456789abcdef").exists()


async def test_every_failure_is_of_the_one_tree(files: Opening) -> None:
    files.path.chmod(0o500)
    try:
        if os.geteuid() != 0:
            with pytest.raises(ProuterError, match="Permission denied"):
                await files.write("f", b"x")
            assert files.left() == []
    finally:
        files.path.chmod(0o700)
