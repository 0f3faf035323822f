"""The machine as a playbook: what may come when, and what it means."""

from __future__ import annotations

import msgpack
import pytest
from two_ends import ORIGINAL, OURS, ends, hand, only, opened

from prouter.errors import InvalidRequest, LocalProtocolError, RemoteProtocolError, TooLarge
from prouter.rpc.events import (
    CallCancelled,
    CalleeClosed,
    CalleeSent,
    CallerClosed,
    CallerSent,
    CallFinished,
    CallStarted,
    Dropped,
    HelloReceived,
    Refused,
    WelcomeReceived,
)
from prouter.rpc.limits import Limits
from prouter.rpc.machine import MAX_ERROR_CHARACTERS, State
from prouter.rpc.messages import CallType, ErrorInfo, Status


def packed(*fields: object) -> bytes:
    return bytes(msgpack.packb(fields, use_bin_type=True))


def test_the_handshake_opens_the_link() -> None:
    near, far = ends()
    assert only(hand(near.hello(OURS), far)) == HelloReceived(OURS)
    assert (near.state, far.state) == (State.HANDSHAKE, State.HANDSHAKE)
    assert only(hand(far.welcome("c" * 32, ORIGINAL), near)) == WelcomeReceived("c" * 32, ORIGINAL)
    assert (near.state, far.state) == (State.OPEN, State.OPEN)
    assert (near.peer, far.peer) == (ORIGINAL, OURS)


def test_a_refusal_closes_the_link() -> None:
    near, _ = ends()
    near.hello(OURS)
    assert only(near.receive(packed(6, 1, None, 30, ["no"]))) == Refused(ErrorInfo("no"))
    assert near.state is State.CLOSED
    assert near.receive(b"anything") == []


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 7, 8, 9])
def test_before_the_handshake_all_else_is_dropped(kind: int) -> None:
    for machine in ends():
        assert isinstance(only(machine.receive(packed(kind, 1))), Dropped)
        assert machine.state is State.HANDSHAKE


def test_a_handshake_at_the_wrong_end_or_time_is_dropped() -> None:
    near, far = ends()
    hello = near.hello(OURS)
    assert isinstance(only(near.receive(hello)), Dropped)
    far.receive(hello)
    assert isinstance(only(far.receive(hello)), Dropped)
    welcome = far.welcome("c" * 32, OURS)
    assert isinstance(only(near.receive(packed(6, 99, [1, "c" * 32, {}], 0, None))), Dropped)
    near.receive(welcome)
    for machine, message in ((near, welcome), (near, hello), (far, hello), (far, welcome)):
        assert isinstance(only(machine.receive(message)), Dropped)


def test_nothing_may_be_said_at_the_wrong_time() -> None:
    near, far = ends()
    wrong = [lambda: near.start_call(CallType.UNARY, "m", [], {}), lambda: far.welcome("c", {}), lambda: far.hello({})]
    near.hello(OURS)
    for act in [*wrong, lambda: near.hello({}), lambda: near.welcome("c", {})]:
        with pytest.raises(LocalProtocolError):
            act()


@pytest.mark.parametrize("caller", [0, 1])
def test_both_ends_may_call(caller: int) -> None:
    pair = opened()
    ours, theirs = pair[caller], pair[1 - caller]
    call_id, start = ours.start_call(CallType.UNARY, "add", [1, b"x"], {"k": None})
    assert call_id == (2, 7)[caller]
    heard = only(theirs.receive(start))
    assert isinstance(heard, CallStarted)
    assert (heard.call_id, heard.call_type) == (call_id, CallType.UNARY)
    assert (heard.method, heard.args, heard.kwargs) == ("add", [1, b"x"], {"k": None})
    assert only(hand(theirs.finish_call(call_id, {"sum": 3}), ours)) == CallFinished(
        call_id, {"sum": 3}, Status.SUCCESS, None
    )
    assert not ours.outgoing
    assert not theirs.incoming


def test_a_result_is_packed_twice() -> None:
    near, far = opened()
    call_id, start = near.start_call(CallType.UNARY, "m", [], {})
    far.receive(start)
    assert far.finish_call(call_id, None).hex() == f"95070{call_id}c401c000c0"
    assert far.finish_call(call_id, None) is None
    with pytest.raises(RemoteProtocolError):
        near.receive(packed(7, call_id, 5, 0, None))


