# SPDX-License-Identifier: Apache-2.0
"""Listens to a board: frames of the link told in words, everything else as text."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from acsgen.target.link import CRC, HEADER, MAGIC, RESPONSE, VERSION, Command, Frame, Status
from acsgen.target.stream import ByteStream, LinkError

#: Longest payload that is believed; a frame of the link has not even the size of a chip's RAM.
_LONGEST = 1 << 22
#: Seconds after which text without an end of line is shown, and a frame without an end is taken for text.
_PATIENCE = 0.5


@dataclass(frozen=True)
class Event:
    """Something that was heard. kind: "text" or "frame". text: one line."""

    kind: str
    text: str


def watch(stream: ByteStream, seconds: float | None = None) -> Iterator[Event]:
    """Yields what comes from a stream, for so many seconds or until it is interrupted or gone."""
    end = None if seconds is None else time.monotonic() + seconds
    buffer = bytearray()
    while end is None or time.monotonic() < end:
        try:
            patience = _PATIENCE if end is None else min(_PATIENCE, end - time.monotonic())
            buffer += stream.read(65536, patience)
            yield from _take(buffer, silent=False)
        except LinkError:
            yield from _take(buffer, silent=True)
    yield from _take(buffer, silent=True)


def _take(buffer: bytearray, silent: bool) -> Iterator[Event]:
    """Takes from the buffer what is complete; after a silence, everything."""
    while buffer:
        at = buffer.find(MAGIC)
        if at == 0:
            frame, size = _frame(buffer)
            if frame is not None:
                del buffer[:size]
                yield Event("frame", describe(frame))
                continue
            if size > len(buffer) and not silent:
                return
            at = buffer.find(MAGIC, 1)  # none after all: this magic is text
        yield from _text(buffer, at, silent)
        if at < 0:
            return


def _frame(buffer: bytearray) -> tuple[Frame | None, int]:
    """The frame at the start of the buffer, and how many bytes it has; None if it is damaged or not yet whole."""
    start = len(MAGIC)
    size = start + HEADER.size + CRC.size
    if len(buffer) < size:
        return None, size
    version, command, status, tag, length = HEADER.unpack_from(buffer, start)
    if version != VERSION or length > _LONGEST:
        return None, 0
    size += length
    if len(buffer) < size:
        return None, size
    body = bytes(buffer[start : size - CRC.size])
    if CRC.unpack_from(buffer, size - CRC.size)[0] != zlib.crc32(body):
        return None, 0
    return Frame(command, status, tag, body[HEADER.size :]), size


def _text(buffer: bytearray, end: int, silent: bool) -> Iterator[Event]:
    """Takes text up to a place, or to the end of the last whole line."""
    if end < 0:
        end = len(buffer) if silent else buffer.rfind(b"\n") + 1
    said = bytes(buffer[:end])
    del buffer[:end]
    for line in said.splitlines():
        if line.strip(b"\0"):
            yield Event("text", "".join(c if c.isprintable() else "." for c in line.decode("utf-8", "replace")))


def describe(frame: Frame) -> str:
    """A frame in words."""
    code = frame.command & ~RESPONSE
    name = Command(code).name if code in set(Command) else f"command 0x{code:02x}"
    if code == Command.FAULT:
        return f"FAULT: {frame.payload.decode('utf-8', 'replace')}"
    status = Status(frame.status).name if frame.status in set(Status) else f"status {frame.status}"
    kind = f"answer, {status}" if frame.command & RESPONSE else "request"
    return f"{name} {kind}, tag {frame.tag}, {len(frame.payload)} bytes"
