"""Running an app as a process: the loop, signals, exit statuses. Everything POSIX-only of the command line is here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from prouter.errors import ConfigError, ProuterError, StartupError

log = logging.getLogger(__name__)

DESCRIPTORS_WANTED = 65536


class App(Protocol):
    """A daemon."""

    async def start(self) -> None: ...

    async def serve_until_stopped(self) -> None: ...

    def request_stop(self) -> None: ...

    def request_reload(self) -> None: ...

    async def stop(self) -> None: ...


def run(make: Callable[[], App]) -> int:
    """Until the app is told to end. Prints what a person has to know about a start that failed."""
    try:
        raise_descriptor_limit()
        _run_loop(_serve(make))
    except ConfigError as error:
        for mistake in error.mistakes:
            print(f"prouter: {mistake}", file=sys.stderr)
        return 2
    except StartupError as error:
        print(f"prouter: {error.detail}", file=sys.stderr)
        return 1
    except ProuterError as error:  # a plugin, mostly
        print(f"prouter: can not start: {error.detail}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(make: Callable[[], App]) -> None:
    app = make()
    loop = asyncio.get_running_loop()
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
        with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no SIGHUP
            loop.add_signal_handler(signal.SIGHUP, app.request_reload)
        await app.start()
        try:
            await app.serve_until_stopped()
        finally:
            await app.stop()


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
        runner.run(main)


def raise_descriptor_limit() -> None:
    """The soft limit to what the hard one allows: a connection is a descriptor. Nothing where there is none."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
