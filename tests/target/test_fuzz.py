# SPDX-License-Identifier: Apache-2.0
"""The firmware's side of the link, on the host under sanitizers, fed with random bytes."""

from __future__ import annotations

import contextlib
import random
import subprocess
from pathlib import Path

import pytest

from acsgen.target.link import MAGIC, RESPONSE, Command, LinkClient, Status, encode_frame
from tests.target.fake_project import INPUT_BYTES, MASK_BYTES

LAST_TAG = 0xEE


def random_piece(rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(40))
    if kind == 1:  # a header with anything in it
        return MAGIC + rng.randbytes(8)
    if kind == 2:  # a plausible header, any length
        header = bytes([1, rng.choice(list(Command)), 0, rng.randrange(256)])
        length = rng.choice([0, 1, 17, 18, 19, 21, 22, 23, 2**16, 2**31, 2**32 - 1])
        return MAGIC + header + length.to_bytes(4, "little")
    payload = bytes([rng.randrange(6), rng.randrange(4)]) + rng.randbytes(INPUT_BYTES + rng.choice([0, MASK_BYTES]))
    frame = encode_frame(Command.RUN, payload) if kind < 5 else encode_frame(Command.INFO)
    if kind == 3:  # damaged
        at = rng.randrange(len(frame))
        return frame[:at] + bytes([frame[at] ^ (1 << rng.randrange(8))]) + frame[at + 1 :]
    return frame[: rng.randrange(len(frame))] if rng.random() < 0.2 else frame


class Replay:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, size: int, timeout: float) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        if not data:
            raise EOFError
        return data

    def write(self, data: bytes, timeout: float) -> None:
        raise AssertionError


@pytest.mark.parametrize("seed", range(25))
def test_random_bytes(server: Path, seed: int) -> None:
    """No sanitizer complains, all responses are sound, and a good request still gets through."""
    rng = random.Random(seed)  # noqa: S311
    stream = b"".join(random_piece(rng) for _ in range(2000))
    stream += bytes(64) + encode_frame(Command.INFO, tag=LAST_TAG)
    # The leak checker needs to trace its process, which a container may forbid; the firmware has no heap.
    options = {"ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([server], input=stream, capture_output=True, timeout=60, check=False, env=options)
    assert done.returncode == 0, done.stderr.decode()
    client = LinkClient(Replay(done.stdout))
    frames = []
    with contextlib.suppress(EOFError):
        while True:
            frames.append(client.receive(64))
    assert len(frames) > 500
    assert all(frame.command & RESPONSE for frame in frames)
    assert {frame.status for frame in frames} <= set(Status)
    last = frames[-1]
    assert (last.command, last.status, last.tag) == (Command.INFO | RESPONSE, Status.OK, LAST_TAG)