def test_streams_run_both_ways_until_each_is_closed() -> None:
    near, far = opened()
    call_id, start = near.start_call(CallType.BISTREAM, "m", [], {})
    far.receive(start)
    event = only(hand(near.send_to_callee(call_id, b""), far))
    assert isinstance(event, CallerSent)
    assert event.data == b""
    assert isinstance(only(hand(far.send_to_caller(call_id, [1, None]), near)), CalleeSent)
    assert only(hand(near.close_to_callee(call_id), far)) == CallerClosed(call_id)
    assert only(hand(far.close_to_caller(call_id), near)) == CalleeClosed(call_id)
    for act in (near.send_to_callee, far.send_to_caller):
        with pytest.raises(LocalProtocolError):
            act(call_id, 1)
    assert isinstance(only(near.receive(packed(8, call_id, 1))), Dropped)
    assert isinstance(only(far.receive(packed(5, call_id))), Dropped)


@pytest.mark.parametrize(
    ("call_type", "caller_may", "callee_may"),
    [
        (CallType.UNARY, False, False),
        (CallType.ISTREAM, False, True),
        (CallType.OSTREAM, True, False),
        (CallType.BISTREAM, True, True),
    ],
)
def test_a_calls_type_says_who_streams(call_type: CallType, caller_may: bool, callee_may: bool) -> None:
    near, far = opened()
    call_id, start = near.start_call(call_type, "m", [], {})
    far.receive(start)
    for act, may in ((near.send_to_callee, caller_may), (far.send_to_caller, callee_may)):
        if may:
            act(call_id, 1)
        else:
            with pytest.raises(LocalProtocolError):
                act(call_id, 1)
    assert isinstance(only(far.receive(packed(4, call_id, 1))), Dropped) is not caller_may
    assert isinstance(only(near.receive(packed(8, call_id, 1))), Dropped) is not callee_may


def test_a_cancel_ends_the_call_at_once_on_both_sides() -> None:
    near, far = opened()
    call_id, start = near.start_call(CallType.BISTREAM, "m", [], {})
    far.receive(start)
    assert only(hand(near.cancel_call(call_id), far)) == CallCancelled(call_id)
    assert near.cancel_call(call_id) is None
    assert near.send_to_callee(call_id, 1) is near.close_to_callee(call_id) is None
    assert far.send_to_caller(call_id, 1) is far.close_to_caller(call_id) is far.finish_call(call_id, 1) is None
    assert far.fail_call(call_id, Status.METHOD_RAISED, ErrorInfo("too late")) is None


@pytest.mark.parametrize("kind", [3, 4, 5, 7, 8, 9])
def test_what_belongs_to_no_call_is_dropped_in_silence(kind: int) -> None:
    more = {4: ["data"], 8: ["data"], 7: [None, 10, ["late"]]}.get(kind, [])
    for machine in opened():
        assert machine.receive(packed(kind, 2**64 - 1, *more)) == []
        assert machine.state is State.OPEN


def test_the_id_of_a_call_that_is_over_may_come_again_and_of_one_under_way_not() -> None:
    _, far = opened()
    start = packed(2, 5, 20, "m", [], {})
    far.receive(start)
    with pytest.raises(RemoteProtocolError, match="under way"):
        far.receive(start)
    far.finish_call(5, None)
    assert isinstance(only(far.receive(start)), CallStarted)


@pytest.mark.parametrize("status", [Status.METHOD_RAISED, Status.NO_METHOD, Status.SERVER_ERROR])
def test_a_failure_brings_its_status_and_four_texts(status: Status) -> None:
    near, far = opened()
    call_id, start = near.start_call(CallType.UNARY, "m", [], {})
    far.receive(start)
    error = ErrorInfo("call 2 ('m') failed: no", "ValueError", "no", "")
    data = far.fail_call(call_id, status, error)
    assert data == packed(7, call_id, None, int(status), list(error))
    assert only(near.receive(data)) == CallFinished(call_id, None, status, error)


