"""`prouter plugins check`: what is wrong with plugins is said, with what to do, without starting anything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from called import prouter

PLUGIN = "from prouter import hookimpl\nfrom prouter.model.plugin import ConfigSection, Route\nclass Plugin:\n"
HOOK = f"{PLUGIN}    @hookimpl\n    "


def section(schema: str) -> str:
    return f"{HOOK}def prouter_config_sections(self):\n        return [ConfigSection('NAME', {schema})]\n"


WRONG = {
    "fails_at_import": ("1 / 0", "can not be imported: ZeroDivisionError", "fails_at_import.py line 1"),
    "leaves_at_import": ("raise SystemExit(3)", "SystemExit: 3", "prouter_startup"),
    "needs_a_library": ("import nowhere.near", "No module named 'nowhere'", "install nowhere"),
    "does_not_parse": ("def", "SyntaxError", "does_not_parse.py line 1"),
    "can_not_be_made": (
        f"{HOOK}def prouter_guards(self): ...\n    def __init__(self, x): ...",
        "Plugin can not be made",
        "takes no argument",
    ),
    "other_version": (f"{PLUGIN}    prouter_api_version = 99\n    @hookimpl\n    def prouter_guards(self): ...", "99"),
    "nothing_marked": (
        f"{PLUGIN}    def prouter_guards(self): ...",
        "prouter_guards is not marked",
        "put @implements(hookspecs.prouter_guards) above it",
    ),
    "a_slip": (
        f"{HOOK}def prouter_guards(self): ...\n    def prouter_authenticate_reqest(self, head, peer): ...",
        "prouter_authenticate_reqest is no hook, so nobody asks it",
        "did you mean prouter_authenticate_request?",
    ),
    "no_hook": (f"{PLUGIN}    pass", "implements no hook", "@implements(hookspecs.HOOK)"),
    "two_classes": (
        "from prouter import hookimpl\n"
        "class One:\n    @hookimpl\n    def prouter_guards(self): ...\n"
        "class Two:\n    @hookimpl\n    def prouter_guards(self): ...\n",
        "2 classes with hooks: One, Two",
        "two_classes.py:One",
    ),
    "unknown_hook": (
        f"{HOOK}def prouter_authorise(self): ...",
        "no hook prouter_authorise",
        "did you mean prouter_auth",
    ),
    "of_the_agent": (f"{HOOK}def prouter_drivers(self): ...", "a hook of the agent", "prouter.agent_plugins"),
    "wrong_argument": (f"{HOOK}def prouter_admit_job(self, requst): ...", "takes `requst`", "did you mean `request`?"),
    "strange_argument": (f"{HOOK}def prouter_admit_job(self, zzz): ...", "`zzz`", "it may take: request, principal"),
    "has_a_default": (f"{HOOK}def prouter_admit_job(self, request=None): ...", "has a default for `request`"),
    "keyword_only": (f"{HOOK}def prouter_admit_job(self, *, request): ...", "`request` by keyword only"),
    "async_collect": (f"{HOOK}async def prouter_routes(self): ...", "prouter_routes is `async def`", "plain `def`"),
    "generator": (f"{HOOK}def prouter_admit_job(self, request): yield", "prouter_admit_job yields", "return"),
    "wrapper": (
        f"{PLUGIN}    @hookimpl(wrapper=True)\n    def prouter_health(self): return (yield)",
        "prouter_health is a pluggy wrapper",
        "wrapper=True",
    ),
    "sections_fail": (f"{HOOK}def prouter_config_sections(self): 1 / 0", "prouter_config_sections fails: Zero"),
    "no_section": (f"{HOOK}def prouter_config_sections(self): return [1]", "int instead of a ConfigSection"),
    "no_default": (section("{'x': {'type': 'integer', 'description': 'x'}}"), "NAME.x is wrong", "has a default"),
    "no_schema": (section("{'x': {'type': 'number-like', 'default': 1, 'description': 'x'}}"), "the schema of NAME.x"),
    "no_description": (section("{'x': {'type': 'integer', 'default': 1}}"), "NAME.x has no description", "--help"),
    "taken_key": (
        section("{'port': {'type': 'integer', 'default': 1, 'description': 'x'}}").replace("NAME", "control"),
        "control.port: declared by prouter and by the plugin taken_key",
    ),
    "taken_route": (
        f"{HOOK}def prouter_routes(self):\n        return [Route(('GET',), '/jobs', 'x.read', 'x', self.x)]\n"
        "    async def x(self, call): ...",
        "GET /jobs is also that of jobs_api",
    ),
    "misplaced": (
        f"{PLUGIN}    @hookimpl(before=('token_aut', 'not_installed'))\n    def prouter_admit_job(self): ...",
        "prouter_admit_job wants to be before 'token_aut', which is not there",
        "did you mean token_auth?",
    ),
    "default_is_none": (section("{'x': {'default': object(), 'description': 'x'}}"), "its default is no JSON"),
    "other_parameters": (
        f"{HOOK}def prouter_routes(self):\n        return [Route(('GET',), '/jobs/{{x}}/info', 'x.read', '', self.x)]\n"
        "    async def x(self, call): ...",
        "GET /jobs/{}/info is also that of jobs_api",
    ),
    "no_handler": (
        f"{HOOK}def prouter_routes(self): return [Route(('GET',), '/x', 'x.read', 'x')]",
        "/x needs exactly one of handler and relay",
    ),
    "no_routes": (f"{HOOK}def prouter_routes(self): return ['/x']", "hands over list of str", "Sequence of Route"),
    "bad_command": (
        f"{HOOK}def prouter_commands(self):\n        from prouter.model.contributions import CliCommand\n"
        "        return [CliCommand('Bad Name', '', print), CliCommand('drain', '', print)]",
        "the command 'Bad Name' is not of lower-case letters",
    ),
    "taken_command": (
        f"{HOOK}def prouter_commands(self):\n        from prouter.model.contributions import CliCommand\n"
        "        return [CliCommand('drain', '', print)]",
        "command 'drain' is also that of prouter itself",
    ),
    "says_reloadable": (
        section("{'x': {'default': 1, 'description': 'x'}}, reloadable=True"),
        "'says_reloadable' says that it is reloadable, and prouter_reload is not implemented",
    ),
    "odd-name": (f"{HOOK}def prouter_guards(self): ...", "no name for a plugin", "letters, digits and underscores"),
}
FINE = f"{HOOK}async def prouter_admit_job(self, request): ...\n    def prouter_helper(self): ...\n"
FINE += "    def prouter_admit_job_x(self): ...\n"


def check(*words: str, environ: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    """Its status and lines."""
    if environ is None and not any(Path(word).is_dir() for word in words):
        done = prouter("plugins", "check", *words)
    else:  # modules are imported by their names
        done = subprocess.run(
            [sys.executable, "-m", "prouter", "plugins", "check", *words],
            capture_output=True,
            text=True,
            timeout=60,
            env=environ,
        )
    assert "Traceback" not in done.stderr + done.stdout
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of all the wrong plugins, and a right one, loaded together."""
    place = tmp_path_factory.mktemp("wrong")
    for name, (text, *_) in WRONG.items():
        (place / f"{name}.py").write_text(text.replace("NAME", name))
    (place / "fine.py").write_text(FINE)
    paths = [str(path) for path in place.iterdir()]
    switches = [f"plugins.load={paths!r}", "plugins.required=['no_hook','nix']", "plugins.deadlines={'prouter_pln': 1}"]
    status, lines = check("--router", *(word for switch in switches for word in ("--set", switch)))
    assert status == 1
    return lines


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_what_to_do(said: list[str], name: str) -> None:
    lines = [line for line in said if line.startswith(f"{name}: ")]
    for part in WRONG[name][1:]:
        assert any(part.replace("NAME", name) in line and "; " in line for line in lines), lines


