"""`prouter plugins list` and `show`: what is there, in which state and why; never the value of a parameter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from called import prouter

from prouter.testing import Fleet

QUOTAS = '''"""What a team may have."""
from prouter import hookimpl
from prouter.model.contributions import CliCommand
from prouter.model.plugin import ConfigSection, Route

print("loud")

class TeamQuotas:
    """Quotas of teams."""

    @hookimpl
    def prouter_config_sections(self):
        limit = {"type": "integer", "minimum": 1, "default": 7, "description": "Jobs of a team."}
        key = {"type": "string", "default": "built-in-secret", "description": "Of the accounts.", "writeOnly": True}
        return [ConfigSection("quota", {"limit": limit, "key": key}, reloadable=True)]

    @hookimpl
    def prouter_routes(self):
        return [Route(("GET", "HEAD"), "/quota", "quota.read", "What is left.", self.show)]

    @hookimpl
    def prouter_selectors(self):
        return self.made_at_the_start

    @hookimpl
    def prouter_commands(self):
        return [CliCommand("quota", "show what is left", lambda options, context: 0)]

    @hookimpl
    async def prouter_admit_job(self, request):
        return None

    async def show(self, call): ...
'''
SECRET = "hush-hush"


def plugins(*words: str, status: int = 0, **environ: str) -> tuple[str, str]:
    """What it prints on stdout and stderr."""
    done = prouter("plugins", *words, **environ)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert "built-in-secret" not in done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def load(tmp_path: Path) -> list[str]:
    """A good plugin and two broken ones, one of them required."""
    (tmp_path / "team_quotas.py").write_text(QUOTAS)
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found")
    taken = QUOTAS.replace('"quota", {"limit"', '"server", {"port"')
    (tmp_path / "taken.py").write_text(taken)
    paths = [str(tmp_path / f"{name}.py") for name in ("team_quotas", "broken", "taken")]
    return ["--set", f"plugins.load={paths!r}", "--set", "plugins.required=['broken', 'nobody']"]


def test_both_sides_are_listed_with_state_and_reason(load: list[str]) -> None:
    said, _ = plugins("list", *load, "--no-plugin", "health", PROUTER_QUOTA__KEY=SECRET)
    lines = said.splitlines()
    rows = {tuple(line.split()[:2]): line.split()[2] for line in lines if not line.startswith(" ")}
    assert rows["team_quotas", "router"] == rows["file_transfer", "agent"] == rows["token_auth", "router"] == "loaded"
    assert rows["health", "router"] == "disabled"
    assert rows["broken", "router"] == rows["taken", "router"] == "failed"
    reason = lines[next(n for n, line in enumerate(lines) if line.startswith("broken ")) + 1]
    assert reason.strip() == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    assert "server.port: declared by prouter and by the plugin taken" in said
    assert "loud" not in said


def test_a_side_is_chosen_and_has_its_own_switches(load: list[str]) -> None:
    rows = plugins("list", "--agent", "--set", "plugins.disabled=['job_output']")[0].splitlines()[1:]
    assert {row.split()[1] for row in rows if not row.startswith(" ")} == {"agent"}
    assert any(row.split()[:3] == ["job_output", "agent", "disabled"] for row in rows)
    of_router = plugins("list", "--router", "--safe", *load)[0]
    assert "agent  " not in of_router
    assert "team_quotas" not in of_router


def test_all_that_is_known_of_a_plugin_is_shown(load: list[str]) -> None:
    (shown,) = json.loads(plugins("show", "team_quotas", "--json", *load)[0])["plugins"]
    assert (shown["state"], shown["why"], shown["summary"]) == ("loaded", "", "Quotas of teams.")
    assert (shown["side"], shown["api_version"], shown["failures"]) == ("router", 1, 0)
    assert "prouter_admit_job (veto)" in shown["hooks"]
    hooks = {hook["hook"]: hook for hook in shown["implements"]}
    assert (hooks["prouter_admit_job"]["kind"], hooks["prouter_admit_job"]["deadline_seconds"]) == ("veto", 5.0)
    parameters = {parameter["key"]: parameter for parameter in shown["configuration"]}
    assert (parameters["quota.limit"]["default"], parameters["quota.limit"]["description"]) == (7, "Jobs of a team.")
    assert parameters["quota.limit"]["reloadable"] is True
    assert (parameters["quota.key"]["default"], parameters["quota.key"]["secret"]) == (None, True)
    assert shown["contributes"] == {"routes": ["GET,HEAD /quota"], "selectors": None, "commands": ["quota"]}


def test_a_page_about_a_plugin_is_for_people(load: list[str]) -> None:
    said, _ = plugins("show", "team_quotas", *load)
    for part in (
        "team_quotas (plugin of the router)",
        "Quotas of teams.",
        "state         loaded",
        "prouter_admit_job        veto, within 5 s",
        "quota.limit - Jobs of a team. (default: 7)",
        "quota.key - Of the accounts. (secret)",
        "GET,HEAD /quota",
        "(told when it is started only)",
    ):
        assert part in said, part
    assert "failed: ModuleNotFoundError" in plugins("show", "broken", *load)[0]


def test_a_plugin_of_both_sides_has_both_halves_and_one_of_none_is_a_question() -> None:
    shown = json.loads(plugins("show", "job_output", "--json")[0])["plugins"]
    assert [half["side"] for half in shown] == ["router", "agent"]
    assert all(half["summary"] for half in shown)
    assert "did you mean token_auth?" in plugins("show", "token_aut", status=1)[1]


@pytest.mark.parametrize(
    "words", [["list", "--set", "plugins.load=7"], ["show", "x", "--config", "/nowhere.yaml"], ["check", "--set", "x"]]
)
def test_a_configuration_that_can_not_be_read_is_status_2(words: list[str]) -> None:
    assert plugins(*words, status=2)[1].startswith("prouter: ")


@pytest.mark.parametrize("words", [[], ["nonsense"]])
def test_what_there_is_is_said_to_who_asks_for_nothing(words: list[str]) -> None:
    assert "check" in plugins(*words, status=2)[1]


async def test_the_api_has_the_same_facts_without_any_value(fleet: Fleet, tmp_path: Path) -> None:
    text = QUOTAS.replace("return self.made_at_the_start", "return []")
    (tmp_path / "team_quotas.py").write_text(text)
    load = f"plugins.load=[{str(tmp_path / 'team_quotas.py')!r}]"
    router = fleet.router(load, environ={"PROUTER_QUOTA__KEY": SECRET})
    async with router.client() as client:
        listed = await client.request("GET", "/plugins")
        described = await client.request("GET", "/openapi.json")
    shown = next(plugin for plugin in listed["plugins"] if plugin["name"] == "team_quotas")
    (said,) = json.loads(plugins("show", "team_quotas", "--router", "--json", "--set", load)[0])["plugins"]
    assert shown == {key: value for key, value in said.items() if key != "side"} | {
        "contributes": {"routes": ["GET,HEAD /quota"], "commands": ["quota"]}
    }
    assert SECRET not in json.dumps(listed)
    answer = described["paths"]["/plugins"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(answer["properties"]["plugins"]["items"]["required"]) == shown.keys()
