"""What is easy to get wrong with an original, as its recordings show it."""

from __future__ import annotations

import pytest
from recordings import SCENARIOS, SIDES, read
from replay import Replay

from prouter.rpc.events import CallCancelled, CalleeSent, CallFinished, WelcomeReceived
from prouter.rpc.limits import Limits
from prouter.rpc.machine import IdCounter, Machine, Role
from prouter.rpc.messages import CallType, Status


def test_the_ids_of_an_agent_go_on_over_its_links_and_the_answer_echoes_them() -> None:
    hello, welcome = read("handshake_agent_reconnects").messages[:2]
    assert (hello.call_id, welcome.call_id) == (2, 2)
    ids = IdCounter()
    for number in (1, 2):
        router = Machine(Role.ACCEPTING, IdCounter(), Limits())
        agent = Machine(Role.CONNECTING, ids, Limits())
        router.receive(agent.hello(hello.fields[2][2]))
        answer = router.welcome(welcome.fields[2][1], welcome.fields[2][2])
        assert answer[1:3] == bytes([6, number])
        assert isinstance(agent.receive(answer)[0], WelcomeReceived)
    assert answer == welcome.data


@pytest.mark.parametrize(("scenario", "first"), [("http_get", 1), ("http_get_router_dials", 2)])
def test_the_router_counts_its_own_handshake_and_not_that_of_the_agent(scenario: str, first: int) -> None:
    recording = read(scenario)
    assert recording.calls()[0].call_id == first
    assert [call.call_id for call in recording.calls()] == list(range(first, first + len(recording.calls())))


def test_chunks_and_a_result_after_our_cancel_are_dropped_in_silence() -> None:
    replay = Replay(read("download_cancelled"), "router").run()
    cancel = next(message for message, _ in replay.outputs if message.kind == 3)
    chunks = [events for m, events in replay.inputs if (m.kind, m.call_id) == (8, cancel.call_id)]
    assert chunks[-7:] == [[]] * 7
    assert all(chunks[:-7])
    replay = Replay(read("ws_echo_quick_close"), "router").run()
    result = next(events for m, events in replay.inputs if (m.kind, m.call_id) == (7, 4))
    assert result == []


def test_a_cancel_after_our_result_is_dropped_in_silence() -> None:
    replay = Replay(read("download_quick_close"), "agent").run()
    cancels = [events for message, events in replay.inputs if message.kind == 3]
    assert [] in cancels
    assert all(not events or isinstance(events[0], CallCancelled) for events in cancels)


def test_a_rejected_websocket_is_closed_by_its_caller_and_then_fails() -> None:
    recording = read("ws_rejected")
    assert recording.of_call("agent", 4) == [8, 7]
    assert recording.of_call("router", 4)[-1] == 5
    events = [event for m, found in Replay(recording, "router").run().inputs if m.call_id == 4 for event in found]
    first, last = events
    assert (first.data, last.status, last.error.cause) == (False, Status.METHOD_RAISED, "WSServerHandshakeError")


def test_a_call_may_fail_without_any_message_of_its_stream() -> None:
    for scenario, call_id in (("ws_rejected", 7), ("unknown_job", None), ("http_errors", None)):
        replay = Replay(read(scenario), "router").run()
        starts = [m for m in replay.recording.calls() if m.fields[2] == CallType.BISTREAM]
        wanted = [m.call_id for m in starts if call_id in (None, m.call_id)]
        bare = [found for found in wanted if replay.recording.of_call("agent", found) == [7]]
        assert bare, scenario
        for message, events in replay.inputs:
            if message.call_id in bare and message.kind == 7:
                assert isinstance(events[0], CallFinished)
                assert events[0].status is Status.METHOD_RAISED


def test_only_one_side_closes_the_stream_of_a_websocket() -> None:
    by_client, by_job = read("ws_echo"), read("ws_closed_by_job")
    assert 5 in by_client.of_call("router", 4)
    assert 9 not in by_client.of_call("agent", 4)
    assert 9 in by_job.of_call("agent", 4)
    assert 5 not in by_job.of_call("router", 4)


def test_requests_and_downloads_end_with_their_result_alone() -> None:
    for scenario in SCENARIOS:
        recording = read(scenario)
        for call in recording.calls():
            kinds = recording.of_call("agent", call.call_id) + recording.of_call("router", call.call_id)
            if call.fields[3] in ("http_request", "file_download", "archive_download"):
                assert not {5, 9} & set(kinds), scenario


def test_an_upload_may_come_in_one_piece_of_any_size() -> None:
    replay = Replay(read("file_upload_download"), "agent").run()
    sizes = [len(m.fields[2]) for m, events in replay.inputs if m.kind == 4 and events]
    assert 204_800 in sizes


def test_every_error_has_four_texts_and_names_its_call() -> None:
    found = 0
    for scenario in SCENARIOS:
        for message, events in Replay(read(scenario), "router").run().inputs:
            for event in events:
                if isinstance(event, CallFinished) and event.status is not Status.SUCCESS:
                    found += 1
                    assert all(isinstance(text, str) for text in event.error)
                    assert event.error.message.startswith(f"call {message.call_id} ('")
                    assert event.error.message.endswith(event.error.cause_message)
    assert found > 20


@pytest.mark.parametrize("side", SIDES)
def test_an_answer_to_head_has_no_chunk_though_it_has_a_length(side: str) -> None:
    recording = read("http_head")
    call = next(m for m in recording.calls() if m.fields[3] == "http_request" and m.fields[4][1] == "HEAD")
    assert recording.of_call("agent", call.call_id) == [8, 8, 7]
    events = [e for m, found in Replay(recording, "router").run().inputs if m.call_id == call.call_id for e in found]
    status, headers = [event.data for event in events if isinstance(event, CalleeSent)]
    assert status == 200
    assert "Content-Length" in dict(headers)
