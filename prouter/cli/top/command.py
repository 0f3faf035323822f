"""The command: what is asked how often, until somebody ends it. A router that is away is shown, and asked again."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from prouter.cli import asking
from prouter.cli.top import tables
from prouter.cli.top.asked import REFUSED, Moment, moment
from prouter.cli.top.rates import Rates
from prouter.errors import ProuterError, TimedOut

if TYPE_CHECKING:
    from prouter.cli.top.screen import Screen
    from prouter.client import Client

ABOUT = "Show a router's agents and jobs with what goes through them, kept up to date. Ctrl-C ends it."
LEAST_SECONDS = 0.2
PART = 0.25
"""Of the time, what asking may take: a router with many jobs is asked less often."""
NO_RICH = "prouter top needs rich to draw: pip install 'prouter[top]'; --once prints tables without it"


def run(words: Sequence[str]) -> int:
    parser = asking.make_parser("top", ABOUT)
    parser.add_argument("--once", action="store_true", help="print it as plain tables, after one interval, and end")
    parser.add_argument(
        "--interval", type=_seconds, default=2.0, metavar="SECONDS", help="between two looks (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="for the router to answer one look (default: %(default)s)",
    )
    given = parser.parse_args(words)
    if given.once:
        return asking.ask(given, lambda client: _once(client, given), answer_seconds=None)
    if not sys.stdout.isatty():
        print("prouter: standard output is no terminal; --once prints plain tables", file=sys.stderr)
        return 2
    try:
        import rich  # noqa: F401
    except ImportError:
        print(f"prouter: {NO_RICH}", file=sys.stderr)
        return 2

    def shown() -> int:
        return asyncio.run(_Top(given, asking.token(given.token_file)).run())

    return asking.told(shown, interrupted=0)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not LEAST_SECONDS <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from {LEAST_SECONDS} to 3600")
    return seconds


async def _once(client: Client, given: argparse.Namespace) -> str:
    rates = Rates()
    rates.add(await _look(client, given.timeout))
    await asyncio.sleep(given.interval)
    newest = await _look(client, given.timeout)
    rates.add(newest)
    return tables.plain(tables.router_lines(rates, newest, given.url), _tables(rates, newest))


async def _look(client: Client, seconds: float) -> Moment:
    """Raises TimedOut beside what `moment` does."""
    try:
        async with asyncio.timeout(seconds):
            return await moment(client)
    except TimeoutError:
        raise TimedOut(f"the router at {client.url} does not answer within {seconds:g} s (--timeout)") from None


def _tables(rates: Rates, newest: Moment) -> list[tables.Table]:
    return [tables.agents_table(rates, newest), tables.jobs_table(rates, newest)]


class _Top:
    """Looks and shows, for as long as it runs."""

    def __init__(self, given: argparse.Namespace, token: str | None) -> None:
        self._url: str = given.url
        self._token = token
        self._interval: float = given.interval
        self._timeout: float = given.timeout
        self._rates = Rates()
        self._wrong = ""
        self._well_at = 0.0
        self._wake = asyncio.Event()
        """The terminal has another size, or it ends."""
        self._ended = False

    async def run(self) -> int:
        """The exit status, once it was told to end. Raises ProuterError when the router refuses the first look."""
        from prouter.cli.top.screen import Screen
        from prouter.client import Client

        with self._signals(), Screen() as screen:
            async with Client(self._url, self._token) as client:
                looking = asyncio.create_task(self._look_on(client), name="looks")
                try:
                    await self._show_on(screen, looking)
                finally:
                    looking.cancel()
                    await asyncio.wait([looking])
        return 0

    async def _show_on(self, screen: Screen, looking: asyncio.Task[None]) -> None:
        looking.add_done_callback(lambda _: self._wake.set())
        while not self._ended:
            if looking.done():
                await looking  # raises what ended it
                return
            self._show(screen)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):  # ages go on while nothing is answered
                    await self._wake.wait()

    def _show(self, screen: Screen) -> None:
        newest = self._rates.newest
        if newest is None:
            wrong = f"{self._wrong}; asked again and again" if self._wrong else ""
            screen.show([f"prouter top  {self._url}", "" if wrong else "asking ..."], wrong, [])
            return
        wrong = ""
        if self._wrong:
            seconds = time.monotonic() - self._well_at
            wrong = f"{self._wrong}; what is shown is {seconds:.0f} s old"
        screen.show(tables.router_lines(self._rates, newest, self._url), wrong, _tables(self._rates, newest))

    async def _look_on(self, client: Client) -> None:
        import aiohttp

        while True:
            begun = time.monotonic()
            try:
                self._rates.add(await _look(client, self._timeout))
                self._wrong, self._well_at = "", time.monotonic()
            except ProuterError as error:
                if self._rates.newest is None and getattr(error, "http_status", 0) in REFUSED:
                    raise
                self._wrong = error.detail
            except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
                self._wrong = f"no router answers at {self._url} ({type(error).__name__})"
            self._wake.set()
            await asyncio.sleep(max(self._interval, (time.monotonic() - begun) / PART))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers: dict[str, Callable[[], None]] = dict.fromkeys(("SIGINT", "SIGTERM", "SIGHUP"), self._end)
        handlers["SIGWINCH"] = self._wake.set
        numbers = [getattr(signal, name) for name in handlers if hasattr(signal, name)]
        with contextlib.suppress(NotImplementedError):  # Windows: a KeyboardInterrupt ends it
            for number in numbers:
                loop.add_signal_handler(number, handlers[number.name])
        try:
            yield
        finally:
            with contextlib.suppress(NotImplementedError):
                for number in numbers:
                    loop.remove_signal_handler(number)

    def _end(self) -> None:
        self._ended = True
        self._wake.set()
