"""The tutorial works as it stands: every file is written, every command run, in an empty folder."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "plugins" / "tutorial.md").read_text("utf-8")
BLOCK = re.compile(r"(?ms)^```(\w+)\n(.*?)^```$")
SECONDS = 300


def story() -> str:
    """All of it as one shell script. What pip would bring from outside is there already: it is not asked for it."""
    lines = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for kind, text in BLOCK.findall(TEXT):
        if kind == "console":
            lines += [line.removeprefix("$ ") for line in text.splitlines()]
        else:
            name = text.partition("\n")[0].removeprefix("# ")
            lines += [
                f"mkdir -p {Path(name).parent}",
                f"cat > {name} <<'END_OF_FILE'",
                text.rstrip("\n"),
                "END_OF_FILE",
            ]
    script = "\n".join(lines) + "\n"
    enough = [
        f"{sys.executable} -m venv .venv",
        f"echo 'import site; site.addsitedir(\"{packages()}\")' > {PTH}",
        "for command in prouter pytest mypy; do",
        "  printf '#!/bin/sh\\nexec python -m %s \"$@\"\\n' $command > .venv/bin/$command",
        "  chmod +x .venv/bin/$command",
        "done",
    ]
    assert "python3 -m venv .venv\n" in script
    script = script.replace("python3 -m venv .venv\n", "\n".join(enough) + "\n")
    script = script.replace("pip install -q 'prouter[testing]' mypy\n", "")
    return script.replace("pip install -q -e .", "python -m pip install -q --no-build-isolation --no-deps -e .")


PTH = f".venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/here.pth"


def packages() -> str:
    return next(place for place in site.getsitepackages() if (Path(place) / "pluggy").exists())


@pytest.mark.timeout(SECONDS)
def test_ten_steps_from_an_empty_folder_to_an_installed_plugin(tmp_path: Path) -> None:
    environ = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        ["bash", "-c", story()],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS - 10,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert ran.stdout.count("passed") == 2
    assert '"name": "first"' in ran.stdout or '"name":"first"' in ran.stdout
    assert "it is not at mars" in ran.stdout
