"""The harness itself: figures are kept over tests and runs, and no skipped test goes unseen where none may be."""

from __future__ import annotations

import json
import math
import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

from figures import MOST_SECONDS, Figures
from sampling import Growth, Sampler

from bare_pytest import PYTEST


def test_figures_of_several_tests_and_runs_are_kept(tmp_path: Path) -> None:
    place = tmp_path / "out" / "reliability.json"
    Figures(place, "one").record("R9", "growth", 40, goal=32, unit="MiB", holds=False)
    Figures(place, "two").record("R8", "p99", 3.5, unit="ms")
    Figures(place, "one").record("R9", "growth", 7, goal=32, unit="MiB", holds=True)
    found = json.loads(place.read_text())
    assert [(each["row"], each["value"], each["holds"]) for each in found["figures"]] == [
        ("R8", 3.5, None),
        ("R9", 7, True),
    ]
    assert found["machine"]["cpus"] == os.cpu_count()


def test_what_is_never_over_is_written_down_and_a_large_count_stays(tmp_path: Path) -> None:
    place = tmp_path / "reliability.json"
    figures = Figures(place, "one")
    figures.record("R1", "never", math.inf, unit="s")
    figures.record("R17", "spoiled", 10_000_000)
    assert [each["value"] for each in json.loads(place.read_text())["figures"]] == [MOST_SECONDS, 10_000_000]


def test_figures_of_tests_side_by_side_are_all_kept(tmp_path: Path) -> None:
    place = tmp_path / "reliability.json"
    writers = [threading.Thread(target=Figures(place).record, args=("R1", f"{n}", n)) for n in range(20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(json.loads(place.read_text())["figures"]) == 20


def test_a_place_that_cannot_be_written_fails_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Figures(tmp_path / "file" / "reliability.json").record("R1", "x", 1)


def test_a_sampler_sees_what_a_process_takes() -> None:
    me, growth = Sampler(os.getpid()), Growth(os.getpid())
    before = me.descriptors(), me.sockets(), me.cpu_seconds()
    reader, writer = os.pipe()
    held = mmap.mmap(-1, 32 * 1024 * 1024)  # no memory that this process had before, and has free
    held.write(os.urandom(len(held)))
    assert me.descriptors() == before[0] + 2
    assert me.sockets() == before[1]
    assert me.cpu_seconds() > before[2]
    assert me.rss_kib() > len(held) // 1024
    assert 24 <= growth.mib() <= 64
    os.close(reader)
    os.close(writer)


def test_a_skipped_test_has_failed_where_none_may_be(tmp_path: Path) -> None:
    place = tmp_path / "faults"
    place.mkdir()
    for name in ("conftest.py", "figures.py"):
        (place / name).write_text((Path(__file__).parent / name).read_text())
    (place / "test_it.py").write_text(
        "import pytest\n@pytest.mark.skip(reason='no tool')\ndef test_marked(): ...\n"
        "def test_asked(): pytest.skip('no root')\ndef test_runs(): ...\n"
    )
    words = [sys.executable, *PYTEST, "--rootdir", str(tmp_path), str(place)]

    def run(**environ: str) -> str:
        clean = {name: value for name, value in os.environ.items() if name != "PROUTER_NO_SKIPS"}
        return subprocess.run(words, env=clean | environ, capture_output=True, text=True, timeout=60).stdout

    assert "1 passed, 2 skipped" in run()
    assert "1 failed, 1 passed, 1 error" in run(PROUTER_NO_SKIPS="1")
