"""The terminal, by rich: tables that fit it, what is wrong in a line of its own. Imported only where it is used."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from prouter.cli.top.tables import GAP, Table

STYLES = {"bad": "bold red", "quiet": "dim", "": ""}
NARROWEST = 20
MIN_ROWS = 3
"""Of each table, whatever the terminal's height."""


class Screen:
    """The whole terminal while it is open; what was there before is there again afterwards."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False, transient=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, lines: Sequence[str], wrong: str, tables: Sequence[Table]) -> None:
        width, height = max(NARROWEST, self._console.width), self._console.height
        self._live.update(picture(lines, wrong, tables, width, height), refresh=True)


def picture(lines: Sequence[str], wrong: str, tables: Sequence[Table], width: int, height: int) -> RenderableType:
    """All of it, cut to the terminal's size; a table that needs less rows than its part leaves them to the last one."""
    parts: list[RenderableType] = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
    if wrong:
        parts.append(Text(wrong, style="bold red", overflow="fold"))
    left = height - len(lines) - (2 if wrong else 0)
    for number, table in enumerate(tables):
        others = len(tables) - number - 1
        room = max(MIN_ROWS, left // (others + 1) - 3 if others else left - 3)
        parts += [Text(), _drawn(table.fitting(width), room)]
        left -= min(room, len(table.rows)) + 3
    return Group(*parts)


def _drawn(table: Table, room: int) -> RenderableType:
    shown = table.rows if len(table.rows) <= room else table.rows[: room - 1]
    drawn = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), collapse_padding=True, show_edge=False)
    for number, column in enumerate(table.columns):
        drawn.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=min(column.width, len(column.title)) if number else None,
            max_width=column.width,
            header_style="bold",
        )
    for row in shown:
        drawn.add_row(*map(Text, row.cells), style=STYLES[row.mood])
    more = [Text(f"… {len(table.rows) - len(shown)} more", style="dim")] if len(shown) < len(table.rows) else []
    return Group(Text(table.title, style="bold cyan"), drawn, *more)
