# SPDX-License-Identifier: Apache-2.0
"""Host and firmware with a bad wire between them: no wrong answer is accepted, and the right one comes every time."""

from __future__ import annotations

import random
import socket
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from acsgen.target.boards import Board
from acsgen.target.build import BuildResult
from acsgen.target.emulator import Emulator
from acsgen.target.link import MAGIC, LinkClient, ModelInfo, RunMode
from acsgen.target.stream import ByteStream, SocketStream
from tests.target.fake_project import INPUT_BYTES, MASK_BYTES, fake_input

REQUESTS = 10_000
#: How often something happens per byte, in each direction: to about one of twenty frames.
DAMAGED = 0.0015
#: More than any request will need.
TRIES = 12


class BadWire:
    """A stream that damages what goes through it, in both directions, and counts how."""

    def __init__(self, stream: ByteStream, rng: random.Random) -> None:
        self._stream, self._rng = stream, rng
        self.enabled = True
        self.damage: Counter[str] = Counter()

    def read(self, size: int, timeout: float) -> bytes:
        while True:  # all of it may get lost
            if data := self._damaged(self._stream.read(size, timeout), "answer"):
                return data

    def write(self, data: bytes, timeout: float) -> None:
        self._stream.write(self._damaged(data, "request"), timeout)

    def _damaged(self, data: bytes, direction: str) -> bytes:
        if not self.enabled or not data or self._rng.random() > DAMAGED * len(data):
            return data
        rng, at = self._rng, self._rng.randrange(len(data))
        kinds = {
            "flipped": lambda: data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
            "noise": lambda: data[:at] + rng.randbytes(rng.randrange(1, 40)) + data[at:],
            "magic": lambda: data[:at] + MAGIC + rng.randbytes(rng.randrange(12)) + data[at:],
            "drop": lambda: data[:at] + data[at + rng.randrange(1, 4) :],
            "cut": lambda: data[:at],
            "lost": lambda: b"",
            "twice": lambda: data[at:] + data,
        }
        kind = rng.choice(list(kinds))
        self.damage[f"{kind} {direction}"] += 1
        return kinds[kind]()


def ask(link: LinkClient, info: ModelInfo, rng: random.Random, timeout: float) -> None:
    """One request of any kind; its answer is the right one."""
    if rng.randrange(8) == 0:
        assert link.info(timeout) == info
        return
    mode = rng.choice(list(RunMode))
    data = fake_input(seed=rng.randrange(2**32))
    masks = {
        RunMode.OPEN: bytes([1] * MASK_BYTES),
        RunMode.GIVEN: bytes(rng.randrange(2) for _ in range(MASK_BYTES)),
    }.get(mode, bytes(MASK_BYTES))
    groups = {RunMode.GIVEN: masks, RunMode.BUDGET: bytes(MASK_BYTES)}.get(mode, b"")
    shown = rng.choice(["", "", "tensors", "steps"])
    result = link.run(
        info, data.tobytes(), mode, groups=groups, tensors=shown == "tensors", steps=shown == "steps", timeout=timeout
    )
    assert (result.output, result.masks) == (data[::-1].tobytes(), masks)
    assert result.tensors == ({5: data.tobytes(), 7: data[::-1].tobytes()} if shown == "tensors" else {})
    assert set(result.steps) == ({5, 7} if shown == "steps" else set())


def test_ten_thousand_requests_on_a_bad_wire(server: Path) -> None:
    """With the firmware's own C, under sanitizers."""
    rng = random.Random(20)  # noqa: S311
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([server], stdin=theirs, stdout=theirs, env={"ASAN_OPTIONS": "detect_leaks=0"}):
        theirs.close()
        wire = BadWire(SocketStream(ours, lambda: "the firmware has ended"), rng)
        link = LinkClient(wire, tries=TRIES)
        wire.enabled = False
        info = link.connect()
        assert info.input_bytes == INPUT_BYTES
        wire.enabled = True
        for _ in range(REQUESTS):
            ask(link, info, rng, timeout=0.005)
        wire.enabled = False
        assert LinkClient(wire).connect() == info
        ours.shutdown(socket.SHUT_RDWR)
    assert len(wire.damage) == 14 and min(wire.damage.values()) > 50, wire.damage


@pytest.mark.uart
def test_uart_on_a_bad_wire(board: Board, firmware: BuildResult) -> None:
    rng = random.Random(21)  # noqa: S311
    with Emulator(board, firmware.elf, transport="uart") as emulator:
        wire = BadWire(emulator.link._stream, rng)
        link = LinkClient(wire, tries=TRIES)
        for _ in range(80):
            ask(link, emulator.info, rng, timeout=0.05)
        assert wire.damage.total() > 3
