"""Configuration as a person meets it: four sources, and a line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from prouter.client import Client
from prouter.testing import Fleet

HUSH = "hush-hush-secret"


async def name_of(url: str) -> str:
    async with Client(url) as client:
        return str((await client.info())["auth"]["name"])


async def test_file_then_environment_then_set_each_wins_over_the_one_before(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("identity:\n  name: file\n")
    by_file = fleet.daemon("--config", str(file))
    assert await name_of(by_file.url()) == "file"
    environ = {"PROUTER_IDENTITY__NAME": "environment"}
    by_environment = fleet.daemon("--config", str(file), environ=environ)
    assert await name_of(by_environment.url()) == "environment"
    by_set = fleet.daemon("--config", str(file), "--set", "identity.name=a=b", environ=environ)
    assert await name_of(by_set.url()) == "a=b"


async def test_the_agent_reads_its_own_variables(fleet: Fleet) -> None:
    environ = {"PAGENT_IDENTITY__NAME": "lab", "PAGENT_PROPERTIES": "{'gpu': 'a100'}", "PROUTER_IDENTITY__NAME": "no"}
    agent = fleet.daemon("agent", environ=environ)
    async with Client(agent.url()) as client:
        shown = await client.info()
    assert shown["auth"]["name"] == "lab"
    assert shown["properties"] == {"gpu": "a100"}


def test_every_mistake_has_a_line_with_key_what_is_wrong_and_what_is_allowed(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("server:\n  port: 99999\ncontrol: 5\nservr: {}\n")
    said = fleet.refused(
        "--config", str(file), "--set", "client.polling_delay='soon'", environ={"PROUTER_CONTROL__PORTS": "1"}
    )
    assert said.splitlines() == [
        "prouter: client.polling_delay: 'soon' is not allowed; allowed: number at least 0",
        "prouter: control.ports: there is no such parameter; did you mean control.port, control.hosts, control.tokens?",
        "prouter: control: is a section; allowed: keys and values below it",
        "prouter: server.port: 99999 is not allowed; allowed: integer at least 0 and at most 65535",
        "prouter: servr: there is no such parameter; did you mean server.port?",
    ]


def test_threads_and_counts_of_an_agent_have_a_most(fleet: Fleet) -> None:
    said = fleet.refused("agent", "--set", "jobs.background_threads=1025", "--set", "jobs.max_count=1000001")
    assert [line.rpartition(" ")[2] for line in said.splitlines()] == ["1024", "1000000"]


@pytest.mark.parametrize(
    "text", ["server: [", "- a list", "text", "\x00", "a: &a [*a]", "server: &s {port: *s}", "1: 2", "[" * 5000]
)
def test_a_file_that_is_no_configuration_is_one_line(fleet: Fleet, tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    said = fleet.refused("--config", str(file))
    assert len(said.splitlines()) == 1
    assert str(file) in said


@pytest.mark.parametrize("there", ["nowhere.yaml", "."])
def test_a_file_that_can_not_be_read_is_named(fleet: Fleet, tmp_path: Path, there: str) -> None:
    assert f"--config {tmp_path / there}: can not be read: " in fleet.refused("--config", str(tmp_path / there))


@pytest.mark.parametrize(
    ("kind", "key"),
    [("router", "control.tokens"), ("router", "server.accept_tokens"), ("agent", "server.accept_tokens")],
)
@pytest.mark.parametrize("value", [f"'{HUSH}'", f"[['{HUSH}']]", f"{{'{HUSH}': 1}}", f"[' {HUSH}']"])
def test_a_mistake_in_a_secret_does_not_show_it(fleet: Fleet, kind: str, key: str, value: str) -> None:
    said = fleet.refused(kind, "--set", f"{key}={value}")
    assert key in said
    assert HUSH not in said


def test_a_secret_without_its_equals_sign_is_not_shown(fleet: Fleet) -> None:
    said = fleet.refused("--set", f"control.tokens:['{HUSH}']")
    assert "control.tokens" in said
    assert "KEY=VALUE" in said
    assert HUSH not in said
    assert HUSH not in fleet.refused("--set", HUSH)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("router", "client.polling_delay=1e999"),
        ("router", "client.polling_delay=10**400"),
        ("router", f"client.polling_delay={10**400}"),
        ("router", "control.public_url=ftp://x"),
        ("router", "control.trusted_proxies=['10.0.0.0/99']"),
        ("router", "plugins.load='my_plugin'"),
        ("router", "plugins.disabled=3"),
        ("agent", "properties={1: 2}"),
        ("agent", "properties={'a=b': 2}"),
        ("agent", "properties={'a': []}"),
        ("agent", "client.enabled=True"),
        ("agent", "identity.name=\udcff"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_line_and_status_2(fleet: Fleet, kind: str, setting: str) -> None:
    said = fleet.refused(kind, "--set", setting)
    assert len(said.splitlines()) == 1
    assert said.startswith(f"prouter: {setting.partition('=')[0].partition('.')[0]}")
