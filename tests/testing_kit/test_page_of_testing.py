"""The tests that docs/plugins/testing.md shows pass, and its tables name all that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bare_pytest import PYTEST
from prouter.cli.plugins.new import KINDS
from prouter.testing.contracts import CONTRACTS
from prouter.testing.plugin import ASYNC_FIXTURES
from prouter.testing.wanted import Setup

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "plugins" / "testing.md").read_text("utf-8")
BLOCK = re.compile(r"(?ms)^```python\n# (\w+\.py)\n(.*?)^```$")


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    for name, text in BLOCK.findall(TEXT):
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    command = [sys.executable, *PYTEST, "--strict-markers"]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=110)
    assert f"{TEXT.count('async def test_') - 1} passed" in done.stdout, done.stdout + done.stderr


def test_the_page_names_all_fixtures_words_contracts_and_kinds() -> None:
    first_cells = " ".join(line.split("|")[1] for line in TEXT.splitlines() if line.startswith("|"))
    named = set(re.findall(r'`"?([a-z_ ]+)"?`', first_cells))
    assert {*ASYNC_FIXTURES, "fleet", "prouter_setup", *Setup.__slots__, *CONTRACTS} <= named
    line = next(line for line in TEXT.splitlines() if "prouter plugins new" in line)
    assert set(KINDS) <= set(re.findall(r"[a-z]+", line))
