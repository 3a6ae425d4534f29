# SPDX-License-Identifier: Apache-2.0
"""The host's side of the link to the firmware; ``docs/link-protocol.md`` describes the frames."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from acsgen.errors import AcsgenError

MAGIC = b"ACSL"
VERSION = 1
RESPONSE = 0x80
TICKS_OVERFLOW = 0xFFFF_FFFF

_HEADER = struct.Struct("<BBBBI")
_CRC = struct.Struct("<I")
_INFO = struct.Struct("<6I")
_RUN = struct.Struct("<BB")
_TICKS = struct.Struct("<I")
_INDEX = struct.Struct("<H")
_STEP = struct.Struct("<HI")

_FLAG_TENSORS = 0x01
_FLAG_TICKS = 0x02
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


class LinkError(AcsgenError):
    """The firmware gave no answer, a damaged one, or a refusal; the next try may succeed."""


class ByteStream(Protocol):
    """Bytes to and from the firmware.

    Both methods raise ``LinkError`` when the time is over, and ``AcsgenError`` when the other side
    is gone.
    """

    def read(self, size: int, timeout: float) -> bytes:
        """Returns 1 to ``size`` bytes, waiting at most ``timeout`` seconds for the first."""
        ...

    def write(self, data: bytes, timeout: float) -> None:
        """Writes everything within ``timeout`` seconds."""
        ...


class SocketStream:
    """A connected socket as ``ByteStream``."""

    def __init__(self, connection: socket.socket, explain_end: Callable[[], str]) -> None:
        """``explain_end`` returns the message for the case that the other side is gone."""
        self._connection = connection
        self._explain_end = explain_end

    def read(self, size: int, timeout: float) -> bytes:
        self._connection.settimeout(max(timeout, 1e-3))
        try:
            data = self._connection.recv(size)
        except TimeoutError:
            raise LinkError("the firmware does not answer") from None
        except OSError:
            data = b""
        if not data:
            raise AcsgenError(self._explain_end())
        return data

    def write(self, data: bytes, timeout: float) -> None:
        self._connection.settimeout(max(timeout, 1e-3))
        try:
            self._connection.sendall(data)
        except TimeoutError:
            raise LinkError("the firmware does not read what it is sent") from None
        except OSError:
            raise AcsgenError(self._explain_end()) from None


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
    body = _HEADER.pack(VERSION, command, 0, tag, len(payload)) + payload
    return MAGIC + body + _CRC.pack(zlib.crc32(body))


class LinkClient:
    """Talks to the firmware over a stream. All time-outs are in seconds."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
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
                return self.info(min(left, patience))
            except LinkError:
                if left <= patience:
                    raise
                patience = min(2 * patience, 1.0)
                padding = bytes(256)

    def info(self, timeout: float = 5.0) -> ModelInfo:
        """Asks which model the firmware holds."""
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

    def run(
        self,
        info: ModelInfo,
        data: bytes,
        mode: RunMode,
        *,
        masks: bytes = b"",
        tensors: bool = False,
        steps: bool = False,
        timeout: float = 60.0,
    ) -> LinkResult:
        """Runs the model on one input, in mode GIVEN with these masks, 0 or 1 for every gated group.

        tensors, steps: send every tensor, or else the ticks of every step.

        The time-out is for each frame: a run that sends tensors may take longer as a whole.
        """
        if len(data) != info.input_bytes:
            raise AcsgenError(f"model {info.name} takes inputs of {info.input_bytes} bytes, this one has {len(data)}")
        if len(masks) != (info.mask_bytes if mode is RunMode.GIVEN else 0):
            raise AcsgenError(f"model {info.name} has {info.mask_bytes} gated groups, got {len(masks)} for {mode.name}")
        flag = _FLAG_TENSORS if tensors else _FLAG_TICKS if steps else 0
        self._ask(Command.RUN, _RUN.pack(mode, flag) + masks + data, timeout)
        result_bytes = _TICKS.size + info.mask_bytes + info.output_bytes
        limit = max(result_bytes, _INDEX.size + info.arena_bytes + info.input_bytes)
        seen: dict[int, bytes] = {}
        taken: dict[int, int] = {}
        while True:
            frame = self._answer(Command.RUN, limit, time.monotonic() + timeout)
            payload = frame.payload
            if frame.command == Command.RUN | RESPONSE:
                break
            is_step = frame.command == Command.STEP | RESPONSE
            if len(payload) < _INDEX.size or (is_step and len(payload) != _STEP.size):
                raise LinkError(f"the firmware sent a {'step' if is_step else 'tensor'} of {len(payload)} bytes")
            if is_step:
                index, ticks = _STEP.unpack(payload)
                taken[index] = ticks
            else:
                (index,) = _INDEX.unpack_from(payload)
                seen[index] = payload[_INDEX.size :]
        if len(payload) != result_bytes:
            raise LinkError(f"the firmware's result has {len(payload)} bytes; its INFO promised {result_bytes}")
        (ticks,) = _TICKS.unpack_from(payload)
        if ticks == TICKS_OVERFLOW:
            raise AcsgenError(f"model {info.name} ran longer than its tick counter can count")
        output_at = _TICKS.size + info.mask_bytes
        return LinkResult(ticks, payload[_TICKS.size : output_at], payload[output_at:], seen, taken)

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

    def _ask(self, command: Command, payload: bytes, timeout: float) -> None:
        self._tag = (self._tag + 1) % 256
        self.send(encode_frame(command, payload, tag=self._tag), timeout)

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
                raise LinkError(f"the firmware refuses {command.name}: {_status_text(frame.status)}")
            return frame

    def _receive(self, limit: int, deadline: float) -> Frame:
        self._hunt(deadline)
        header = self._take(_HEADER.size, deadline)
        version, command, status, tag, length = _HEADER.unpack(header)
        if version != VERSION:
            raise LinkError(
                f"the firmware speaks version {version} of the link, acsgen {VERSION}; generate and build it anew"
            )
        if length > max(limit, _TEXT_LIMIT):
            raise LinkError(f"the firmware announces {length} bytes where at most {limit} can be")
        payload = self._take(length, deadline)
        (crc,) = _CRC.unpack(self._take(_CRC.size, deadline))
        if crc != zlib.crc32(payload, zlib.crc32(header)):
            raise LinkError("the firmware's answer was damaged on its way")
        return Frame(command, status, tag, payload)

    def _hunt(self, deadline: float) -> None:
        while True:
            at = self._buffer.find(MAGIC)
            if at >= 0:
                del self._buffer[: at + len(MAGIC)]
                return
            del self._buffer[: max(0, len(self._buffer) - len(MAGIC) + 1)]
            self._fill(deadline)

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            self._fill(deadline)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self, deadline: float) -> None:
        self._buffer += self._stream.read(65536, deadline - time.monotonic())


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