def test_an_error_can_always_be_sent_whatever_its_texts_are() -> None:
    near, far = opened(hello=ORIGINAL)
    call_id, start = near.start_call(CallType.UNARY, "m", [], {})
    far.receive(start)
    event = only(hand(far.fail_call(call_id, Status.METHOD_RAISED, ErrorInfo("\udcff", None, "x" * 10**6)), near))
    assert event.error == ErrorInfo("\\udcff", None, "x" * MAX_ERROR_CHARACTERS, None)


def test_a_peer_may_leave_out_all_of_an_error_but_its_first_text() -> None:
    near, _ = opened()
    for given, told in ((None, None), (["m"], ErrorInfo("m")), (["m", None, "c"], ErrorInfo("m", None, "c"))):
        call_id, _ = near.start_call(CallType.UNARY, "m", [], {})
        assert only(near.receive(packed(7, call_id, None, 10, given))).error == told


def test_an_original_gets_only_valid_unicode_and_no_message_of_4_mib() -> None:
    for data, surrogate_passes in ((OURS, True), (ORIGINAL, False)):
        near, far = opened(data)
        if surrogate_passes:
            _, start = near.start_call(CallType.UNARY, "m", ["\udcff"], {})
            assert only(far.receive(start)).args == ["\udcff"]
        else:
            with pytest.raises(InvalidRequest, match="surrogate"):
                near.start_call(CallType.UNARY, "m", ["\udcff"], {})
    call_id, _ = near.start_call(CallType.OSTREAM, "m", [], {})
    with pytest.raises(TooLarge):
        near.send_to_callee(call_id, bytes(4 * 2**20))
    assert len(near.send_to_callee(call_id, bytes(4 * 2**20 - 20))) < Limits().original_bytes


def test_a_result_that_can_not_be_sent_leaves_the_call_to_be_failed() -> None:
    near, far = opened()
    call_id, start = near.start_call(CallType.UNARY, "m", [], {})
    far.receive(start)
    for value, error in ((object(), LocalProtocolError), (2**70, InvalidRequest), (bytes(5 * 2**20), TooLarge)):
        with pytest.raises(error):
            far.finish_call(call_id, value)
    assert far.fail_call(call_id, Status.METHOD_RAISED, ErrorInfo("it was too large")) is not None


def test_a_stream_carries_no_nil() -> None:
    near, far = opened()
    call_id, start = near.start_call(CallType.BISTREAM, "m", [], {})
    far.receive(start)
    with pytest.raises(LocalProtocolError):
        near.send_to_callee(call_id, None)
    with pytest.raises(RemoteProtocolError):
        far.receive(packed(4, call_id, None))


GARBAGE = {
    "nothing": b"",
    "no array": b"\x05",
    "an unknown type": packed(10, 1),
    "type zero": packed(0, 1),
    "a negative id": packed(3, -1),
    "an id that is a bool": packed(3, True),
    "an id that is a text": packed(3, "1"),
    "one element too many": packed(3, 1, 2),
    "one too few": packed(7, 1, None, 0),
    "cut off": packed(2, 1, 20, "m", [], {})[:-1],
    "something behind it": packed(3, 1) + b"\0",
    "a call of no type": packed(2, 1, 21, "m", [], {}),
    "a method that is bytes": packed(2, 1, 20, b"m", [], {}),
    "arguments that are a map": packed(2, 1, 20, "m", {}, {}),
    "a keyword that is bytes": packed(2, 1, 20, "m", [], {b"k": 1}),
    "no valid status": packed(7, 1, None, 1, None),
    "an error without a text": packed(7, 1, None, 10, []),
    "a result that is half": packed(7, 1, b"\x92\x01", 0, None),
    "an extension type": b"\x93\x04\x01\xd4\x01\x00",
    "a text that is no UTF-8 in a map's key of a map": b"\x93\x04\x01\x81\x90\x01",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_a_breach_of_the_protocol(data: bytes) -> None:
    for machine in opened():
        with pytest.raises(RemoteProtocolError):
            machine.receive(data)


def test_the_end_of_the_link_ends_all_calls() -> None:
    near, far = opened()
    call_id, start = near.start_call(CallType.BISTREAM, "m", [], {})
    far.receive(start)
    near.close()
    far.close()
    assert near.send_to_callee(call_id, 1) is None
    assert far.finish_call(call_id, 1) is None
    assert far.receive(start) == []
