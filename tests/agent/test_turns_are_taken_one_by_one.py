"""Who waits for a turn has one as soon as it is free, nobody is woken for nothing, and no turn is lost."""

from __future__ import annotations

import asyncio

from prouter.agent.turns import Turns


class Walkers:
    """Each takes a turn and keeps it until it is let go."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.inside: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, number: int) -> None:
        self.gates[number] = asyncio.Event()
        self.tasks[number] = asyncio.create_task(self._walk(number))

    async def _walk(self, number: int) -> None:
        async with self.turns:
            self.inside.append(number)
            try:
                await self.gates[number].wait()
            finally:
                self.inside.remove(number)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_as_many_as_may_have_turns_and_the_others_follow_in_order() -> None:
    asked = 0

    def most() -> int:
        nonlocal asked
        asked += 1
        return 2

    walkers = Walkers(Turns(most))
    for number in range(20):
        walkers.begin(number)
    await settle()
    assert walkers.inside == [0, 1]
    for number in range(20):
        walkers.gates[number].set()
        await settle()
        assert walkers.inside == [each for each in (number + 1, number + 2) if each < 20]
    assert asked <= 60, "each looks at its coming, once more when it is woken, and whether there is one more behind it"


async def test_a_turn_is_not_lost_with_who_was_woken_for_it() -> None:
    walkers = Walkers(Turns(lambda: 1))
    for number in range(4):
        walkers.begin(number)
    await settle()
    walkers.tasks[2].cancel()  # while it waits
    walkers.gates[0].set()
    await asyncio.sleep(0)
    assert not walkers.inside
    walkers.tasks[1].cancel()  # it was woken and has not run
    await settle()
    assert walkers.inside == [3]
    walkers.gates[3].set()
    await asyncio.gather(*walkers.tasks.values(), return_exceptions=True)


async def test_fewer_turns_than_before_are_kept_to() -> None:
    most = 3
    walkers = Walkers(Turns(lambda: most))
    for number in range(6):
        walkers.begin(number)
    await settle()
    assert walkers.inside == [0, 1, 2]
    most = 1
    for number in (0, 1):
        walkers.gates[number].set()
        await settle()
    assert walkers.inside == [2]
    for number in range(2, 6):
        walkers.gates[number].set()
    await asyncio.wait_for(asyncio.gather(*walkers.tasks.values()), 10)


async def test_more_turns_than_before_are_all_taken() -> None:
    most = 1
    walkers = Walkers(Turns(lambda: most))
    for number in range(6):
        walkers.begin(number)
    await settle()
    most = 4
    walkers.gates[0].set()
    await settle()
    assert walkers.inside == [1, 2, 3, 4]
    for gate in walkers.gates.values():
        gate.set()
    await asyncio.wait_for(asyncio.gather(*walkers.tasks.values()), 10)


async def test_who_was_woken_and_overtaken_is_still_the_first() -> None:
    walkers = Walkers(Turns(lambda: 1))
    for number in range(3):
        walkers.begin(number)
    await settle()
    walkers.gates[0].set()
    walkers.begin(9)  # it runs behind the first one and before who was woken by it
    await settle()
    assert walkers.inside == [9]
    for left, follows in ((9, [1]), (1, [2]), (2, [])):
        walkers.gates[left].set()
        await settle()
        assert walkers.inside == follows
