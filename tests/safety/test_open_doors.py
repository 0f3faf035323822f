"""An endpoint that others can reach does not start unless somebody guards it well enough."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from prouter.testing import Fleet

STRONG = secrets.token_hex(16)
WEAK = "0123456789abcdef"
"""A token of 64 bits at most."""
OPEN_CONTROL = ("--set", "control.interface=0.0.0.0", "--set", "server.enabled=False")
OPEN_SERVER = ("--set", "server.interface=0.0.0.0")


@pytest.mark.parametrize("interface", ["0.0.0.0", "::", "192.0.2.1", "somewhere.example"])
@pytest.mark.parametrize("kind", ["router", "agent"])
def test_a_control_endpoint_that_nobody_guards_stays_on_loopback(fleet: Fleet, kind: str, interface: str) -> None:
    said = fleet.refused(kind, "--set", f"control.interface={interface}")
    assert said.startswith(f"prouter: control.interface: {interface} can be reached by others")
    assert "--insecure" in said
    assert len(said.splitlines()) == 1


def test_an_authenticator_or_insecure_opens_the_control_endpoint(fleet: Fleet) -> None:
    guarded = fleet.daemon(*OPEN_CONTROL, environ={"PROUTER_CONTROL__TOKENS": json.dumps([STRONG])})
    assert guarded.address("control")[0] == "0.0.0.0"
    insecure = fleet.daemon(*OPEN_CONTROL, "--insecure")
    assert "open to everybody who can reach it (--insecure)" in insecure.log
    fleet.daemon("agent", "--set", "control.interface=0.0.0.0", "--insecure")


def test_being_installed_makes_no_plugin_an_authenticator(fleet: Fleet, tmp_path: Path) -> None:
    """It says that it guards requests, and is not named in access.authenticators."""
    (tmp_path / "claims.py").write_text(
        "from prouter import hookimpl\nfrom prouter.model.access import Guards, Principal\n"
        "class P:\n    @hookimpl\n    def prouter_guards(self): return Guards(requests=True, agents=True)\n"
        "    @hookimpl\n    def prouter_authenticate_request(self): return Principal('anybody')\n"
    )
    load = ("--set", f"plugins.load=[{str(tmp_path / 'claims.py')!r}]")
    assert "can be reached by others" in fleet.refused(*OPEN_CONTROL, *load)
    router = fleet.daemon(*OPEN_CONTROL, *load, "--set", "access.authenticators=['claims']")
    assert router.ready["control"]["host"] == "0.0.0.0"


@pytest.mark.parametrize("broken", ["1 / 0", "raise SystemExit"])
def test_an_authenticator_that_breaks_leaves_no_door_open(fleet: Fleet, tmp_path: Path, broken: str) -> None:
    for where in ("class level", "prouter_guards", "prouter_config_sections"):
        text = f"from prouter import hookimpl\nclass P:\n    @hookimpl\n    def {where}(self):\n        {broken}\n"
        (tmp_path / "auth.py").write_text(broken if where == "class level" else text)
        fleet.expected_errors.append("left out")
        load = ("--set", f"plugins.load=[{str(tmp_path / 'auth.py')!r}]")
        said = fleet.refused(*load, "--set", "access.authenticators=['auth']", status=1)
        assert "'auth'" in said.splitlines()[-1], where


@pytest.mark.parametrize("kind", ["router", "agent"])
@pytest.mark.parametrize("tokens", [[], [WEAK], [STRONG, WEAK], ["a" * 64]])
def test_an_agent_endpoint_beyond_loopback_needs_strong_tokens(fleet: Fleet, kind: str, tokens: list[str]) -> None:
    prefix = "PROUTER" if kind == "router" else "PAGENT"
    said = fleet.refused(kind, *OPEN_SERVER, "--insecure", environ={f"{prefix}_SERVER__ACCEPT_TOKENS": str(tokens)})
    assert said.startswith("prouter: server.accept_tokens: ")
    assert "128 bits" in said
    assert not any(token in said for token in tokens)


@pytest.mark.parametrize("kind", ["router", "agent"])
def test_an_agent_endpoint_beyond_loopback_starts_with_strong_tokens(fleet: Fleet, kind: str) -> None:
    prefix = "PROUTER" if kind == "router" else "PAGENT"
    environ = {f"{prefix}_SERVER__ACCEPT_TOKENS": json.dumps([STRONG])}
    assert fleet.daemon(kind, *OPEN_SERVER, environ=environ).address("server")[0] == "0.0.0.0"


def test_a_weak_token_of_clients_stays_on_loopback(fleet: Fleet) -> None:
    said = fleet.refused(*OPEN_CONTROL, environ={"PROUTER_CONTROL__TOKENS": json.dumps([WEAK])})
    assert said.startswith("prouter: control.tokens: ")
    assert WEAK not in said
