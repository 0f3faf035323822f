"""Two machines over a line that keeps the order, holds messages for as long as it likes, and may be cut at any time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from two_ends import opened

from prouter.rpc.events import (
    CallCancelled,
    CalleeClosed,
    CalleeSent,
    CallerClosed,
    CallerSent,
    CallFinished,
    CallStarted,
    Event,
)
from prouter.rpc.messages import CallType, ErrorInfo, Status

VALUES = st.one_of(st.integers(-(2**63), 2**64 - 1), st.binary(max_size=20), st.text(max_size=9), st.booleans())
ENDS = st.integers(0, 1)
CHOICE = st.integers(0, 2**16)


@dataclass
class Story:
    """One call: what was said by whom, and which of it was heard."""

    caller: int
    call_id: int
    call_type: CallType
    said: dict[int, list[object]] = field(default_factory=lambda: {0: [], 1: []})
    heard: dict[int, list[object]] = field(default_factory=lambda: {0: [], 1: []})
    closed: set[int] = field(default_factory=set)
    started: bool = False
    over: set[int] = field(default_factory=set)
    """Ends at which nothing more may be heard or said."""

    def may_stream(self, end: int) -> bool:
        streams = self.call_type.caller_streams if end == self.caller else self.call_type.callee_streams
        return streams and end not in self.closed and end not in self.over


class TwoEnds(RuleBasedStateMachine):
    """Calls in both directions at once; what is heard is what was said, in order, or its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = opened()
        self.line: dict[int, deque[bytes]] = {0: deque(), 1: deque()}
        """By the end that is to receive."""
        self.stories: dict[tuple[int, int], Story] = {}
        self.cut = False

    def send(self, end: int, data: bytes | None) -> bool:
        if data is not None:
            self.line[1 - end].append(data)
        return data is not None

    def pick(self, end: int, choice: int, *, caller: bool) -> Story | None:
        mine = [s for s in self.stories.values() if (s.caller == end) is caller and (caller or s.started)]
        return mine[choice % len(mine)] if mine else None

    @precondition(lambda self: not self.cut)
    @rule(end=ENDS, call_type=st.sampled_from(CallType), args=st.lists(VALUES, max_size=3))
    def start(self, end: int, call_type: CallType, args: list[object]) -> None:
        call_id, data = self.ends[end].start_call(call_type, "method", args, {"n": 1})
        assert (end, call_id) not in self.stories
        story = self.stories[end, call_id] = Story(end, call_id, call_type)
        story.said[end].append(("start", args))
        self.send(end, data)

    @rule(end=ENDS, choice=CHOICE, as_caller=st.booleans(), value=VALUES)
    def stream(self, end: int, choice: int, as_caller: bool, value: object) -> None:
        story = self.pick(end, choice, caller=as_caller)
        if story is not None and story.may_stream(end):
            machine = self.ends[end]
            act = machine.send_to_callee if as_caller else machine.send_to_caller
            assert self.send(end, act(story.call_id, value)) is not self.cut
            story.said[end].append(value)

    @rule(end=ENDS, choice=CHOICE, as_caller=st.booleans())
    def close(self, end: int, choice: int, as_caller: bool) -> None:
        story = self.pick(end, choice, caller=as_caller)
        if story is not None and story.may_stream(end):
            machine = self.ends[end]
            act = machine.close_to_callee if as_caller else machine.close_to_caller
            assert self.send(end, act(story.call_id)) is not self.cut
            story.said[end].append("closed")
            story.closed.add(end)

    @rule(end=ENDS, choice=CHOICE)
    def cancel(self, end: int, choice: int) -> None:
        story = self.pick(end, choice, caller=True)
        if story is not None:
            sent = self.send(end, self.ends[end].cancel_call(story.call_id))
            assert sent is (end not in story.over and not self.cut)
            if sent:
                story.said[end].append("cancelled")
            story.over.add(end)

    @rule(end=ENDS, choice=CHOICE, value=VALUES, fails=st.booleans())
    def finish(self, end: int, choice: int, value: object, fails: bool) -> None:
        story = self.pick(end, choice, caller=False)
        if story is not None:
            machine, error = self.ends[end], ErrorInfo("it failed", "ValueError", "failed", "")
            data = (
                machine.fail_call(story.call_id, Status.METHOD_RAISED, error)
                if fails
                else machine.finish_call(story.call_id, value)
            )
            sent = self.send(end, data)
            assert sent is (end not in story.over and not self.cut)
            if sent:
                story.said[end].append(("result", None if fails else value, error if fails else None))
            story.over.add(end)

    @rule(end=ENDS, count=st.integers(1, 5))
    def deliver(self, end: int, count: int) -> None:
        for _ in range(min(count, len(self.line[end]))):
            for event in self.ends[end].receive(self.line[end].popleft()):
                self.hear(end, event)

    @rule()
    def cut_the_line(self) -> None:
        for end in (0, 1):
            self.ends[end].close()
            self.line[end].clear()
        self.cut = True

    def hear(self, end: int, event: Event) -> None:
        caller = 1 - end if isinstance(event, CallStarted | CallCancelled | CallerSent | CallerClosed) else end
        story = self.stories[caller, event.call_id]
        assert end not in story.over, f"{event} came after the end of its call"
        assert story.started is not isinstance(event, CallStarted)
        match event:
            case CallStarted():
                story.started = True
                heard: object = ("start", event.args)
            case CallerSent() | CalleeSent():
                heard = event.data
            case CallerClosed() | CalleeClosed():
                heard = "closed"
            case CallCancelled():
                heard = "cancelled"
            case CallFinished():
                heard = ("result", event.value, event.error)
            case _:
                raise AssertionError(f"{event} between two ends that keep the rules")
        if isinstance(event, CallCancelled | CallFinished):
            story.over.add(end)
        story.heard[end].append(heard)

    @invariant()
    def what_is_heard_is_the_beginning_of_what_was_said(self) -> None:
        for story in self.stories.values():
            for end in (0, 1):
                heard = story.heard[end]
                assert heard == story.said[1 - end][: len(heard)]

    @invariant()
    def calls_under_way_are_those_that_are_not_over(self) -> None:
        for end, machine in enumerate(self.ends):
            mine = {s.call_id for s in self.stories.values() if s.caller == end and end not in s.over}
            theirs = {s.call_id for s in self.stories.values() if s.caller != end and s.started and end not in s.over}
            assert set(machine.outgoing) == (set() if self.cut else mine)
            assert set(machine.incoming) == (set() if self.cut else theirs)

    def teardown(self) -> None:
        """When all that is under way has come, both ends agree which calls are over."""
        while any(self.line.values()):
            self.deliver(0, 5)
            self.deliver(1, 5)
        for end in (0, 1):
            assert set(self.ends[end].outgoing) == set(self.ends[1 - end].incoming)


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
