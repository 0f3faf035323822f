"""The units and the compose file of the examples say only what there is."""

from __future__ import annotations

import itertools
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from prouter.testing import eventually

EXAMPLES = Path(__file__).parents[2] / "examples" / "operations"


def words_of(unit: str) -> list[str]:
    lines = (EXAMPLES / unit).read_text().splitlines()
    return shlex.split(next(line for line in lines if line.startswith("ExecStart=")).removeprefix("ExecStart="))


def settings_of(words: list[str]) -> list[str]:
    """What of the words is for `--set`, in both spellings."""
    joined = [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    return joined + [value for word, value in itertools.pairwise(words) if word == "--set"]


async def test_the_units_start_daemons_that_come_up(fleet, tmp_path: Path) -> None:
    config = tmp_path / "router.yaml"
    config.write_text("identity: {name: from the unit}")
    words = words_of("prouter.service")
    assert words[1:3] == ["--config", "/etc/prouter/router.yaml"]
    assert settings_of(words) == ["state.directory=/var/lib/prouter"]
    router = fleet.router(flags=("--config", str(config), "--log-format", "json"))
    async with router.client() as client:
        assert "from the unit" in str(await client.info())
    agent = words_of("prouter-agent.service")
    assert agent[1] == "agent"
    assert settings_of(agent) == ["jobs.root=/var/lib/prouter-agent"]


@pytest.mark.parametrize("unit", ["prouter.service", "prouter-agent.service"])
def test_systemd_understands_the_units(unit, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    text = (EXAMPLES / unit).read_text().replace("/opt/prouter/bin/prouter", "/bin/true")
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=60).stdout
    if int(version.split()[1].partition(".")[0]) < 254:  # an older one says that it ignores it
        text = text.replace("DelegateSubgroup=", "# ")
    (tmp_path / unit).write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit)], capture_output=True, text=True, timeout=60
    )
    mistakes = [line for line in found.stderr.splitlines() if unit in line and ("nknown" in line or "nvalid" in line)]
    assert not mistakes


def test_systemd_leaves_the_guardians_of_an_agents_jobs_alone() -> None:
    """With jobs.survive_agent they keep jobs for the next agent; without, they end them when the agent has gone."""
    lines = (EXAMPLES / "prouter-agent.service").read_text().splitlines()
    assert [line for line in lines if line.startswith("KillMode=")] == ["KillMode=process"]
    assert "TasksMax=infinity" in lines, "no job's limit is that of all together"


async def test_the_services_of_the_compose_file_join_with_their_own_settings(fleet, tmp_path: Path) -> None:
    services = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]
    (tmp_path / "agents").write_text("a-token-of-all-agents-0123456789abcdefghij")
    (tmp_path / "clients").write_text("a-token-of-all-clients-0123456789abcdefghi")

    def here(settings: list[str], port: int = 0) -> list[str]:
        """As in the containers, but on free ports of the loopback and in this place."""
        changed = []
        for setting in settings:
            key = setting.partition("=")[0]
            if key in ("state.directory", "jobs.root", "client.enabled", "client.address"):
                continue
            value = {"server.port": "0", "control.port": "0"}.get(key)
            value = "'127.0.0.1'" if key.endswith("interface") else value
            text = setting.replace("/run/secrets", str(tmp_path))
            changed.append(f"{key}={value}" if value is not None else text)
        return changed

    router = fleet.router(*here(settings_of(services["router"]["command"])))
    router.agent_token = "unused"
    agent = fleet.agent(
        router, *here(settings_of(services["agent"]["command"][1:])), environ={"PAGENT_CLIENT__TOKEN": "None"}
    )
    async with router.client((tmp_path / "clients").read_text()) as client:

        async def joined() -> list[dict[str, object]]:
            return await client.agents()

        assert (await eventually(joined, what=f"the agent, whose log is\n{agent.log}"))[0]["uid"] == agent.uid


def test_the_volumes_of_the_compose_file_are_mounted_over_what_the_images_user_owns() -> None:
    """A named volume takes the owner of the image's directory there; root's, where the image has none."""
    made, user = {}, "root"
    for line in (EXAMPLES / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["USER"]:
            user = words[1]
        elif words[:2] == ["RUN", "mkdir"]:
            made |= {word: user for word in words if word.startswith("/")}
    services = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]
    mounted = [volume.partition(":")[2] for service in services.values() for volume in service["volumes"]]
    assert mounted
    assert {made.get(place) for place in mounted} == {user}
    assert user != "root"
