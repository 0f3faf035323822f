"""Every hook of the agent, in the order in which a start and a job meet them. Same form as hookspecs.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prouter.hookspecs import hookspec
from prouter.model.access import Refusal
from prouter.model.agents import MachineFacts
from prouter.model.drivers import Driver
from prouter.model.jobs import JobRecord, StartRequest
from prouter.model.methods import RpcMethod
from prouter.model.output import OutputStream
from prouter.model.plugin import ConfigSection, Kind, Route
from prouter.model.services import AgentHost
from prouter.model.writes import FileWrite

# --- start ---


@hookspec(Kind.COLLECT)
def prouter_config_sections() -> Sequence[ConfigSection]:
    """The plugin's parts of the agent's configuration.

    Asked right after the import, before the configuration is read, and for `--help`: import nothing heavy here.

    Example::

        from prouter.model.plugin import ConfigSection

        class Example:
            @hookimpl
            def prouter_config_sections(self):
                limit = {"type": "integer", "minimum": 1, "default": 100, "description": "MiB that a file may have."}
                return [ConfigSection("upload_quota", {"max_file": limit})]
    """
    raise NotImplementedError


@hookspec(Kind.SETUP, deadline_seconds=30.0)
def prouter_startup(agent: AgentHost) -> None:
    """The agent starts. Keep what you need of `agent`: the services stay the same for the life of this plugin.

    Asked once its configuration is valid; nothing listens or dials yet, jobs of its last run are not there yet. If you
    raise, the start fails with your name.

    Example::

        class Example:
            @hookimpl
            def prouter_startup(self, agent):
                self.jobs = agent.jobs
    """
    raise NotImplementedError


@hookspec(Kind.GATHER, deadline_seconds=30.0)
def prouter_agent_properties() -> MachineFacts | None:
    """What the agent should say of itself beside what its configuration says: facts of the machine, found by looking.

    Asked once, after start-up, before anything is dialed. What the configuration says of the same name wins. None:
    nothing to say; one that fails says nothing.

    Example::

        from prouter.model.agents import MachineFacts

        class Example:
            @hookimpl
            async def prouter_agent_properties(self):
                return MachineFacts(properties={"gpu": "A100"}, capacity={"gpu": 2})
    """


@hookspec(Kind.COLLECT)
def prouter_drivers() -> Sequence[Driver]:
    """Ways to run a job's process, by name; `jobs.driver` says which one is used.

    Asked once, after start-up. One name twice is an error. `AgentHost.guarded` starts and ends process trees, so that a
    driver mostly changes the command. A job is recovered and destroyed by the driver that started it: what `recover`
    finds running goes on with `jobs.survive_agent`, and is ended without. Each call has `jobs.driver_timeout` seconds;
    what takes longer or raises something else than errors of prouter is told with your name, and the job has failed or
    is lost.

    Example::

        from dataclasses import replace

        class Nice:
            name = "nice"

            def __init__(self, guarded):
                self.recover, self.destroy, self.guarded = guarded.recover, guarded.destroy, guarded

            async def start(self, request):
                command = replace(request.command, args=("nice", *request.command.args))
                return await self.guarded.launch(replace(request, command=command))

        class Example:
            @hookimpl
            def prouter_startup(self, agent):
                self.driver = Nice(agent.guarded)

            @hookimpl
            def prouter_drivers(self):
                return [self.driver]
    """
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_agent_routes() -> Sequence[Route]:
    """HTTP routes of the agent's own service, reached by routers through pipes only; `{job}` is a job's uid there.

    Asked once, after start-up. What the router's half of a plugin relays here was authorized by the router.

    Example::

        from prouter.model.http import Reply
        from prouter.model.plugin import Route

        class Example:
            @hookimpl
            def prouter_agent_routes(self):
                return [Route(("GET",), "/jobs/{job}/motto", "motto.read", "A motto.", self.show)]

            async def show(self, call):
                return Reply(200, (("Content-Type", "application/json"),), b'"on time"')
    """
    raise NotImplementedError


@hookspec(Kind.COLLECT)
def prouter_rpc_methods() -> Sequence[RpcMethod]:
    """Methods that routers can call over their links.

    Asked once, after start-up. What an original router asks of a feature is served by these, and small questions of
    a plugin's router half (`Agents.call`). One name twice is an error, and so is one of the agent's own.

    Example::

        from prouter.model.plugin import RpcKind, RpcMethod

        class Example:
            @hookimpl
            def prouter_rpc_methods(self):
                return [RpcMethod("example_ping", RpcKind.UNARY, self.ping)]

            async def ping(self, stream, text):
                return text
    """
    raise NotImplementedError


# --- a job is made ---


@hookspec(Kind.SETUP, deadline_seconds=60.0)
def prouter_prepare_sandbox(record: JobRecord, sandbox: Path) -> None:
    """A job's sandbox was made and is empty: put into it what each job should find there.

    Asked while the job is made, before the client hears of it; the directory belongs to the user of the agent. Blocking
    work belongs into a thread. If you raise, there is no job, those that were asked before you get
    `prouter_cleanup_sandbox`, and the sandbox is removed. What you raise on purpose keeps its kind, with your name in
    front: after NoAgent the router tries another agent. Routers wait `jobs.call_timeout` seconds for the whole of it;
    what is not done by then is undone, too.

    Example::

        class Example:
            @hookimpl
            def prouter_prepare_sandbox(self, record, sandbox):
                (sandbox / "README").write_text(f"This is the sandbox of {record.name}.")
    """
    raise NotImplementedError


@hookspec(Kind.GATHER, deadline_seconds=60.0)
def prouter_cleanup_sandbox(record: JobRecord, sandbox: Path) -> None:
    """A job's sandbox is about to be deleted: undo what prouter_prepare_sandbox did outside of it.

    Asked in the reverse order, when the job's tree is gone and before anything is deleted; also for unfinished jobs
    when the agent ends, and when it deletes what is left of a job of its last run. You may be asked again where a
    deletion was cut short. One that fails or is too slow is logged, and the sandbox is deleted.

    Example::

        class Example:
            @hookimpl
            def prouter_cleanup_sandbox(self, record, sandbox):
                print(sandbox, "goes")
    """


@hookspec(Kind.VETO)
def prouter_before_file_write(record: JobRecord, write: FileWrite) -> Refusal | None:
    """Whether a client may write this path of a job's sandbox.

    Asked before the bytes of a file, of a part of one, and of each file of an archive are taken; again with the size
    that came, before the file takes its place, where it was not known; before a directory is made, and before
    something is moved there. A refusal is 403 with its reason, and nothing is left of the file or of its archive. What
    the job itself writes is not asked about. None: no objection.

    Example::

        from prouter.model.access import Refusal

        class Example:
            @hookimpl
            def prouter_before_file_write(self, record, write):
                return Refusal(f"{write.path}: no programs, please") if write.path.endswith(".exe") else None
    """


# --- a job runs ---


@hookspec(Kind.VETO)
def prouter_admit_start(record: JobRecord, request: StartRequest) -> Refusal | None:
    """Whether the owner of this machine lets this program run here.

    Asked at each start and restart, when the request has the form of one and before anything is done for it. A refusal
    is 403 with its reason, and the job stays as it is. None: no objection.

    Example::

        from prouter.model.access import Refusal

        class Example:
            @hookimpl
            def prouter_admit_start(self, record, request):
                return None if request.args[0] == "solve" else Refusal(f"{request.args[0]} may not run here")
    """


@hookspec(Kind.CHAIN, chained="env")
def prouter_job_environment(
    env: Mapping[str, str], record: JobRecord, request: StartRequest
) -> Mapping[str, str] | None:
    """What a job inherits of the agent's environment.

    Asked at each start, before the process is; what the start names comes on top afterwards. None leaves it as it is.
    If you fail, so does the start.

    Example::

        class Example:
            @hookimpl
            def prouter_job_environment(self, env, record, request):
                return {**env, "JOB_NAME": record.name}
    """


@hookspec(Kind.SETUP, deadline_seconds=300.0)
def prouter_job_ready(record: JobRecord) -> None:
    """The job's ports are served: return when it is ready in your eyes as well.

    Awaited at each start with ports, after the ports' own readiness and within the longest of their timeouts; the
    start is answered afterwards. If you raise, or it takes too long, the start fails and the job's tree is ended; raise
    StartFailed to say why.

    Example::

        class Example:
            @hookimpl
            async def prouter_job_ready(self, record):
                print(record.uid, "serves", ", ".join(record.ports))
    """
    raise NotImplementedError


@hookspec(Kind.CHAIN, chained="data")
def prouter_job_output(data: bytes, record: JobRecord, stream: OutputStream | None) -> bytes | None:
    """Change what clients see of a job's output. What is on the agent's disk, or forwarded to its own output, stays.

    Asked for each piece that is read, and for messages that quote the last lines (then `stream` can be None). A piece
    is whole lines of one stream, wherever a client begins to read: their beginnings are read again, and an end that is
    missing is waited for (`output.line_wait` seconds; of longer lines you see `output.line_bytes` bytes around what is
    read). So you are asked about the same bytes more than once: answer the same. What you return must have as many
    bytes, since clients go on by offset. None leaves it. If you fail, the reading does. No copies of the output are
    made in the sandbox where you are.

    Example::

        class Example:
            @hookimpl
            def prouter_job_output(self, data, record, stream):
                return data.replace(b"hunter2", b"*******")
    """


@hookspec(Kind.VETO)
def prouter_job_idle(record: JobRecord, idle_seconds: float) -> Refusal | None:
    """Whether a job that did nothing for `jobs.idle_timeout` may be stopped.

    Asked when it would be, and again as long later if anybody objects. None: no objection. If you fail, it goes on.

    Example::

        from prouter.model.access import Refusal

        class Example:
            @hookimpl
            def prouter_job_idle(self, record, idle_seconds):
                return Refusal("it is kept warm") if record.labels.get("keep") == "yes" else None
    """


@hookspec(Kind.NOTIFY)
def prouter_job_ended(record: JobRecord) -> None:
    """A job is over.

    Told when its whole tree is gone, whoever ended it.

    Example::

        class Example:
            @hookimpl
            def prouter_job_ended(self, record):
                print(record.uid, record.reason, record.exit_code)
    """


# --- around ---


@hookspec(Kind.NOTIFY)
def prouter_handle_exception(error: BaseException, about: str) -> None:
    """An exception that nobody expected: a mistake in prouter or in a plugin, with its traceback.

    Told where it was caught and logged (a hook, a route, an RPC method, a background task). Failures of this hook are
    not told.

    Example::

        class Example:
            @hookimpl
            def prouter_handle_exception(self, error, about):
                print(about, type(error).__name__)
    """


@hookspec(Kind.NOTIFY)
def prouter_news_missed(count: int) -> None:
    """You did not keep up with what notify hooks told you: so many were dropped here, before what you are told next.

    Told in the place of what was dropped.

    Example::

        class Example:
            @hookimpl
            def prouter_news_missed(self, count):
                print(count, "were missed")
    """


@hookspec(Kind.NOTIFY, deadline_seconds=10.0)
def prouter_shutdown() -> None:
    """The agent ends; its jobs are over by now.

    Asked in the reverse order of start-up, of those that were started; their tasks are cancelled afterwards.

    Example::

        class Example:
            @hookimpl
            async def prouter_shutdown(self):
                print("bye")
    """
