"""--help and --version: complete, quick, and there even where something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SEED = {
    "client.polling_delay": "5",
    "control.interface": '"127.0.0.1"',
    "control.port": "0",
    "identity.name": '""',
    "identity.uid": "null",
    "server.accept_tokens": None,
    "server.enabled": "true",
    "server.interface": '"127.0.0.1"',
    "server.port": "0",
}
"""The parameters of the original router and their defaults; a secret's is not shown."""
ORIGINAL_AGENT = {
    "identity.name": '""',
    "identity.uid": "null",
    "client.enabled": "false",
    "client.address": "null",
    "client.addresses": "[]",
    "client.token": None,
    "client.reconnect_delay": "3",
    "client.exit_on_fail": "false",
    "server.enabled": "true",
    "server.interface": '"127.0.0.1"',
    "server.port": "0",
    "server.accept_tokens": None,
    "control.enabled": "true",
    "control.interface": '"127.0.0.1"',
    "control.port": "0",
    "jobs.root": "null",
    "jobs.background_threads": "8",
    "properties": "{}",
}
OF_PLUGINS = {"router": ["control.tokens", "proxy.host"], "agent": ["jobs.environment.drop"]}
HEAVY = ("aiohttp", "msgpack", "uvloop", "multidict")


def prouter(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prouter", *words], capture_output=True, text=True, timeout=60, env=environ or None
    )


def parameters(text: str) -> dict[str, str]:
    """The lines below `Config parameters:`, by key."""
    lines = text.partition("Config parameters:\n")[2].splitlines()
    return {line.split(" - ")[0].strip(): line for line in lines if line.startswith("    ")}


@pytest.mark.parametrize(("kind", "names"), [("router", SEED), ("agent", ORIGINAL_AGENT)])
def test_help_has_every_parameter_of_the_original_with_its_default(kind: str, names: dict[str, str | None]) -> None:
    shown = parameters(prouter(kind, "--help").stdout)
    for name, default in names.items():
        assert name in shown
        assert shown[name].endswith(f"(default: {default})") or (default is None and "default:" not in shown[name])
    for name in OF_PLUGINS[kind]:
        assert name in shown


def test_help_has_every_flag_and_level_of_the_original() -> None:
    text = prouter("--help").stdout
    for flag in ("-h", "--config", "--log-level {warning,debug,error,info,fatal}", "--connection-debug", "--set"):
        assert flag in text
    for new in ("--version", "--ready-file", "--log-format {text,json}", "--insecure", "--no-plugin", "--safe"):
        assert new in text


@pytest.mark.parametrize("words", [["--help"], ["agent", "--help"], ["--version"]])
def test_help_loads_no_aiohttp(words: list[str]) -> None:
    program = (
        "import sys\nfrom prouter.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


def test_the_front_door_loads_no_aiohttp() -> None:
    program = "import sys, prouter; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_help_is_there_when_the_configuration_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("server: [")
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('broken')")
    for words in (
        ["--config", str(tmp_path / "wrong.yaml")],
        ["--set", "nonsense"],
        ["--set", f"plugins.load=[{str(broken)!r}]", "--set", "plugins.required=['broken']"],
    ):
        done = prouter(*words, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert "control.tokens" in parameters(done.stdout)


def test_help_shows_no_value_of_the_environment() -> None:
    done = prouter("--help", PROUTER_CONTROL__TOKENS="['hush-hush']", PROUTER_SERVER__ACCEPT_TOKENS="['hush-hush']")
    assert "hush-hush" not in done.stdout + done.stderr


def test_version() -> None:
    assert prouter("--version").stdout.startswith("prouter 0.")


@pytest.mark.parametrize("words", [["nonsense"], ["--log-level", "loud"], ["--nonsense"], ["agent", "--port=3"]])
def test_words_that_are_none_are_status_2_and_told(words: list[str]) -> None:
    done = prouter(*words)
    assert done.returncode == 2
    assert words[-1].partition("=")[0] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["plugins", "list"]])
def test_who_reads_no_further_is_no_error(words: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "prouter", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(timeout=60), process.stderr.read()) == (141, "")
