"""Every recording of two originals, with our machine in the place of either: it reads all, and sends the same bytes."""

from __future__ import annotations

import pytest
from recordings import GOLDEN, SCENARIOS, SIDES, Recorded, read
from replay import Replay

from prouter.rpc.events import (
    CallCancelled,
    CalleeClosed,
    CalleeSent,
    CallerClosed,
    CallerSent,
    CallFinished,
    CallStarted,
    Event,
    HelloReceived,
    WelcomeReceived,
)
from prouter.rpc.limits import Limits
from prouter.rpc.messages import decode, encode

CROSSED = {  # recording and side: how many of that side's messages the other had no use for any more
    ("download_cancelled", "agent"): 7,
    ("download_quick_close", "router"): 1,
    ("ws_echo_quick_close", "agent"): 1,
}


def told(event: Event) -> list[object]:
    """An event as the fields of the message that it came from; a result as a value that is not packed."""
    match event:
        case HelloReceived(user_data):
            return [1, user_data]
        case CallStarted(call_id, call_type, method, args, kwargs):
            return [2, call_id, int(call_type), method, args, kwargs]
        case CallCancelled(call_id):
            return [3, call_id]
        case CallerSent(call_id, data):
            return [4, call_id, data]
        case CallerClosed(call_id):
            return [5, call_id]
        case WelcomeReceived(connection_id, user_data):
            return [6, connection_id, user_data]
        case CallFinished(call_id, value, status, error):
            return [7, call_id, value, int(status), None if error is None else list(error)]
        case CalleeSent(call_id, data):
            return [8, call_id, data]
        case CalleeClosed(call_id):
            return [9, call_id]
    raise AssertionError(f"nothing in a recording means {event}")


def said(message: Recorded) -> list[object]:
    match message.fields:
        case [1, _, [1, None, user_data]]:
            return [1, user_data]
        case [6, _, [1, connection_id, user_data], 0, None]:
            return [6, connection_id, user_data]
        case [7, call_id, _, status, error]:
            return [7, call_id, message.result(), status, error]
    return message.fields


def test_all_recordings_are_here() -> None:
    assert len(SCENARIOS) == 36
    assert sum(len(read(scenario).messages) for scenario in SCENARIOS) == 715
    assert (GOLDEN / "README.md").exists()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_message_decodes_and_is_encoded_to_the_same_bytes(scenario: str) -> None:
    for message in read(scenario).messages:
        assert encode(decode(message.data, Limits()).message, len(message.data)) == message.data


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_machine_sends_what_the_original_sent(scenario: str, side: str) -> None:
    """Where it sends nothing the call was over already, for what the other said had crossed."""
    replay = Replay(read(scenario), side).run()
    unsent = [message for message, data in replay.outputs if data is None]
    assert all(data in (message.data, None) for message, data in replay.outputs)
    assert len(unsent) == CROSSED.get((scenario, side), 0), [message.fields[:2] for message in unsent]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_machine_tells_what_the_original_said(scenario: str, side: str) -> None:
    """One event for each message, none for what crossed with the end of its call."""
    replay = Replay(read(scenario), side).run()
    other = next(name for name in SIDES if name != side)
    silent = [message for message, events in replay.inputs if not events]
    for message, events in replay.inputs:
        assert [told(event) for event in events] in ([said(message)], [])
    assert len(silent) == CROSSED.get((scenario, other), 0), [message.fields[:2] for message in silent]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_call_is_left_at_the_end_of_a_recording(scenario: str, side: str) -> None:
    machine = Replay(read(scenario), side).run().machine
    assert not machine.incoming
    assert not machine.outgoing
