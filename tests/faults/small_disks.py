"""A disk of its own for a daemon or a job, that can be filled, run out of names, go read-only, or hang.

Belongs here: mounting it, what can happen to it, and that no mount is left behind, not even by a run that was killed.
Does not: who keeps what on it. Needs root, and e2fsprogs for `hangable`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1024 * 1024
THAW_SECONDS = 60
"""After which a frozen disk thaws whatever became of the test: who waits for it can not even be killed."""
OURS = re.compile(r"prt-(\d+)-disk")
"""Sources of mounts have names that begin with the pid of the run that they are of; of a bind mount its place has."""

needs_mounts = [
    pytest.mark.needs_root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("mount", "umount", "mkfs.ext4", "fsfreeze"))),
        reason="needs root, util-linux and e2fsprogs",
    ),
]
"""`pytestmark` of a module."""


class SmallDisk:
    """One that is mounted at `place`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._filler = place / "filler"
        self._many = place / "many"

    def fill(self) -> None:
        """Not a byte more finds room."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def fill_names(self) -> None:
        """There is room for bytes, and for no file more."""
        self._many.mkdir()
        with contextlib.suppress(OSError):
            for number in range(100_000):
                (self._many / str(number)).touch()

    def give_room(self) -> None:
        """Of bytes and files, as it was at first."""
        self._filler.unlink(missing_ok=True)
        shutil.rmtree(self._many, ignore_errors=True)

    @contextlib.contextmanager
    def filled(self) -> Iterator[None]:
        self.fill()
        try:
            yield
        finally:
            self.give_room()

    @contextlib.contextmanager
    def without_names(self) -> Iterator[None]:
        self.fill_names()
        try:
            yield
        finally:
            self.give_room()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Nobody may have a file on it open for writing."""
        _run("mount", "-o", "remount,ro", self.place)
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", self.place)

    def break_off(self) -> None:
        """As when a disk fails under a file system: nothing is written to it any more until it is mounted anew. Only
        what `hangable_disk` gave can do that."""
        _run("mount", "-o", "remount,abort", self.place)

    def mount_anew(self) -> None:
        """After `break_off`; nobody may have anything open there."""
        _run("umount", self.place)
        _run("mount", "-o", "loop", _image(self.place), self.place)

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Who writes waits. Only what `hangable` gave hangs."""
        thaw = subprocess.Popen(
            ["sh", "-c", f'sleep {THAW_SECONDS}; fsfreeze --unfreeze "$0"', self.place], start_new_session=True
        )
        _run("fsfreeze", "--freeze", self.place)
        try:
            yield
        finally:
            _run("fsfreeze", "--unfreeze", self.place)
            os.killpg(thaw.pid, 9)
            thaw.wait()


@contextlib.contextmanager
def small_disk(place: Path, size_bytes: int = 4 * MIB, names: int = 64) -> Iterator[SmallDisk]:
    """In memory: so many bytes, and so many files and directories. Its directory is made."""
    sweep()
    place.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes},nr_inodes={names}", f"prt-{os.getpid()}-disk", place)
    try:
        yield SmallDisk(place)
    finally:
        _run("umount", "--lazy", place)  # whoever still has something open on it keeps that until it ends


@contextlib.contextmanager
def hangable_disk(place: Path, size_bytes: int = 16 * MIB) -> Iterator[SmallDisk]:
    """An ext4 in a file beside it, so that it behaves as a disk does."""
    sweep()
    place.mkdir(parents=True, exist_ok=True)
    image = _image(place)
    with image.open("wb") as disk:
        disk.truncate(size_bytes)
    _run("mkfs.ext4", "-q", "-F", image)
    _run("mount", "-o", "loop", image, place)
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", place], capture_output=True)
        _run("umount", "--lazy", place)
        image.unlink()


@contextlib.contextmanager
def silent_disk(place: Path) -> Iterator[None]:
    """One that nobody answers for: whoever only looks at it waits until this is over. Needs /dev/fuse (fuse(4))."""
    sweep()
    place.mkdir()
    with contextlib.ExitStack() as mounted, open("/dev/fuse", "r+b", buffering=0) as nobody:
        options = f"fd={nobody.fileno()},rootmode=40000,user_id=0,group_id=0".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(f"prt-{os.getpid()}-disk".encode(), os.fsencode(place), b"fuse", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "a disk that does not answer can not be mounted", str(place))
        mounted.callback(_run, "umount", "--lazy", place)  # behind the close, which lets everybody go on who waits
        yield


@contextlib.contextmanager
def bound(what: Path, directory: Path) -> Iterator[Path]:
    """The directory or file `what` has a second place below `directory`, of the same disk; gives that."""
    sweep()
    place = directory / f"prt-{os.getpid()}-disk.{what.name}"
    if what.is_dir():
        place.mkdir()
    else:
        place.touch()
    _run("mount", "--bind", what, place)
    try:
        yield place
    finally:
        for target in [found for _, found in _mounts() if found.endswith(f"/{place.name}")]:  # it may have moved
            _run("umount", "--lazy", target)


def _image(place: Path) -> Path:
    return place.with_name(f"prt-{os.getpid()}-disk.{place.name}")


def sweep() -> None:
    """Unmount what runs left that ended without doing so."""
    for source, place in _mounts():
        ours = OURS.search(source) or OURS.search(place)
        if ours and not Path(f"/proc/{ours[1]}").exists():
            subprocess.run(["fsfreeze", "--unfreeze", place], check=False, capture_output=True)
            subprocess.run(["umount", "--lazy", place], check=False)  # another run may be faster


def _mounts() -> Iterator[tuple[str, str]]:
    """What is mounted, a loop device by its file, and where."""
    for line in Path("/proc/mounts").read_text().splitlines():
        source, place = line.split()[:2]
        if source.startswith("/dev/loop"):
            with contextlib.suppress(OSError):
                source = Path(f"/sys/block/{Path(source).name}/loop/backing_file").read_text().strip()
        yield source, place


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)
