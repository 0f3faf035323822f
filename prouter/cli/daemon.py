"""Running an app as a process: the loop, signals, exit statuses. Everything POSIX-only of the command line is here."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 -- else imported by the first thread, which fails without descriptors
import contextlib
import errno
import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from prouter.cli import hangup, logs
from prouter.errors import ConfigError, ProuterError, StartupError
from prouter.pluginkit.descriptors import raise_limit
from prouter.pluginkit.seldom import SeldomLog

log = logging.getLogger(__name__)

STUBBORN_SECONDS = 2.0
"""For what still runs when all has ended, to take its cancellation."""


class App(Protocol):
    """A daemon."""

    stop_seconds: float
    """The most that `stop` may take; then the process ends without the rest of it."""

    async def start(self) -> None: ...

    async def serve_until_stopped(self) -> None: ...

    def request_stop(self) -> None: ...

    def request_reload(self) -> None: ...

    async def stop(self) -> None: ...


def run(make: Callable[[], App]) -> int:
    """Until the app is told to end. Prints what a person has to know about a start that failed."""
    try:
        raise_limit()
        _run_loop(_serve(make))
    except ConfigError as error:
        for mistake in error.mistakes:
            logs.tell_failed_start(mistake)
        return 2
    except StartupError as error:
        logs.tell_failed_start(error.detail)
        return 1
    except ProuterError as error:  # a plugin, mostly
        logs.tell_failed_start(f"can not start: {error.detail}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(make: Callable[[], App]) -> None:
    app = make()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_LoopErrors())
    interrupted = 0

    def interrupt() -> None:
        nonlocal interrupted
        interrupted += 1
        if interrupted > 1:
            log.warning("told to end a second time: ending at once")
            logging.shutdown()
            os._exit(1)
        app.request_stop()

    with _signals(loop, interrupt):
        await app.start()
        with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no SIGHUP
            loop.add_signal_handler(signal.SIGHUP, app.request_reload)
        if hangup.came():
            app.request_reload()
        try:
            await app.serve_until_stopped()
        finally:
            _end_in_time(app.stop_seconds)
            await app.stop()
    _keep_status()


def _keep_status() -> None:
    """It ended well: who tells it to end from now on changes nothing, but that it does not wait for stuck threads."""

    def end(*_: object) -> None:
        logging.shutdown()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    atexit.register(signal.signal, signal.SIGTERM, signal.SIG_IGN)  # threads are gone, and so is Python in a moment


def _end_in_time(seconds: float) -> None:
    """Whatever does not end, and holds the event loop or another thread, holds the process up no longer than this."""

    def end() -> None:
        log.warning("ending took longer than %g s: the process ends, what still runs is left", seconds)
        logging.shutdown()
        os._exit(0)

    if seconds < math.inf:
        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()


class _LoopErrors:
    """What the loop could tell nobody. That no connection can be accepted it says a thousand times a second."""

    def __init__(self) -> None:
        self._seldom = SeldomLog(log)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self._seldom.warn("no connection can be taken now: %s", error.strerror)
        elif isinstance(error, ValueError) and "_start_serving" in str(context.get("message")):
            log.debug("a listener closed while it could take no connection")  # asyncio tries it again a second later
        else:
            loop.default_exception_handler(context)


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, interrupt: Callable[[], None]) -> Any:
    """SIGINT and SIGTERM end the app; where the loop can not watch signals (Windows) they come by signal.signal."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in numbers:
            loop.add_signal_handler(number, interrupt)
    except NotImplementedError:
        for number in numbers:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(interrupt))
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)


def _run_loop(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where it is installed (the extra `fast`) and PROUTER_NO_UVLOOP is not set."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if not os.environ.get("PROUTER_NO_UVLOOP"):
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:
            pass
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            runner.run(main)
        finally:
            _leave_stubborn_tasks(runner.get_loop())


def _leave_stubborn_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """A task of a plugin that takes no cancellation would hold up the end of the process for ever."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    _, stubborn = loop.run_until_complete(asyncio.wait(tasks, timeout=STUBBORN_SECONDS))
    for task in stubborn:
        log.warning("%s did not end; the process ends without it", task.get_name())
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is said already
        asyncio._unregister_task(task)  # what the runner waits for
