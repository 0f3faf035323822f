"""The agent's end of a pipe, on real sockets: which lines bind it, and that ends and resets pass as what they are."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from prouter.errors import PluginFailure
from prouter.pipe.agent_end import AgentPipe, PipeTimes
from prouter.pipe.bind import MAX_LINE_BYTES, BindRefused, JobBinding
from prouter.pipe.pair import JobSocket
from prouter.pipe.reset import half_close
from prouter.pluginkit.tasks import TaskOwner
from prouter.testing import eventually

LINK = 7
JOB = "0" * 32
BIND = f"job {JOB} http {LINK}\n".encode()
SECONDS = 10.0


class Ends:
    """The router's side of a pipe, and the job that listens behind it. Implements Targets."""

    def __init__(self) -> None:
        self.tasks = TaskOwner("test")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.dying: bool | str = False
        """Whether the job is being killed when its stream ends."""
        self.small_buffers = False
        """The kernel takes little for the job, as on a unix socket."""
        self.told_late = False
        """Who connects has the connection later than what comes on it, as on uvloop."""
        self.over = asyncio.Event()
        self.router: socket.socket
        self.accepted: asyncio.BaseTransport
        self.server: asyncio.Server

    async def open(self) -> None:
        times = PipeTimes(bind_seconds=0.3, connect_seconds=2, half_close_seconds=0.3)
        loop = asyncio.get_running_loop()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                ends.accepted = transport
                pipe = AgentPipe(transport, LINK, ends, ends.tasks, times, lambda _: ends.over.set())  # type: ignore
                pipe.begin(b"")

        ends = self
        self.server = await loop.create_server(Accepted, "127.0.0.1", 0)
        self.router = socket.create_connection(self.server.sockets[0].getsockname())
        self.router.setblocking(False)

    def job(self, binding: JobBinding) -> JobSocket | BindRefused:
        if binding.port != "http":
            return BindRefused(404, "the job has no such port")
        loop, (host, port) = asyncio.get_running_loop(), self.listener.getsockname()

        async def is_cut() -> bool:
            if self.dying == "who knows":
                raise PluginFailure("some driver", "exiting", "it did not answer")
            return self.dying is True

        async def connect(made: Callable[[], asyncio.Protocol]) -> object:
            if not self.small_buffers:
                connected = await loop.create_connection(made, host, port)
                await asyncio.sleep(0.2 if self.told_late else 0)
                return connected
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            connection.setblocking(False)
            await loop.sock_connect(connection, (host, port))
            return await loop.create_connection(made, sock=connection)

        return JobSocket(connect, is_cut)

    served = 0

    def serving(self) -> list[asyncio.Transport]:
        return []

    def serve(self, transport: asyncio.Transport, leftover: bytes) -> None:
        transport.write(b"served " + leftover)
        transport.close()

    async def bound(self, rest: bytes = b"") -> socket.socket:
        """The job's connection, once the pipe is bound."""
        await self.send(self.router, BIND + rest)
        job, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        assert await self.receive(self.router, 3) == b"ok\n"
        return job

    async def send(self, to: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(to, data)

    async def receive(self, of: socket.socket, count: int = 65536) -> bytes:
        """b"" for FIN. Raises ConnectionResetError."""
        async with asyncio.timeout(SECONDS):
            return await asyncio.get_running_loop().sock_recv(of, count)

    async def everything(self, of: socket.socket) -> bytes:
        data = b""
        while part := await self.receive(of):
            data += part
        return data


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    await made.open()
    yield made
    for opened in (made.listener, made.router, made.server):
        opened.close()
    async with asyncio.timeout(SECONDS):
        await made.over.wait()
    await made.tasks.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (f"job {JOB} other {LINK}\n", b"no 404 "),
        (f"job {JOB} http {LINK - 1}\n", b"no 503 the line is of another link"),
        (f"agent {LINK - 1}\n", b"no 503 "),
        ("job\n", b"no 400 "),
        ("GET / HTTP/1.1\n", b"no 400 "),
        ("job \xff http 7\n", b"no 400 "),
    ],
)
async def test_a_line_that_binds_to_nothing_is_refused_and_the_pipe_closes(
    ends: Ends, line: str, verdict: bytes
) -> None:
    await ends.send(ends.router, line.encode("latin-1") + b"GET / HTTP/1.1\r\n\r\n")
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        answer = await ends.receive(ends.router)
        assert await ends.receive(ends.router) == b""
    assert answer.startswith(verdict)


