"""What commands have in common that ask a running router something: where it is, the token, how a failure is told.

Does not belong here: what is asked (one module a command). Light until a command asks: no aiohttp for --help.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prouter.errors import ConfigError, ProuterError

if TYPE_CHECKING:
    from prouter.client import Client

URL = "http://127.0.0.1:8080"
"""Where `prouter up` listens."""
ANSWER_SECONDS = 60.0


def make_parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"prouter {command}",
        description=description,
        epilog="The token can be in the environment, too, as PROUTER_TOKEN, and the address as PROUTER_URL.",
        allow_abbrev=False,
    )
    url = os.environ.get("PROUTER_URL") or URL
    parser.add_argument("--url", default=url, help="of the router's control endpoint (default: %(default)s)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file that holds the router's token")
    return parser


def ask(
    given: argparse.Namespace,
    question: Callable[[Client], Awaitable[str]],
    answer_seconds: float | None = ANSWER_SECONDS,
) -> int:
    """Prints the answer. Exit status: 1 when the router refuses or does not answer, 2 for a token that is none.

    `answer_seconds`: for the whole question; None, where it has bounds of its own.
    """

    def answered() -> int:
        print(asyncio.run(_asked(given.url, token(given.token_file), question, answer_seconds)))
        return 0

    return told(answered)


def told(work: Callable[[], int], *, interrupted: int = 130) -> int:
    """The exit status of `work`; what went wrong is told in a line, and is 2 for what was given, else 1."""
    try:
        return work()
    except ConfigError as error:
        print(f"prouter: {error.detail}", file=sys.stderr)
        return 2
    except ProuterError as error:
        print(f"prouter: {error.detail}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return interrupted


async def _asked(
    url: str, secret: str | None, question: Callable[[Client], Awaitable[str]], seconds: float | None
) -> str:
    import aiohttp

    from prouter.client import Client

    try:
        async with asyncio.timeout(seconds), Client(url, secret) as client:
            return await question(client)
    except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
        raise ProuterError(f"no router answers at {url} ({type(error).__name__}); --url says where it is") from error


def token(file: Path | None) -> str | None:
    """The one that is in the file, or in the environment. Raises ConfigError."""
    if file is None:
        return os.environ.get("PROUTER_TOKEN") or None
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([f"--token-file: {file} can not be read: {why}"]) from None
    tokens = [line for line in lines if line and not line.startswith("#")]
    if len(tokens) != 1:
        raise ConfigError([f"--token-file: {file} holds {len(tokens)} tokens; one is needed"])
    return tokens[0]
