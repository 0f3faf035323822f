"""`prouter plugins new`: each kind of project is typed, installs, and its own tests pass; nothing is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bare_pytest import PYTEST
from our_mypy import mypy
from prouter.cli.main import main
from prouter.cli.plugins import new
from prouter.cli.plugins.new import KINDS, NotMade, checked_name, installed_from

ROOT = Path(__file__).parents[2]
MAX_LINES = 60
SECONDS = 200
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one of each kind, named as its kind."""
    place = tmp_path_factory.mktemp("projects")
    for kind in KINDS:
        assert main(["plugins", "new", f"my-{kind}", "--kind", kind, "--directory", str(place / kind)]) == 0
    return place


def ran(words: Sequence[str | Path], place: Path, environ: Mapping[str, str] | None = None) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROUTER", "PAGENT", "PYTEST"))}
    command = [str(word) for word in words]
    done = subprocess.run(
        command, cwd=place, env=kept | dict(environ or {}), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_project_is_small_and_nothing_is_wrong_with_it(
    projects: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (projects / kind / "src" / f"prouter_my_{kind}" / "__init__.py").read_text()
    assert len(text.splitlines()) < MAX_LINES
    assert "@implements(" in text
    assert "$" not in text
    assert {path.name for path in (projects / kind).iterdir()} == {
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src",
        "tests",
    }
    assert f"pip install prouter-my-{kind}" in (projects / kind / "README.md").read_text()
    status = main(["plugins", "check", str(projects / kind)])
    assert status == 0, capsys.readouterr().out


def test_mypy_finds_nothing_wrong_with_any(projects: Path) -> None:
    sources = [projects / kind / "src" for kind in KINDS]
    status, said = mypy(*sources, *(projects / kind / "tests" for kind in KINDS), sources=sources)
    assert status == 0, said


@pytest.mark.timeout(SECONDS)
def test_the_tests_of_all_pass(projects: Path, tmp_path: Path) -> None:
    tests = [projects / kind / "tests" for kind in KINDS]
    strict = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function", "-W", "error"]
    words = [sys.executable, *PYTEST, *strict, *tests]
    path = os.pathsep.join([str(ROOT), *(str(projects / kind / "src") for kind in KINDS)])
    assert f"{3 * len(KINDS)} passed" in ran(words, tmp_path, {"PYTHONPATH": path})


@pytest.mark.timeout(SECONDS)
def test_one_in_an_environment_of_its_own(projects: Path, tmp_path: Path) -> None:
    """Installed there, with what prouter itself needs beside it: found by its entry point, its tests pass."""
    ran([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], tmp_path)
    others = next(place for place in sys.path if (Path(place) / "pluggy").is_dir())
    (tmp_path / "venv" / SITE / "others.pth").write_text(f"import site; site.addsitedir({others!r})\n")
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-build-isolation"]
    ran([*pip, projects / "selector"], tmp_path)
    assert "my_selector" in ran([python, "-m", "prouter", "plugins", "list"], tmp_path)
    assert "3 passed" in ran([str(python), *PYTEST], projects / "selector")


def test_the_wheel_of_prouter_has_the_templates(tmp_path: Path) -> None:
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    ran(wheel, tmp_path)
    (built,) = tmp_path.glob("prouter-*.whl")
    names = set(zipfile.ZipFile(built).namelist())
    templates = ROOT / "prouter" / "cli" / "plugins" / "templates"
    wanted = {str(path.relative_to(ROOT)) for path in templates.rglob("*.txt")}
    assert len(wanted) == 2 + 3 * len(KINDS)
    assert wanted <= names
    assert "prouter/testing/plugin.py" in names


@pytest.mark.parametrize(
    "name",
    ["", "A", "1st", "a b", "-a", "a-", "a--b", "../x", "class", "é", "a" * 41, "health", "prouter-health", "a.b"],
)
def test_names_that_can_not_be_taken(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotMade):
        checked_name(name)
    if not name.startswith("-"):
        assert main(["plugins", "new", name, "--kind", "proxy", "--directory", str(tmp_path / "new")]) == 2
        assert "prouter: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full, empty, file = tmp_path / "full", tmp_path / "empty", tmp_path / "file"
    full.mkdir()
    (full / "mine").write_text("mine")
    empty.mkdir()
    file.write_text("mine")
    for place, status in ((full, 2), (file, 2), (file / "below", 2), (empty, 0), (tmp_path / "a" / "new", 0)):
        assert main(["plugins", "new", "rack", "--kind", "selector", "--directory", str(place)]) == status, place
        assert ("prouter: " in capsys.readouterr().err) == (status == 2)
    assert {path.name for path in full.iterdir()} == {"mine"}
    assert file.read_text() == "mine"
    assert (empty / "pyproject.toml").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"full", "empty", "file", "a"}


def test_into_the_directory_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "rack", "--kind", "driver", "--directory", "."]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {".gitignore", "README.md", "pyproject.toml", "src", "tests"}
    assert main(["plugins", "new", "rack", "--kind", "driver", "--directory", "."]) == 2


def test_a_kind_that_is_none_and_the_names_that_it_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        main(["plugins", "new", "rack", "--kind", "nonsense"])
    assert "selector" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "prouter-gpu-rack", "--kind", "selector"]) == 0
    assert "cd prouter-gpu-rack" in capsys.readouterr().out
    project = tmp_path / "prouter-gpu-rack"
    assert 'gpu_rack = "prouter_gpu_rack:GpuRack"' in (project / "pyproject.toml").read_text()
    assert "class GpuRack:" in (project / "src" / "prouter_gpu_rack" / "__init__.py").read_text()


NOTES = {
    '{"url": "file:///src/my%20prouter", "dir_info": {"editable": true}}': "/src/my prouter[testing]",
    '{"url": "file:///tmp/prouter-0.1.0-py3-none-any.whl", "archive_info": {}}': (
        "prouter[testing] @ file:///tmp/prouter-0.1.0-py3-none-any.whl"
    ),
    '{"url": "https://example.org/prouter.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}': (
        "prouter[testing] @ git+https://example.org/prouter.git@abc"
    ),
    "": "",
    "[]": "",
}


@pytest.mark.parametrize("note", NOTES)
def test_where_this_prouter_is_from(note: str) -> None:
    assert installed_from(note) == NOTES[note]


def test_the_next_steps_install_this_prouter_where_no_index_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new, "_direct_url", lambda: next(iter(NOTES)))
    assert main(["plugins", "new", "rack", "--kind", "selector", "--directory", str(tmp_path / "rack")]) == 0
    steps = capsys.readouterr().out
    assert ".venv/bin/pip install '/src/my prouter[testing]'\n    .venv/bin/pip install -e '.[dev]'" in steps
