"""A sandbox with something outside of it that nobody may reach, opened in each of the ways that resolve paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opening import Opening

from prouter.agent.files.sandbox import SandboxOpener

WAYS = [os.environ["PROUTER_TEST_PATHS"]] if "PROUTER_TEST_PATHS" in os.environ else ["openat2", "walk"]


@pytest.fixture(scope="session")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4, "files") as pool:
        yield pool


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"secret")
    (tmp_path / "f").write_bytes(b"secret")
    (tmp_path / "sandbox").mkdir()
    return tmp_path / "sandbox"


@pytest.fixture(params=WAYS)
def files(request: pytest.FixtureRequest, sandbox: Path, threads: ThreadPoolExecutor) -> Opening:
    return Opening(SandboxOpener(request.param, threads), sandbox)