async def test_a_port_where_nothing_listens_is_502(ends: Ends) -> None:
    nowhere = socket.create_server(("127.0.0.1", 0))
    ends.listener.close()
    ends.listener, closed = socket.create_server(("127.0.0.1", 0)), nowhere.getsockname()
    nowhere.close()
    ends.job = lambda binding: JobSocket(  # type: ignore[method-assign]
        lambda made: asyncio.get_running_loop().create_connection(made, *closed), _never
    )
    await ends.send(ends.router, BIND)
    assert (await ends.everything(ends.router)).startswith(b"no 502 nothing answers at the job's port")


async def _never() -> bool:
    return False


@pytest.mark.parametrize("line", [b"job " + b"x" * MAX_LINE_BYTES, b"job x"])
async def test_a_line_that_is_too_long_or_never_ends_closes_the_pipe(ends: Ends, line: bytes) -> None:
    await ends.send(ends.router, line)
    with contextlib.suppress(ConnectionResetError):
        assert await ends.receive(ends.router) == b""


async def test_a_line_may_come_in_pieces_with_bytes_behind_it(ends: Ends) -> None:
    for byte in BIND[:-1]:
        await ends.send(ends.router, bytes((byte,)))
        await asyncio.sleep(0)
    await ends.send(ends.router, b"\nbehind")
    job, _ = await asyncio.get_running_loop().sock_accept(ends.listener)
    with contextlib.closing(job):
        assert await ends.receive(job) == b"behind"
    assert await ends.everything(ends.router) == b"ok\n"
    ends.router.close()


async def test_a_job_that_reads_nothing_of_what_came_with_the_line_is_waited_for(ends: Ends) -> None:
    """What came with the line is more than the kernel takes: from then on the rest stays with the router."""
    ends.small_buffers = True
    ends.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    piece = bytes(range(256)) * 4096
    await ends.send(ends.router, BIND + piece)
    job, _ = await asyncio.get_running_loop().sock_accept(ends.listener)
    sent = len(piece)
    with contextlib.closing(job):
        assert await ends.receive(ends.router, 3) == b"ok\n"
        with contextlib.suppress(TimeoutError):
            for _ in range(64):
                async with asyncio.timeout(0.5):
                    await ends.send(ends.router, piece)
                sent += len(piece)
        assert sent < 32 * len(piece), "all is taken for a job that reads nothing"
        got = 0
        while got < len(piece):
            data = await ends.receive(job)
            assert data == (piece + piece)[got % 256 :][: len(data)]
            got += len(data)
        assert failed == []


async def test_a_reset_of_the_pipe_is_noticed_behind_bytes_that_the_job_does_not_read(ends: Ends) -> None:
    job = await ends.bound()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while True:
                await ends.send(ends.router, bytes(65536))
    reset(ends.router)
    async with asyncio.timeout(SECONDS):
        await ends.over.wait()
    with contextlib.closing(job), pytest.raises(ConnectionResetError):
        await ends.everything(job)


async def test_the_agents_own_service_gets_the_pipe_with_what_followed(ends: Ends) -> None:
    await ends.send(ends.router, f"agent {LINK}\n".encode() + b"rest")
    assert await ends.everything(ends.router) == b"ok\nserved rest"


async def test_an_end_is_passed_on_as_an_end_and_the_other_way_stays_open(ends: Ends) -> None:
    with contextlib.closing(await ends.bound(b"ask")) as job:
        ends.router.shutdown(socket.SHUT_WR)
        assert await ends.everything(job) == b"ask"
        await ends.send(job, b"answer")
        job.shutdown(socket.SHUT_WR)
        assert await ends.everything(ends.router) == b"answer"
    async with asyncio.timeout(SECONDS):
        await ends.over.wait()


async def test_after_one_end_silence_closes_both(ends: Ends) -> None:
    with contextlib.closing(await ends.bound()) as job:
        job.shutdown(socket.SHUT_WR)
        assert await ends.receive(ends.router) == b""
        assert await ends.receive(job) == b""


async def test_a_reset_by_the_job_is_a_reset_of_the_pipe(ends: Ends) -> None:
    reset(await ends.bound())
    with pytest.raises(ConnectionResetError):
        await ends.receive(ends.router)


async def test_a_reset_of_the_pipe_is_a_reset_for_the_job(ends: Ends) -> None:
    with contextlib.closing(await ends.bound()) as job:
        reset(ends.router)
        with pytest.raises(ConnectionResetError):
            await ends.receive(job)


@pytest.mark.parametrize("dying", [True, "who knows"])
async def test_an_end_of_a_job_that_is_being_killed_is_a_reset(ends: Ends, dying: bool | str) -> None:
    ends.dying = dying
    job = await ends.bound()
    job.close()
    with pytest.raises(ConnectionResetError):
        await ends.everything(ends.router)


async def test_a_half_close_towards_a_peer_that_reset_just_now_is_no_error() -> None:
    """The kernel knows of the reset, the event loop does not yet."""
    listener = socket.create_server(("127.0.0.1", 0))
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, *listener.getsockname())
    peer, _ = listener.accept()
    listener.close()
    reset(peer)
    half_close(transport)
    assert transport.is_closing()
    await asyncio.sleep(0)


@pytest.mark.parametrize("last", [b"", b"and that is all"])
async def test_what_a_job_says_before_anybody_asked_arrives(ends: Ends, last: bytes) -> None:
    """Also when it is there before who connected knows that it is connected."""
    ends.told_late = True
    await ends.send(ends.router, BIND)
    job, _ = await asyncio.get_running_loop().sock_accept(ends.listener)
    await ends.send(job, b"220 ready\r\n" + last)
    if last:
        job.shutdown(socket.SHUT_WR)
    expected = b"ok\n220 ready\r\n" + last
    data = b""
    while len(data) < len(expected):
        part = await ends.receive(ends.router)
        assert part, data
        data += part
    assert data == expected
    if last:
        assert await ends.receive(ends.router) == b""
        await ends.send(ends.router, b"bye")
        assert await ends.receive(job) == b"bye"
    ends.router.close()
    job.close()


async def test_a_job_that_hangs_up_before_anybody_asked_is_a_cut(ends: Ends) -> None:
    ends.told_late = True
    await ends.send(ends.router, BIND)
    job, _ = await asyncio.get_running_loop().sock_accept(ends.listener)
    reset(job)
    with pytest.raises(ConnectionResetError):
        await ends.everything(ends.router)


async def test_a_router_that_vanished_without_a_word_is_noticed(ends: Ends) -> None:
    """A pipe that is kept for the next request is silent for as long as it likes, and its job's connection with it."""
    job = await ends.bound()
    pipe = ends.accepted.get_extra_info("socket")
    assert pipe.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert pipe.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
    reset(ends.router)
    job.close()


async def test_a_job_that_never_reads_what_came_before_the_end_does_not_hold_its_connection_for_ever(
    ends: Ends,
) -> None:
    ends.small_buffers = True
    ends.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    job = await ends.bound(b"x" * 30_000)
    ends.router.shutdown(socket.SHUT_WR)
    job.shutdown(socket.SHUT_WR)
    assert await ends.receive(ends.router) == b""
    await eventually(lambda: job.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), seconds=SECONDS, what="its reset")
    job.close()
