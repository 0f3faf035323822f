"""The kernel's openat2 and our walk find the same on the same trees; the fallback by paths never finds more."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import prouter.agent.files.beneath as beneath_module
from prouter.agent.files.beneath import DIRECTORY, Beneath
from prouter.agent.files.paths import MAX_NAMES
from prouter.agent.files.plain import PathTree
from prouter.errors import StartupError

pytestmark = pytest.mark.as_user

NAMES = st.sampled_from(["a", "b", "c"])
PLACES = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
TARGETS = st.builds(
    lambda parts, start, end: (start + "/".join(parts) + end) or ".",
    st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=5),
    st.sampled_from(["", "", "", "", "/", "../sandbox/"]),
    st.sampled_from(["", "", "/", "/."]),
)
WHAT = st.one_of(st.just("file"), st.just("directory"), TARGETS.map(lambda target: ("link", target)))
TREES = st.lists(st.tuples(PLACES, WHAT), max_size=10)
FLAGS = st.sampled_from([os.O_RDONLY, DIRECTORY, os.O_RDONLY | os.O_NOFOLLOW, DIRECTORY | os.O_NOFOLLOW])


def build(root: Path, tree: list[tuple[tuple[str, ...], object]]) -> None:
    for place, what in tree:
        with contextlib.suppress(OSError):
            os.makedirs(root.joinpath(*place[:-1]), exist_ok=True)
            path = root.joinpath(*place)
            if path.parent.resolve() != path.parent.absolute():
                continue  # building follows no links: the tree is only what is listed
            if what == "directory":
                path.mkdir()
            elif what == "file":
                path.touch(exist_ok=False)
            else:
                path.symlink_to(what[1])  # type: ignore[index]


def outcome(way: Beneath, root: int, names: tuple[str, ...], flags: int) -> tuple[str, int]:
    try:
        found = way.open(root, names, flags)
    except OSError as error:
        return "error", error.errno or 0
    try:
        return "inode", os.fstat(found).st_ino
    finally:
        os.close(found)


def needs_openat2() -> None:
    try:
        Beneath("openat2")
    except StartupError:
        pytest.skip("no openat2 here")


@settings(max_examples=250, deadline=None)
@given(tree=TREES, names=PLACES, flags=FLAGS)
@example(tree=[(("a",), ("link", "a"))], names=("a",), flags=os.O_RDONLY)
@example(tree=[(("a", "b"), ("link", "../c/")), (("c",), "file")], names=("a", "b"), flags=os.O_RDONLY)
@example(tree=[(("a", "b"), ("link", "../.."))], names=("a", "b"), flags=DIRECTORY)
@example(tree=[(("a",), ("link", "../sandbox/b")), (("b",), "file")], names=("a",), flags=os.O_RDONLY)
def test_kernel_and_walk_agree_about_every_path(
    tree: list[tuple[tuple[str, ...], object]], names: tuple[str, ...], flags: int
) -> None:
    needs_openat2()
    with tempfile.TemporaryDirectory() as above:
        path = Path(above).resolve() / "sandbox"
        path.mkdir()
        build(path, tree)
        root = os.open(path, DIRECTORY)
        try:
            by_kernel = outcome(Beneath("openat2"), root, names, flags)
            assert outcome(Beneath("walk"), root, names, flags) == by_kernel
        finally:
            os.close(root)
        with contextlib.suppress(OSError):
            found = PathTree(path).open(names)
            inside = {os.stat(entry, follow_symlinks=False).st_ino for entry in [path, *path.rglob("*")]}
            assert os.fstat(found).st_ino in inside
            os.close(found)


@pytest.mark.parametrize("links", [40, 41])
def test_forty_links_are_followed_and_no_more(tmp_path: Path, links: int) -> None:
    (tmp_path / "0").write_bytes(b"")
    for number in range(1, links + 1):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    root = os.open(tmp_path, DIRECTORY)
    try:
        expected = (tmp_path / "0").stat().st_ino if links == 40 else errno.ELOOP
        for way in ("auto", "walk"):
            assert outcome(Beneath(way), root, (str(links),), os.O_RDONLY)[1] == expected
    finally:
        os.close(root)


def test_the_walk_holds_a_bounded_number_of_descriptors(tmp_path: Path) -> None:
    """Links can lead deeper than any path that a client may name; each directory on the way is held open."""
    half = ("a",) * (MAX_NAMES * 3 // 4)
    below = tmp_path.joinpath(*half)
    below.mkdir(parents=True)
    (below / "down").symlink_to("/".join(half))
    root, inner = os.open(tmp_path, DIRECTORY), os.open(below, DIRECTORY)
    try:
        for _ in half:
            os.mkdir("a", dir_fd=inner)
            deeper = os.open("a", DIRECTORY, dir_fd=inner)
            os.close(inner)
            inner = deeper
        assert outcome(Beneath("walk"), root, (*half, "a"), DIRECTORY)[0] == "inode"
        assert outcome(Beneath("walk"), root, (*half, "down"), DIRECTORY) == ("error", errno.ELOOP)
    finally:
        os.close(inner)
        os.close(root)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_auto_walks_where_the_kernel_has_no_openat2(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(beneath_module, "_openat2", failing(code))
    assert not Beneath("auto").kernel
    with pytest.raises(StartupError, match="path_resolution"):
        Beneath("openat2")


def test_auto_does_not_guess_about_other_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath_module, "_openat2", failing(errno.EINVAL))
    with pytest.raises(StartupError):
        Beneath("auto")


def test_a_kernel_that_only_says_again_is_asked_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def again(*_: object) -> int:
        nonlocal asked
        asked += 1
        beneath_module.ctypes.set_errno(errno.EAGAIN)
        return -1

    way = Beneath("walk")
    way.kernel = True
    monkeypatch.setattr(beneath_module, "_system_call", lambda: again)
    with pytest.raises(OSError, match="moved about") as caught:
        way.open(0, ("a",), os.O_RDONLY)
    assert caught.value.errno == errno.EXDEV
    assert asked == beneath_module.EAGAIN_TRIES


def failing(code: int) -> object:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail
