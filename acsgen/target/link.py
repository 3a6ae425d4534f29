# SPDX-License-Identifier: Apache-2.0
"""The host's side of the link to the firmware; ``docs/link-protocol.md`` describes the frames."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from acsgen.errors import AcsgenError
from acsgen.target.stream import ByteStream
from acsgen.target.stream import LinkError as LinkError

_T = TypeVar("_T")

MAGIC = b"ACSL"
VERSION = 1
RESPONSE = 0x80
TICKS_OVERFLOW = 0xFFFF_FFFF

HEADER = struct.Struct("<BBBBI")
CRC = struct.Struct("<I")
_INFO = struct.Struct("<6I")
_RUN = struct.Struct("<BB")
_TICKS = struct.Struct("<I")
_INDEX = struct.Struct("<H")
_STEP = struct.Struct("<HI")

#: Behind every request. A frame that lost a few bytes on its way is complete with these, so that the firmware
#: answers at once that it is damaged; else they are skipped.
_TAIL = bytes(16)

_FLAG_TENSORS = 0x01
_FLAG_TICKS = 0x02
_CHUNK = 65536
_TEXT_LIMIT = 1024
"""Longest name or reason that is believed, in bytes."""


class Command(IntEnum):
    """What a frame asks for, or answers."""

    INFO = 0x01
    RUN = 0x02
    EXIT = 0x03
    TENSOR = 0x04
    FAULT = 0x05
    STEP = 0x06


class Status(IntEnum):
    """How a response went."""

    OK = 0
    BAD_CRC = 1
    BAD_LENGTH = 2
    BAD_COMMAND = 3
    BAD_VERSION = 4
    BAD_ARGUMENT = 5
    RUN_FAILED = 6
    STOPPED = 7


class RunMode(IntEnum):
    """How a run honours the decisions of the gates; ``acs_mode_t`` of ``acs.h``."""

    SKIP = 0
    MULTIPLY = 1
    OPEN = 2
    GIVEN = 3
    BUDGET = 4


#: Refusals that say nothing of the request: damage on the way can cause them.
_DAMAGE = {Status.BAD_CRC, Status.BAD_LENGTH, Status.BAD_COMMAND, Status.BAD_VERSION}

#: Modes in which a byte per gated group goes with the input.
_WITH_GROUPS = (RunMode.GIVEN, RunMode.BUDGET)


class RefusedError(LinkError):
    """The firmware got the request and will not do it; it will not the next time either."""


@dataclass(frozen=True)
class Frame:
    """One frame, checksum and magic taken off."""

    command: int
    status: int
    tag: int
    payload: bytes


@dataclass(frozen=True)
class ModelInfo:
    """What the firmware says of its model; sizes in bytes."""

    name: str
    fingerprint: int
    """CRC-32 of the ``model.acsq`` that it was generated from."""
    arena_bytes: int
    input_bytes: int
    output_bytes: int
    mask_bytes: int
    tensor_count: int


@dataclass(frozen=True)
class LinkResult:
    """What one run gave."""

    ticks: int
    """Ticks of the run alone; 0 if tensors or steps were sent, which would count too."""
    masks: bytes
    output: bytes
    tensors: dict[int, bytes]
    """Bytes of every tensor by its index, if they were asked for."""
    steps: dict[int, int]
    """Ticks of every step by its index, if they were asked for."""


def encode_frame(command: int, payload: bytes = b"", *, tag: int = 0) -> bytes:
    """Returns the bytes of a request."""
    body = HEADER.pack(VERSION, command, 0, tag, len(payload)) + payload
    return MAGIC + body + CRC.pack(zlib.crc32(body))


class LinkClient:
    """Talks to the firmware over a stream. All time-outs are in seconds."""

    def __init__(self, stream: ByteStream, *, tries: int = 1) -> None:
        """tries: how often a request is sent until it is answered; more than 1 where bytes can get lost."""
        self._stream = stream
        self._tries = tries
        self._buffer = bytearray()
        self._tag = 0

    def connect(self, timeout: float = 10.0) -> ModelInfo:
        """Asks who is there until the answer is clear.

        The firmware may be in the midst of a frame of somebody who broke off; it is then given
        zeros until it has read that frame to its end.
        """
        deadline = time.monotonic() + timeout
        patience = 0.1
        padding = b""
        while True:
            left = deadline - time.monotonic()
            try:
                self.send(padding, left)
                return self._info(min(left, patience))
            except LinkError:
                if left <= patience:
                    raise
                patience = min(2 * patience, 1.0)
                padding = bytes(256)

    def info(self, timeout: float = 5.0) -> ModelInfo:
        """Asks which model the firmware holds."""
        return self._until_answered(self._info, timeout, _TAIL)

    def run(
        self,
        info: ModelInfo,
        data: bytes,
        mode: RunMode,
        *,
        groups: bytes = b"",
        tensors: bool = False,
        steps: bool = False,
        timeout: float = 60.0,
    ) -> LinkResult:
        """Runs the model on one input.

        groups: in the modes GIVEN and BUDGET one byte per gated group: its mask, 0 or 1, or by how much its
        threshold is raised, int8, in steps of two. tensors, steps: send every tensor, or else the ticks of every step.
        The time-out is for each frame of the first try: a run that sends tensors may take longer as a whole.
        """
        if len(data) != info.input_bytes:
            raise AcsgenError(f"model {info.name} takes inputs of {info.input_bytes} bytes, this one has {len(data)}")
        if len(groups) != (info.mask_bytes if mode in _WITH_GROUPS else 0):
            raise AcsgenError(
                f"model {info.name} has {info.mask_bytes} gated groups, got {len(groups)} for {mode.name}"
            )
        flag = _FLAG_TENSORS if tensors else _FLAG_TICKS if steps else 0
        payload = _RUN.pack(mode, flag) + groups + data
        return self._until_answered(lambda patience: self._run(info, payload, patience), timeout, bytes(len(payload)))

    def exit(self, timeout: float = 5.0) -> None:
        """Ends the firmware where it can be ended; a board goes on listening."""
        self._ask(Command.EXIT, b"", timeout)
        self._answer(Command.EXIT, 0, time.monotonic() + timeout)

    def send(self, data: bytes, timeout: float = 5.0) -> None:
        """Sends bytes as they are."""
        self._stream.write(data, timeout)

    def receive(self, limit: int, timeout: float = 5.0) -> Frame:
        """Returns the next frame, skipping whatever is none.

        ``limit`` is the largest payload that can be meant, in bytes; a longer one is an error.
        """
        return self._receive(limit, time.monotonic() + timeout)

    def _until_answered(self, request: Callable[[float], _T], timeout: float, padding: bytes) -> _T:
        """Repeats a request until it is answered, or has been tried often enough.

        Running twice does no harm: a run depends on nothing that was before it. Each time it is given twice as
        long, or a firmware that is too slow for a time-out would always be answering the request before.
        padding: what completes a frame that the firmware may still be reading, because more of it got lost than
        its tail made up for.
        """
        for left in reversed(range(self._tries)):
            try:
                return request(timeout)
            except RefusedError:
                raise
            except LinkError:
                if left == 0:
                    raise
                self.send(padding)
                timeout *= 2
        raise AssertionError("tries is at least 1")

    def _info(self, timeout: float) -> ModelInfo:
        deadline = time.monotonic() + timeout
        self._ask(Command.INFO, b"", timeout)
        payload = self._answer(Command.INFO, _INFO.size + _TEXT_LIMIT, deadline).payload
        if len(payload) < _INFO.size:
            raise LinkError(f"the firmware's INFO has {len(payload)} bytes, too few")
        fingerprint, arena, input_, output, mask, tensors = _INFO.unpack_from(payload)
        return ModelInfo(
            name=payload[_INFO.size :].decode("utf-8", errors="replace"),
            fingerprint=fingerprint,
            arena_bytes=arena,
            input_bytes=input_,
            output_bytes=output,
            mask_bytes=mask,
            tensor_count=tensors,
        )

    def _run(self, info: ModelInfo, request: bytes, timeout: float) -> LinkResult:
        self._ask(Command.RUN, request, timeout)
        result_bytes = _TICKS.size + info.mask_bytes + info.output_bytes
        limit = max(result_bytes, _INDEX.size + info.arena_bytes + info.input_bytes)
        shown: list[Frame] = []
        while True:
            frame = self._answer(Command.RUN, limit, time.monotonic() + timeout)
            if frame.command == Command.RUN | RESPONSE:
                break
            shown.append(frame)
        wanted = info.tensor_count if request[1] else 0
        if len(shown) != wanted:
            raise LinkError(f"the firmware showed {len(shown)} steps of {wanted}: some got lost on their way")
        payload = frame.payload
        if len(payload) != result_bytes:
            raise LinkError(f"the firmware's result has {len(payload)} bytes; its INFO promised {result_bytes}")
        (ticks,) = _TICKS.unpack_from(payload)
        steps = _ticks_of_steps(shown)
        if TICKS_OVERFLOW in (ticks, *steps.values()):
            raise AcsgenError(f"model {info.name} ran longer than its tick counter can count")
        output_at = _TICKS.size + info.mask_bytes
        return LinkResult(ticks, payload[_TICKS.size : output_at], payload[output_at:], _bytes_of_tensors(shown), steps)

    def _ask(self, command: Command, payload: bytes, timeout: float) -> None:
        self._tag = (self._tag + 1) % 256
        self.send(encode_frame(command, payload, tag=self._tag) + _TAIL, timeout)

    def _answer(self, command: Command, limit: int, deadline: float) -> Frame:
        """Returns the next frame that answers the last request.

        An answer to an earlier one, which nobody waits for any longer, carries another tag.
        """
        wanted = {command | RESPONSE}
        if command is Command.RUN:
            wanted |= {Command.TENSOR | RESPONSE, Command.STEP | RESPONSE}
        while True:
            frame = self._receive(limit, deadline)
            if frame.command == Command.FAULT | RESPONSE:
                reason = frame.payload.decode("utf-8", errors="replace")
                raise AcsgenError(f"the firmware stopped: {reason}; reset the board")
            if frame.tag != self._tag or frame.command not in wanted:
                continue
            if frame.status != Status.OK:
                error = LinkError if frame.status in _DAMAGE else RefusedError
                raise error(f"the firmware refuses {command.name}: {_status_text(frame.status)}")
            return frame

    def _receive(self, limit: int, deadline: float) -> Frame:
        """Returns the next frame. Where one is none after all, the next call goes on right behind its magic:
        what seemed to belong to it may be another."""
        self._hunt(deadline)
        self._fill(HEADER.size, deadline)
        version, command, status, tag, length = HEADER.unpack_from(self._buffer)
        if version != VERSION:
            raise LinkError(
                f"the firmware speaks version {version} of the link, acsgen {VERSION}; generate and build it anew"
            )
        if length > max(limit, _TEXT_LIMIT):
            raise LinkError(f"the firmware announces {length} bytes where at most {limit} can be")
        end = HEADER.size + length
        self._fill(end + CRC.size, deadline)
        body = bytes(self._buffer[:end])
        (crc,) = CRC.unpack_from(self._buffer, end)
        if crc != zlib.crc32(body):
            raise LinkError("the firmware's answer was damaged on its way")
        del self._buffer[: end + CRC.size]
        return Frame(command, status, tag, body[HEADER.size :])

    def _hunt(self, deadline: float) -> None:
        """Drops everything up to the next magic, and that too."""
        while True:
            at = self._buffer.find(MAGIC)
            if at >= 0:
                del self._buffer[: at + len(MAGIC)]
                return
            del self._buffer[: max(0, len(self._buffer) - len(MAGIC) + 1)]
            self._buffer += self._stream.read(_CHUNK, deadline - time.monotonic())

    def _fill(self, size: int, deadline: float) -> None:
        while len(self._buffer) < size:
            self._buffer += self._stream.read(_CHUNK, deadline - time.monotonic())


def _ticks_of_steps(frames: list[Frame]) -> dict[int, int]:
    steps = [frame.payload for frame in frames if frame.command == Command.STEP | RESPONSE]
    if any(len(payload) != _STEP.size for payload in steps):
        raise LinkError("the firmware sent a step of another length than steps have")
    return dict(_STEP.unpack(payload) for payload in steps)


def _bytes_of_tensors(frames: list[Frame]) -> dict[int, bytes]:
    tensors = [frame.payload for frame in frames if frame.command == Command.TENSOR | RESPONSE]
    if any(len(payload) < _INDEX.size for payload in tensors):
        raise LinkError("the firmware sent a tensor without an index")
    return {_INDEX.unpack_from(payload)[0]: payload[_INDEX.size :] for payload in tensors}


_STATUS_TEXTS = {
    Status.BAD_CRC: "the frame was damaged on its way",
    Status.BAD_LENGTH: "the frame has the wrong length for this model",
    Status.BAD_COMMAND: "it does not know this command",
    Status.BAD_VERSION: "it speaks another version of the link; generate and build it anew",
    Status.BAD_ARGUMENT: "unknown mode or flag",
    Status.RUN_FAILED: "the model would not run (a kernel refused its parameters)",
    Status.STOPPED: "it has stopped; reset the board",
}


def _status_text(status: int) -> str:
    try:
        return _STATUS_TEXTS[Status(status)]
    except (ValueError, KeyError):
        return f"status {status}"
