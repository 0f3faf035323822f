"""The pytest plugin as a stranger has it: cheap to load, of use without pytest-asyncio, strict about marks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bare_pytest import OPTIONS
from prouter import testing

ROOT = Path(__file__).parents[2]
HEAVY = ("aiohttp", "jsonschema", "msgpack", "prouter.core", "prouter.agent", "prouter.client", "prouter.pluginkit")


def test_loading_it_imports_nothing_heavy() -> None:
    text = f"import sys, prouter.testing.plugin; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_every_name_of_the_kit_can_be_had() -> None:
    assert set(testing.__all__) == set(testing._PLACES)
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        testing.nonsense  # type: ignore[attr-defined]  # noqa: B018


def run(place: Path, text: str, *words: str) -> str:
    (place / "test_it.py").write_text(text)
    (place / "pytest.ini").write_text("[pytest]\n")
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, *words, *OPTIONS]
    done = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, timeout=110)
    return done.stdout + done.stderr


def test_in_the_strict_mode_of_pytest_asyncio_and_with_a_mark_that_is_wrong(tmp_path: Path) -> None:
    text = """
import pytest

@pytest.mark.asyncio
@pytest.mark.prouter(settings=["identity.name='mine'"])
async def test_job(router, job):
    assert router.services.identity.name == "mine"
    assert job.info["state"] == "NEW"

@pytest.mark.asyncio
@pytest.mark.prouter(setting=["x=1"])
async def test_router(router):
    pass
"""
    said = run(tmp_path, text, "-m", "pytest", "--strict-markers")
    assert "1 passed, 1 error" in said
    assert "a setup has no 'setting'; it has: plugins, settings" in said


def test_without_pytest_asyncio_the_fleet_is_there_and_the_others_say_what_they_need(tmp_path: Path) -> None:
    text = """
def test_fleet(fleet):
    assert fleet.router().uid

def test_router(router):
    pass
"""
    hidden = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "pytest_asyncio" else found(name, *more)
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
    (tmp_path / "hide.py").write_text(hidden)
    said = run(tmp_path, text, "hide.py", "-p", "no:asyncio")
    assert "1 passed, 1 error" in said
    assert "the fixture router needs pytest-asyncio: install prouter[testing]" in said
