"""`prouter NAME` of a plugin: found, listed, given what it needs, told apart, and its failure a line for people."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import called
import pytest

from prouter.testing import Fleet

COMMANDS = """
import json, sys, urllib.request
from prouter import hookimpl
from prouter.errors import Conflict
from prouter.model.contributions import CliCommand
from prouter.model.plugin import ConfigSection

class Plugin:
    @hookimpl
    def prouter_config_sections(self):
        return [ConfigSection("quota", {"limit": {"type": "integer", "default": 7, "description": "Jobs."}})]

    @hookimpl
    def prouter_commands(self):
        return [
            CliCommand("quota", "show what is left", self.run, self.configure),
            CliCommand("drain", "never reached", self.run),
        ]

    def configure(self, parser):
        parser.add_argument("--team", required=True, help="whose")

    def run(self, options, context):
        if options.team == "refused":
            raise Conflict("this team is gone")
        if options.team == "broken":
            raise RuntimeError("two\\nlines")
        if options.team == "leaves":
            sys.exit(9)
        if options.team == "nonsense":
            return "nonsense"
        if options.team == "asks":
            request = urllib.request.Request(context.url + "/connections", headers={"X-Prouter-Token": context.token})
            print(urllib.request.urlopen(request).read().decode())
            return 0
        print(json.dumps({"limit": context.section("quota")["limit"], "url": context.url, "said": repr(context)}))
        return 3
"""
BROKEN = "import nowhere_to_be_found"
TOKEN = "hush-hush-token"


@pytest.fixture
def load(tmp_path: Path) -> list[str]:
    (tmp_path / "team_quotas.py").write_text(COMMANDS)
    (tmp_path / "broken.py").write_text(BROKEN)
    paths = [str(tmp_path / "team_quotas.py"), str(tmp_path / "broken.py")]
    return ["--set", f"plugins.load={paths!r}", "--set", "plugins.required=['broken']"]


def prouter(*words: str, **environ: str) -> CompletedProcess[str]:
    done = called.prouter(*words, **environ)
    assert TOKEN not in done.stdout + done.stderr
    return done


def test_a_command_has_its_flags_its_section_and_its_exit_status(load: list[str]) -> None:
    done = prouter("quota", "--team", "a", *load, "--set", "quota.limit=9", "--url", "http://x:1", PROUTER_TOKEN=TOKEN)
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout)
    assert (said["limit"], said["url"]) == (9, "http://x:1")
    told = prouter("quota", "--help", *load)
    assert (told.returncode, told.stderr) == (0, "")
    for part in ("show what is left", "--team", "--token-file", "--no-plugin"):
        assert part in told.stdout


def test_wrong_configuration_is_told_as_by_the_daemon(load: list[str]) -> None:
    done = prouter("quota", "--team", "a", *load, "--set", "quota.limit='many'")
    assert done.returncode == 2
    said = "prouter: quota.limit (of the plugin team_quotas): 'many' is not allowed; allowed: integer"
    assert done.stderr.strip() == said


@pytest.mark.parametrize(
    ("team", "status", "said"),
    [
        ("refused", 1, "prouter: this team is gone"),
        ("broken", 1, "command 'quota' of the plugin 'team_quotas' failed: RuntimeError: two lines; PROUTER_DEBUG=1"),
        ("nonsense", 1, "gave str instead of an exit status"),
        ("leaves", 9, ""),
    ],
)
def test_a_command_that_fails_is_a_line_for_people(load: list[str], team: str, status: int, said: str) -> None:
    done = prouter("quota", "--team", team, *load)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_who_looks_for_the_mistake_is_shown_where_it_is(load: list[str]) -> None:
    done = prouter("quota", "--team", "broken", *load, PROUTER_DEBUG="1")
    assert done.returncode == 1
    assert 'team_quotas.py", line' in done.stderr


def test_help_lists_commands_of_plugins_and_keeps_its_own(load: list[str]) -> None:
    told = prouter("--help", *load[:2])
    assert "    prouter quota - show what is left (of the plugin team_quotas)" in told.stdout
    assert "never reached" not in told.stdout
    assert "quota.limit - Jobs. (of the plugin team_quotas) (default: 7)" in told.stdout


def test_what_ships_wins_and_imports_no_plugin(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'imported')!r}).touch()")
    load = f"plugins.load=[{str(tmp_path / 'evil.py')!r}]"
    done = prouter("drain", "--help", PROUTER_PLUGINS__LOAD=load.partition("=")[2])
    assert "Tell an agent" in done.stdout
    assert not (tmp_path / "imported").exists()
    prouter("nonsense", PROUTER_PLUGINS__LOAD=load.partition("=")[2])
    assert (tmp_path / "imported").exists(), "a name that is nobody's is asked of it"


def test_a_command_that_is_nobodys_is_told_with_those_that_there_are(load: list[str]) -> None:
    done = prouter("quotas", *load)
    assert done.returncode == 2
    assert "there is no command 'quotas'; there are: router, " in done.stderr
    assert "quota; plugins that are not loaded: broken (failed)" in done.stderr
    assert done.stderr.count(" drain,") == 1
    assert prouter("quota", "--no-plugin", "team_quotas", *load).returncode == 2


def test_two_plugins_that_claim_one_command_are_both_named(load: list[str], tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(COMMANDS.replace('ConfigSection("quota"', 'ConfigSection("other"'))
    both = f"plugins.load=[{str(tmp_path / 'team_quotas.py')!r}, {str(tmp_path / 'other.py')!r}]"
    done = prouter("quota", "--team", "a", "--set", both)
    assert done.returncode == 2
    assert "claimed by other and team_quotas; switch one off by --no-plugin" in done.stderr
    assert prouter("quota", "--team", "a", "--set", both, "--no-plugin", "other").returncode == 3


def test_a_command_asks_a_router_as_those_that_ship_do(fleet: Fleet, load: list[str], tmp_path: Path) -> None:
    router = fleet.router(environ={"PROUTER_CONTROL__TOKENS": json.dumps([TOKEN])})
    (tmp_path / "token").write_text(TOKEN + "\n")
    url = ["--url", router.url(), "--token-file", str(tmp_path / "token")]
    assert json.loads(prouter("quota", "--team", "asks", *url, *load).stdout) == {"connections": []}
    by_environment = prouter("quota", "--team", "asks", *load, PROUTER_URL=router.url(), PROUTER_TOKEN=TOKEN)
    assert by_environment.returncode == 0
