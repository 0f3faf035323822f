"""A command in a pseudo-terminal: what it draws, read as a person would see it, whose size can change."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Mapping

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
HOME = "\x1b[H"
"""With which each picture begins."""
ENTER, LEAVE, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


class Terminal:
    def __init__(self, process: subprocess.Popen[bytes], master: int, lines: int) -> None:
        self.process = process
        self.lines = lines
        self.raw = ""
        """All that came."""
        self._master = master

    @property
    def screen(self) -> list[str]:
        """The lines of the last picture that is whole, without colours."""
        pictures = [ESCAPE.sub("", picture).replace("\r", "").split("\n") for picture in self.raw.split(HOME)]
        whole = [picture for picture in pictures if len(picture) >= self.lines]
        return [line.rstrip() for line in whole[-1]] if whole else []

    @property
    def text(self) -> str:
        return "\n".join(self.screen)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", self.lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            self.raw += os.read(self._master, 65536).decode("utf-8", "replace")


@contextlib.asynccontextmanager
async def terminal(
    *words: str, columns: int = 120, lines: int = 24, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Terminal]:
    """`prouter WORDS` in a terminal of that size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    loop = asyncio.get_running_loop()
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}

    def its_own() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "prouter", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=env | {"TERM": "xterm-256color"} | dict(environ or {}),
        preexec_fn=its_own,
    )
    os.close(slave)
    seen = Terminal(process, master, lines)
    loop.add_reader(master, seen.read)
    try:
        yield seen
    finally:
        loop.remove_reader(master)
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)