def test_nothing_is_said_of_what_is_right(said: list[str]) -> None:
    assert not [line for line in said if line.startswith("fine")]


def test_names_in_the_configuration_that_stand_for_nothing_are_said(said: list[str]) -> None:
    assert any(line.startswith("nix: plugins.required names it, and it is not there") for line in said)
    assert any(line.startswith("no_hook: plugins.required names it, and it is failed") for line in said)
    assert any("plugins.deadlines.prouter_pln: there is no such hook; did you mean prouter_plan" in one for one in said)


def test_all_that_ships_is_right() -> None:
    status, lines = check()
    assert status == 0
    assert lines[-1].endswith("plugins: nothing is wrong")


def project(place: Path, points: str, text: str, distribution: str = "some-project") -> Path:
    (place / "src").mkdir(parents=True)
    (place / "src" / "some_module.py").write_text(text)
    (place / "pyproject.toml").write_text(f'[project]\nname = "{distribution}"\nversion = "1.2"\n{points}')
    return place


def test_a_place_where_nothing_is_is_told(tmp_path: Path) -> None:
    status, lines = check(str(tmp_path / "nowhere.py"))
    assert status == 1
    assert "nowhere.py is not there; name a file that is there" in lines[0]


def test_a_project_is_checked_where_it_is(tmp_path: Path) -> None:
    points = '[project.entry-points."prouter.plugins"]\nmine = "some_module:Plugin"\n'
    place = project(tmp_path / "right", points, FINE)
    assert check(str(place)) == (0, ["mine: nothing is wrong"])
    points = points.replace("Plugin", "Plugni").replace("prouter.plugins", "prouter.plugin") + points
    status, lines = check(str(project(tmp_path / "wrong", points, FINE.replace("request", "requst"))))
    assert status == 1
    assert any(
        "nobody reads the entry points 'prouter.plugin'; did you mean 'prouter.plugins'?" in line for line in lines
    )
    assert any(line.startswith("mine: prouter_admit_job takes `requst`") for line in lines)


