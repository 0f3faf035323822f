"""One tree of errors: each says what outsiders may know, and nothing else ever reaches them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from raw import ask

from prouter import errors
from prouter.errors import ProuterError
from prouter.testing import Fleet
from prouter.web.problem import problem


def tree(cls: type[ProuterError] = ProuterError) -> list[type[ProuterError]]:
    ours = [cls] if cls.__module__ == errors.__name__ else []
    return ours + [below for child in cls.__subclasses__() for below in tree(child)]


@pytest.mark.parametrize("cls", tree(), ids=lambda cls: cls.__name__)
def test_each_error_has_a_code_a_status_and_a_title(cls: type[ProuterError]) -> None:
    assert cls.code == cls.code.lower()
    assert " " not in cls.code
    assert 400 <= cls.status < 600
    assert cls.title
    assert isinstance(cls.retryable, bool)


def test_the_tree_is_listed_at_the_top_of_its_module() -> None:
    listed = errors.__doc__ or ""
    assert [cls.__name__ for cls in tree() if cls.__name__ not in listed] == []


def test_no_two_situations_share_a_code() -> None:
    own = [cls.code for cls in tree() if "code" in vars(cls)]
    assert len(own) == len(set(own))


def test_errors_of_the_caller_are_4xx_and_others_5xx() -> None:
    for cls in tree(errors.RequestError):
        assert 400 <= cls.status < 500, cls
    for cls in tree(errors.ServiceError):
        assert cls.status >= 500, cls


def test_a_header_of_an_error_can_not_split_the_answer() -> None:
    reply = problem(ProuterError("x", headers={"Allow": "GET\r\nSet-Cookie: a=b"}), "id")
    assert all("\r" not in value and "\n" not in value for _, value in reply.headers)


BROKEN = """
from prouter import hookimpl
from prouter.model.plugin import Route

class Broken:
    @hookimpl
    def prouter_routes(self):
        async def fail(call):
            raise RuntimeError("details of the inside")
        async def leave(call):
            raise SystemExit(9)
        return [Route(("GET",), "/fail", "broken.read", "Fails.", fail),
                Route(("GET",), "/leave", "broken.read", "Exits.", leave)]

    @hookimpl
    def prouter_authorize(self, action, resource):
        if action == "agents.read":
            raise ValueError("details of the inside")
        if action == "job.list":
            raise SystemExit(9)
"""


def test_a_broken_plugin_is_a_500_with_the_request_id_and_the_rest_is_in_the_log_only(
    fleet: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    router = fleet.daemon("--set", f"plugins.load=[{str(tmp_path / 'broken.py')!r}]")
    fleet.expected_errors += ["GET /fail failed", "GET /leave failed", "plugin broken failed in", "Traceback"]
    for path in ("/fail", "/leave", "/connections"):
        answer = ask(router.address("control"), "GET", path)
        assert answer.status == 500, path
        assert answer.problem["request_id"] == answer.header("X-Request-Id")
        assert "inside" not in answer.body.decode()
        assert "Traceback" not in answer.body.decode()
        assert f"request={answer.problem['request_id']}" in router.log, path
    assert "details of the inside" in router.log
    assert ask(router.address("control"), "GET", "/healthz").status == 200


def test_a_request_id_of_the_clients_is_kept_when_it_is_sane(fleet: Fleet) -> None:
    router = fleet.daemon()
    sane = ask(router.address("control"), "GET", "/nowhere", "X-Request-Id: my-id-7")
    assert sane.header("X-Request-Id") == "my-id-7"
    for other in ("x" * 500, "two words", "a;b<script>"):
        changed = ask(router.address("control"), "GET", "/nowhere", f"X-Request-Id: {other}")
        assert changed.header("X-Request-Id") not in ("", other)


async def test_an_agents_broken_plugin_shows_no_inside_either(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from prouter import hookimpl\nclass P:\n    @hookimpl\n    def prouter_job_environment(self, env):\n"
        "        raise RuntimeError('details of the inside')\n"
    )
    router = fleet.router()
    agent = fleet.agent(router, f"plugins.load=[{str(tmp_path / 'broken.py')!r}]")
    fleet.expected_errors += ["plugin broken failed in prouter_job_environment", "Traceback"]
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
    answer = await asyncio.to_thread(
        ask, router.address("control"), "POST", f"{job.path}/start", body='{"args": ["true"], "port_expected_count": 0}'
    )
    assert answer.status >= 500
    assert "inside" not in answer.body.decode()
    assert "Traceback" not in answer.body.decode()
    assert "details of the inside" in agent.log
