"""What a message may cost before it is decoded: small bytes that become large objects end at the first too many."""

from __future__ import annotations

import time
import tracemalloc

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from two_ends import ORIGINAL, ends, hand, only, opened

from prouter.errors import RemoteProtocolError, TooLarge
from prouter.rpc.limits import MIB, Limits
from prouter.rpc.machine import Machine
from prouter.rpc.messages import CallType, decode
from prouter.rpc.msgpack_scan import count_elements

SIZE = 16 * MIB
FLAT = b"\xdd" + SIZE.to_bytes(4, "big") + b"\x90" * SIZE
"""An array of 16 Mi empty arrays: 16 MiB here, more than a GiB in Python."""
NESTED = b"\x91" * SIZE + b"\xc0"
MAPS = b"\xdf" + (SIZE // 2).to_bytes(4, "big") + b"\x80" * SIZE
BOMBS = {"flat": FLAT, "nested": NESTED, "maps": MAPS}

SECONDS = 5.0
PEAK_BYTES = 64 * MIB

HEADS = {
    "call": b"\x96\x02\x05\x14\xa1m",
    "cancel": b"\x92\x03",
    "caller data": b"\x93\x04\x05",
    "caller close": b"\x92\x05",
    "result": b"\x95\x07\x05\xc6" + len(FLAT).to_bytes(4, "big"),
    "result, not packed": b"\x95\x07\x05",
    "callee data": b"\x93\x08\x05",
    "callee close": b"\x92\x09",
}
TAILS = {"call": b"\x80", "result": b"\x00\xc0", "result, not packed": b"\x00\xc0"}


def refused_cheaply(machine: Machine, message: bytes) -> None:
    tracemalloc.start()
    begun = time.monotonic()
    try:
        with pytest.raises(RemoteProtocolError):
            machine.receive(message)
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < SECONDS


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("kind", HEADS)
def test_16_mib_of_tiny_objects_cost_nothing_in_any_message(kind: str, bomb: bytes) -> None:
    message = HEADS[kind] + bomb + TAILS.get(kind, b"")
    for machine in opened(limits=Limits(call_bytes=32 * MIB, result_bytes=32 * MIB, control_bytes=32 * MIB)):
        refused_cheaply(machine, message)


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_the_same_before_the_handshake(bomb: bytes) -> None:
    near, far = ends(Limits(handshake_bytes=32 * MIB))
    near.hello({})
    refused_cheaply(far, b"\x93\x01\x05\x93\x01\xc0" + bomb)
    refused_cheaply(near, b"\x95\x06\x01\x93\x01\xa0" + bomb + b"\x00\xc0")


def test_each_type_has_a_size_of_its_own() -> None:
    limits = Limits()
    for head, size in (
        (b"\x92\x03\xcf" + bytes(8), limits.control_bytes),
        (b"\x96\x02\x05\x14\xa1m", limits.call_bytes),
        (b"\x95\x07\x05", limits.result_bytes),
        (b"\x93\x08\x05", limits.stream_bytes),
        (b"\x93\x01\x05", limits.handshake_bytes),
    ):
        text = b"\xc6" + size.to_bytes(4, "big") + bytes(size)
        with pytest.raises(RemoteProtocolError, match=r"bytes, at most"):
            decode(head + text, limits)


def test_a_stranger_may_say_less_than_a_peer() -> None:
    for machine in ends():
        with pytest.raises(RemoteProtocolError, match="before the handshake"):
            machine.receive(b"\x93\x04\x05\xc6" + (MIB).to_bytes(4, "big") + bytes(MIB))


def test_one_large_value_of_a_stream_passes() -> None:
    size = 16 * MIB
    decoded = decode(bytes(msgpack.packb([8, 1, bytes(size)])), Limits())
    assert len(decoded.message.data) == size
    assert decoded.cost_bytes > size


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def elements(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + elements(item) for item in value.values())
    return 1 + sum(map(elements, value)) if isinstance(value, list) else 1


@settings(deadline=None)
@given(VALUES)
@example([bytes(300), "x" * 300, bytes(70000), "x" * 70000, list(range(20)), {str(n): n for n in range(20)}])
@example([list(range(70000)), {str(n): n for n in range(70000)}])
def test_elements_are_counted_as_they_are(value: object) -> None:
    count = elements(value)
    packed = bytes(msgpack.packb(value))
    assert count_elements(packed, count) == count
    if count > 1:
        with pytest.raises(RemoteProtocolError, match="more than"):
            count_elements(packed, count - 1)
    with pytest.raises(RemoteProtocolError):
        count_elements(packed[:-1], count)
    with pytest.raises(RemoteProtocolError):
        count_elements(packed + b"\0", count)


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\x93\x04\x05\xdd\xff\xff\xff\xff")
@example(b"\x93\x04\x05\xc6\xff\xff\xff\xff")
@example(b"\x95\x07\x05\xc4\x01\xc1\x00\xc0")
def test_any_bytes_are_a_message_or_a_breach_of_the_protocol(data: bytes) -> None:
    for machine in (*ends(), *opened()):
        for message in (data, b"\x93\x04\x05" + data, b"\x95\x07\x05" + data):
            try:
                machine.receive(message)
            except RemoteProtocolError:
                break


@pytest.mark.parametrize("count", [90, 110])
def test_the_elements_of_a_result_count_as_those_of_any_other_message(count: int) -> None:
    limits = Limits(elements=100)
    values = list(range(count))
    messages = [[2, 1, 20, "m", values, {}], [4, 1, values], [7, 1, msgpack.packb(values), 0, None], [8, 1, values]]
    for message in messages:
        data = bytes(msgpack.packb(message))
        if count < limits.elements:
            decode(data, limits)
        else:
            with pytest.raises(RemoteProtocolError, match="elements"):
                decode(data, limits)


FEW = Limits(elements=20, handshake_elements=20)
AT_MOST = {"a": list(range(17))}
"""20 elements: the map, the name, the list, what is in it."""
MORE = {"a": list(range(30))}


def test_what_the_peer_would_not_take_is_not_sent_and_costs_no_link() -> None:
    near, far = opened(limits=FEW)
    with pytest.raises(TooLarge, match="more than 20"):
        near.start_call(CallType.UNARY, "m", [list(range(20))], {})
    assert not near.outgoing
    call, start = near.start_call(CallType.BISTREAM, "m", [list(range(18))], {})
    hand(start, far)
    for send, finish, value in (
        (near.send_to_callee, far.receive, MORE),
        (far.send_to_caller, near.receive, MORE),
        (far.finish_call, near.receive, MORE),
    ):
        with pytest.raises(TooLarge, match="more than 20"):
            send(call, value)
        message = send(call, AT_MOST)
        assert message is not None
        assert only(finish(message))
    assert not far.incoming


def test_nor_in_a_handshake() -> None:
    near, far = ends(FEW)
    with pytest.raises(TooLarge):
        near.hello({"a": list(range(40))})
    far.receive(ends(FEW)[0].hello({"prouter": {}}))
    with pytest.raises(TooLarge):
        far.welcome("c" * 32, {"a": list(range(40))})


def test_an_original_counts_no_elements() -> None:
    near, _ = opened(ORIGINAL, limits=FEW)
    assert near.start_call(CallType.UNARY, "m", [list(range(100))], {})