def test_a_project_without_entry_points_is_told_how_to_have_one(tmp_path: Path) -> None:
    status, lines = check(str(project(tmp_path / "none", "", FINE)))
    assert status == 1
    assert "names no entry points of prouter; [project.entry-points" in lines[0]
    (tmp_path / "none" / "pyproject.toml").write_text("[project")
    status, lines = check(str(tmp_path / "none"))
    assert status == 1
    assert lines[0].startswith("none: pyproject.toml can not be read: ")


def test_a_project_that_is_installed_differently_and_has_a_double_is_told(tmp_path: Path) -> None:
    points = '[project.entry-points."prouter.plugins"]\nmine = "some_module:Plugin"\n'
    place = project(tmp_path / "project", points, FINE)
    for distribution, lines in (("some_project", "old = some_module:Plugin"), ("other", "mine = other:Plugin")):
        info = tmp_path / "site" / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[prouter.plugins]\n{lines}\n")
    (tmp_path / "site" / "other.py").write_text(FINE)
    status, said = check(str(place), environ={"PYTHONPATH": str(tmp_path / "site")})
    assert status == 1
    assert any("is installed with the entry point old" in line for line in said)
    assert any("is installed without the entry point mine" in line for line in said)
    ours = [line for line in said if line.startswith("mine: ")]
    assert ours == ["mine: 'mine' comes from some-project and from other; remove one", f"mine: {len(said) - 1} found"]


def test_a_file_or_module_is_checked_for_the_side_to_which_its_hooks_belong(tmp_path: Path) -> None:
    file = tmp_path / "for_agents.py"
    file.write_text(f"{HOOK}def prouter_startup(self, agent): ...\n    @hookimpl\n    def prouter_drivers(self): ...")
    assert check(str(file)) == (0, ["for_agents: nothing is wrong"])
    status, lines = check(str(file), "--router")
    assert status == 1
    assert any("prouter_drivers is a hook of the agent" in line for line in lines)
    assert check("for_agents", environ={"PYTHONPATH": str(tmp_path)}) == (0, ["for_agents: nothing is wrong"])
    assert check(str(tmp_path / "nowhere.py"))[0] == 1


def test_a_plugin_that_pushes_another_one_out_is_told(tmp_path: Path) -> None:
    text = section("{'tokens': {'default': None, 'description': 'x'}}").replace("NAME", "control")
    (tmp_path / "a_first_one.py").write_text(text)
    status, lines = check(str(tmp_path / "a_first_one.py"))
    assert status == 1
    said = "a_first_one: prouter_config_sections: control.tokens: declared by the plugin a_first_one and by the plugin"
    assert lines[0].startswith(said)


def test_findings_are_there_as_json_and_what_a_plugin_prints_spoils_nothing(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(f"print('loud')\n{FINE.replace('request', 'requst')}")
    done = prouter("plugins", "check", str(tmp_path / "loud.py"), "--json")
    answer = json.loads(done.stdout)
    assert answer["checked"] == ["loud"]
    (found,) = answer["findings"]
    assert (found["plugin"], found["todo"]) == ("loud", "did you mean `request`?")


def test_an_installed_plugin_is_checked_by_its_name() -> None:
    done = prouter("plugins", "check", "archive_transfer", "--json")
    assert json.loads(done.stdout) == {"checked": ["archive_transfer", "archive_transfer"], "findings": []}


def test_a_name_that_stands_for_nothing() -> None:
    done = prouter("plugins", "check", "no_such_thing")
    assert done.returncode == 1
    assert (
        "no installed plugin and no module has this name; a file is named by its path, ./no_such_thing.py"
        in done.stdout
    )
