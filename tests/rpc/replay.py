"""Our machine in the place of one side of a recording: it is told what the other said, and does what that side did."""

from __future__ import annotations

from typing import Any

from recordings import Recorded, Recording

from prouter.rpc.events import Event
from prouter.rpc.limits import Limits
from prouter.rpc.machine import IdCounter, Machine, Role
from prouter.rpc.messages import CallType, ErrorInfo, Status


class Replay:
    """`side` is the one that the machine stands in for. `outputs` pairs what was sent with what the machine sends."""

    def __init__(self, recording: Recording, side: str) -> None:
        self.recording = recording
        self.side = side
        role = Role.CONNECTING if side == recording.dialer else Role.ACCEPTING
        first = recording.messages[0].call_id if role is Role.CONNECTING else 1
        self.machine = Machine(role, IdCounter(first), Limits())
        self.outputs: list[tuple[Recorded, bytes | None]] = []
        self.inputs: list[tuple[Recorded, list[Event]]] = []

    def run(self) -> Replay:
        for message in self.recording.messages:
            if message.sender == self.side:
                self.outputs.append((message, self.perform(message)))
            else:
                self.inputs.append((message, self.machine.receive(message.data)))
        return self

    def perform(self, message: Recorded) -> bytes | None:
        """Do what the original did when it sent this."""
        call_id, fields, machine = message.call_id, message.fields, self.machine
        match message.kind:
            case 1:
                return machine.hello(fields[2][2])
            case 6:
                return machine.welcome(fields[2][1], fields[2][2])
            case 2:
                return self._start(fields)
            case 3:
                return machine.cancel_call(call_id)
            case 4:
                return machine.send_to_callee(call_id, fields[2])
            case 5:
                return machine.close_to_callee(call_id)
            case 8:
                return machine.send_to_caller(call_id, fields[2])
            case 9:
                return machine.close_to_caller(call_id)
            case 7 if fields[3] == 0:
                return machine.finish_call(call_id, message.result())
            case 7:
                return machine.fail_call(call_id, Status(fields[3]), ErrorInfo(*fields[4]))
        raise AssertionError(f"no message has the type {message.kind}")

    def _start(self, fields: list[Any]) -> bytes:
        call_id, data = self.machine.start_call(CallType(fields[2]), *fields[3:])
        assert call_id == fields[1], "the ids count up by one from the handshake's"
        return data
