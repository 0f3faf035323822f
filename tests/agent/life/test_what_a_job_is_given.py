"""What a job's process finds: its environment, its output's files, its directory."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from small_jobs import DESCRIBES, SERVES, SLEEPS, made, python, refusal, runs

from prouter.client import Client
from prouter.testing import AgentDaemon

pytestmark = pytest.mark.as_user

NAME = "Größe 数 🐜 'x' $y"
VALUE = 'ä\n日本 🎈 \u202e\t="quoted"'


async def told(client: Client, agent: AgentDaemon, *args: str, **options: Any) -> dict[str, Any]:
    """What a job that was started so says that it was given."""
    job = await runs(client, agent, DESCRIBES, *args, **options)
    await job.wait()
    return dict(json.loads(await job.read(options.get("cwd", ".") + "/told.json")))


async def test_output_goes_to_two_files_of_the_sandbox(fleet) -> None:
    router, agent = await fleet.pair()
    program = "import os; os.write(1, b'out\\n'); os.write(2, b'err\\n')"  # whole lines: others write to that log, too
    async with router.client() as client:
        job = await runs(client, agent, program)
        await job.wait()
        assert (await job.read(".pagent.stdout"), await job.read(".pagent.stderr")) == (b"out\n", b"err\n")
        forwarded = await runs(client, agent, program, forward_stdout=True)
        await forwarded.wait()
        for name in (".pagent.stdout", ".pagent.stderr"):
            await refusal(forwarded.read(name), 404)
    assert {"out", "err"} <= set(agent.log.splitlines())


async def test_properties_and_the_callers_variables_in_any_unicode(fleet) -> None:
    properties = {"gpu": "no", NAME: VALUE}
    router, agent = await fleet.pair(f"properties={properties!r}")
    async with router.client() as client:
        given = await told(client, agent, VALUE, "", env={NAME: VALUE, "DA__PAGENT__gpu": "mine", "EMPTY": ""})
        env = given["env"]
        assert env["DA__PAGENT__" + NAME] == VALUE
        assert env["DA__PAGENT__gpu"] == "mine", "what the caller says comes last"
        assert (env[NAME], env["EMPTY"]) == (VALUE, "")
        assert given["args"] == [VALUE, ""]
        plain = (await told(client, agent))["env"]
        assert plain["DA__PAGENT__gpu"] == "no"
        assert not {"DA__PAGENT__JOB_ENDPOINT", "DA__PAGENT__JOB_ID"} & plain.keys(), "no port is expected"


async def test_where_to_report_is_told_only_where_a_report_is_expected(fleet) -> None:
    router, agent = await fleet.pair()
    program = DESCRIBES + SERVES + "print(os.environ.get('DA__PAGENT__JOB_ID')); server.serve_forever()"
    async with router.client() as client:
        job = await made(client, agent)
        await job.start(python(program), port={"mode": "assign"})
        env = json.loads(await job.read("told.json"))["env"]
        assert not {"DA__PAGENT__JOB_ENDPOINT", "DA__PAGENT__JOB_ID"} & env.keys()
        expected = await made(client, agent)
        await refusal(expected.start(python(DESCRIBES)), 422)
        env = json.loads(await expected.read("told.json"))["env"]
        assert env["DA__PAGENT__JOB_ID"] == expected.info["uid"]
        assert env["DA__PAGENT__JOB_ENDPOINT"] == agent.url("report") + "/job_started"


async def test_a_job_inherits_the_agents_environment_without_secrets_and_prouters_own(fleet) -> None:
    router = fleet.router()
    secret = {"MY_API_KEY": "s", "DB_PASSWORD": "s", "github_token": "s", "SSH_AUTH_SOCK": "s"}
    kept = {"HARMLESS": "h", "LANGUAGES": "ü", "NOT_UTF8": "\udcff"}
    own = {"PROUTER_LOG": "x", "PAGENT_SOMETHING": "x"}
    agent = fleet.agent(router, environ=secret | kept | own)
    await router.agent_is_there(agent)
    async with router.client() as client:
        env = (await told(client, agent, env={"THEIR_TOKEN": "given"}))["env"]
    assert kept.items() <= env.items()
    assert "PATH" in env
    assert not secret.keys() & env.keys()
    assert env["THEIR_TOKEN"] == "given", "only what is inherited is looked at"
    ours = {name for name in env if name.upper().startswith(("PROUTER_", "PAGENT_"))}
    assert ours == {"PROUTER_JOB"}, "the mark by which a lost tree is found"
    assert agent.token not in json.dumps(env)


async def test_what_is_dropped_and_kept_can_be_set(fleet) -> None:
    router = fleet.router()
    names = {"SECRET_A": "1", "SECRET_B": "2", "PRIVATE_THING": "3", "MY_TOKEN": "4", "OTHER": "5"}
    globs = "jobs.environment.drop=['secret_*', 'PRIVATE*']", "jobs.environment.keep=['*_b']"
    agent = fleet.agent(router, *globs, environ=names)
    await router.agent_is_there(agent)
    async with router.client() as client:
        env = (await told(client, agent))["env"]
    assert {name for name in names if name in env} == {"SECRET_B", "MY_TOKEN", "OTHER"}


async def test_the_working_directory_is_in_the_sandbox(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        (agent.sandbox(job) / "sub" / "deep").mkdir(parents=True)
        (agent.sandbox(job) / "out").symlink_to("/")
        for cwd, status, word in (
            ("/", 400, "must be relative"),
            ("sub/\0", 400, "NUL"),
        ):
            assert word in await refusal(job.start(python(DESCRIBES), cwd=cwd, port_expected_count=0), status)
        assert (await job.refresh()).info["state"] == "NEW", "what makes no sense is refused before anything is begun"
        await job.start(python(DESCRIBES), cwd="sub/deep", port_expected_count=0)
        await job.wait()
        given = json.loads(await job.read("sub/deep/told.json"))
        assert given["cwd"] == os.path.realpath(agent.sandbox(job)) + "/sub/deep"
        assert (agent.sandbox(job) / ".pagent.stdout").exists(), "output stays at the top"


async def test_a_working_directory_outside_or_missing_is_told(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:

        async def said(cwd: str, status: int) -> str:
            why = await refusal(job.start(python(DESCRIBES), cwd=cwd, port_expected_count=0), status)
            assert (await job.refresh()).info["reason"] == ("start-failed" if status == 422 else None)
            return why

        job = await made(client, agent)
        (agent.sandbox(job) / "out").symlink_to("/tmp")
        for outside in ("..", "a/../..", "out"):
            assert "outside the job's sandbox" in await said(outside, 400)
        missing = await said("not/there", 422)
        assert "working directory 'not/there'" in missing


async def test_what_is_refused_as_wrong_leaves_the_job_to_be_started_right(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        for wrong in (
            {"args": ["{socket}"], "port": {"mode": "assign"}},
            {"args": ["x"], "env": {"A": "{port:b}"}, "port": {"mode": "assign"}},
            {"args": ["x"], "cwd": "{port}", "port": {"mode": "detect"}},
            {"args": ["x"], "cwd": "../..", "port_expected_count": 0},
        ):
            assert "Invalid request" in await refusal(job.start(**wrong), 400)
            assert (await job.refresh()).info["state"] == "NEW"
        await job.start(python(SLEEPS), port_expected_count=0)
        assert job.info["state"] == "RUNNING"


async def test_a_sandbox_that_changed_meanwhile_is_told_by_a_restart(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        (agent.sandbox(job) / "in").mkdir()
        program = "import os; os.rmdir('../in'); os.symlink('/tmp', '../in')"
        await job.start(python(program), cwd="in", port_expected_count=0)
        await job.wait()
        assert "outside the job's sandbox" in await refusal(job.restart(), 422)
        assert (await job.refresh()).info["reason"] == "start-failed"


async def test_a_program_that_can_not_be_executed_is_told_shortly_and_rightly(fleet) -> None:
    router, agent = await fleet.pair()

    async def said(*args: str) -> str:
        job = await made(client, agent)
        script = agent.sandbox(job) / "our-script"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        (agent.sandbox(job) / "data").write_text("")
        return await refusal(job.start(list(args), port_expected_count=0), 422)

    async with router.client() as client:
        assert "'./our-script' can not be started: the interpreter that it names" in await said("./our-script")
        assert "'our-script' is not there" in await said("our-script")
        assert "'./data' can not be started: Permission denied" in await said("./data")
        long = await said("x" * 200_000)
        assert "Argument list too long" in long or "File name too long" in long
        assert len(long) < 500
        assert "Argument list too long" in await said("true", "x" * 200_000)


async def test_a_directory_where_output_is_to_go_gets_another_name(fleet) -> None:
    router, agent = await fleet.pair()
    program = "import os; os.unlink('.pagent.stdout'); os.makedirs('.pagent.stdout/mine'); print('said')"
    async with router.client() as client:
        job = await runs(client, agent, program)
        await job.wait()
        for run in (1, 2):
            await job.restart()
            await job.wait()
            assert (agent.sandbox(job) / f".pagent.stdout.{run}" / "mine").is_dir()
