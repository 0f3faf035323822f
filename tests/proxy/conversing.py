"""One client's connection with requests of any_order.py: sent in any pieces; what comes is read and judged."""

from __future__ import annotations

import contextlib
import itertools

from any_order import Asked
from exchanges import Seen, read_answers
from machine import FIN, RESET
from proxied import Proxied


async def answers(job: Proxied, asked: list[Asked], ahead: bool, cuts: list[float]) -> tuple[list[Seen], bytes, str]:
    """What a client sees, what it can not understand of it, and how its connection ended."""
    methods = [each.method for each in asked]
    data, ended = b"", ""
    whole = b"".join(each.data for each in asked)
    places = sorted({int(cut * len(whole)) for cut in cuts} | {0, len(whole)})
    pieces = [whole[begin:end] for begin, end in itertools.pairwise(places)]
    async with job.wired() as wire:
        for number, each in enumerate(asked):
            with contextlib.suppress(ConnectionError):  # what was answered before is read all the same
                for piece in [each.data] if not ahead else [] if number else pieces:
                    await wire.send(piece)
            while not ended and whole_answers(data, methods) <= number:
                try:
                    part = await wire.some()
                    data, ended = data + part, "" if part else FIN
                except ConnectionError:
                    ended = RESET
        if not ended:
            left, how = await wire.rest()
            data, ended = data + left, FIN if how == "end" else RESET
    return *read_answers(data, methods, ended), ended


def whole_answers(data: bytes, methods: list[str]) -> int:
    return sum(answer.whole for answer in read_answers(data, methods, "")[0])


def check(asked: list[Asked], seen: list[Seen], ended: str) -> None:
    """Each answer is that of its request, and the last one says that it is, or is cut."""
    for number, (wanted, answer) in enumerate(zip(asked, seen, strict=False)):
        last = number == len(asked) - 1
        said_close = answer.lines.get("connection", "").lower() == "close"
        over = number == len(seen) - 1
        if wanted.cut and answer.status != 502:
            assert (answer.status, answer.whole, over) == (200, False, True)
            assert wanted.begins is None or wanted.begins.startswith(answer.body)
            return
        assert answer.whole
        assert answer.status == (502 if wanted.cut else wanted.status)
        assert wanted.begins is None or wanted.cut or answer.body.startswith(wanted.begins)
        assert wanted.ends is None or wanted.cut or said_close == (wanted.ends or last)
        assert not said_close or over
        if said_close:
            return
    assert ended == RESET, "it ended, and no answer says why"
    assert any(each.cut for each in asked), "a reset may eat what was answered before, so it must have a reason"
