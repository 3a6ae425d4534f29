# SPDX-License-Identifier: Apache-2.0
"""Frames, good and bad, in both directions."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import pytest

from acsgen.errors import AcsgenError
from acsgen.target.boards import Board
from acsgen.target.build import BuildResult
from acsgen.target.emulator import Emulator
from acsgen.target.link import (
    MAGIC,
    RESPONSE,
    Command,
    LinkClient,
    LinkError,
    RunMode,
    Status,
    encode_frame,
)
from tests.target.fake_project import INPUT_BYTES, MASK_BYTES, fake_input

RUN_PAYLOAD = bytes([RunMode.SKIP, 0]) + bytes(INPUT_BYTES)


@pytest.fixture
def link(board: Board, firmware: BuildResult) -> Iterator[LinkClient]:
    with Emulator(board, firmware.elf) as emulator:
        yield emulator.link


def damaged(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 0x10]) + frame[at + 1 :]


def with_header(version: int, command: int, length: int) -> bytes:
    return MAGIC + bytes([version, command, 0, 9]) + length.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("frame", "command", "status"),
    [
        (encode_frame(Command.INFO, tag=9), Command.INFO, Status.OK),
        (encode_frame(Command.RUN, RUN_PAYLOAD, tag=9), Command.RUN, Status.OK),
        (damaged(encode_frame(Command.INFO, tag=9), -1), Command.INFO, Status.BAD_CRC),
        (damaged(encode_frame(Command.EXIT, tag=9), -4), Command.EXIT, Status.BAD_CRC),
        (damaged(encode_frame(Command.RUN, RUN_PAYLOAD, tag=9), 20), Command.RUN, Status.BAD_CRC),
        (with_header(1, Command.RUN, 0xFFFF_FFFF), Command.RUN, Status.BAD_LENGTH),
        (with_header(1, Command.RUN, len(RUN_PAYLOAD) + 1), Command.RUN, Status.BAD_LENGTH),
        (with_header(1, Command.RUN, 0), Command.RUN, Status.BAD_LENGTH),
        (with_header(1, Command.INFO, 1), Command.INFO, Status.BAD_LENGTH),
        (with_header(1, Command.EXIT, 1 << 24), Command.EXIT, Status.BAD_LENGTH),
        (with_header(1, 0x77, 0), 0x77, Status.BAD_COMMAND),
        (with_header(2, Command.INFO, 0), Command.INFO, Status.BAD_VERSION),
        (encode_frame(Command.RUN, b"\x03" + RUN_PAYLOAD[1:], tag=9), Command.RUN, Status.BAD_ARGUMENT),
        (encode_frame(Command.RUN, RUN_PAYLOAD + bytes(MASK_BYTES), tag=9), Command.RUN, Status.BAD_ARGUMENT),
        (encode_frame(Command.RUN, b"\x04" + RUN_PAYLOAD[1:], tag=9), Command.RUN, Status.BAD_ARGUMENT),
        (encode_frame(Command.RUN, b"\x04" + RUN_PAYLOAD[1:] + bytes(4), tag=9), Command.RUN, Status.OK),
        (encode_frame(Command.RUN, b"\x05" + RUN_PAYLOAD[1:] + bytes(4), tag=9), Command.RUN, Status.BAD_ARGUMENT),
        (
            encode_frame(Command.RUN, b"\x00\x03" + RUN_PAYLOAD[2:], tag=9),
            Command.RUN,
            Status.BAD_ARGUMENT,
        ),
    ],
)
def test_firmware_answers(link: LinkClient, frame: bytes, command: int, status: Status) -> None:
    link.send(frame)
    answer = link.receive(1024)
    assert (answer.command, answer.status, answer.tag) == (command | RESPONSE, status, 9)
    if status is not Status.OK:
        assert answer.payload == b""
    link.info()


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 1000, b"A", b"ACS", b"AACSAACS", b"ACSACSA", bytes(range(256)) * 3, b"\xff" * 5],
)
def test_firmware_skips_garbage(link: LinkClient, garbage: bytes) -> None:
    link.send(garbage + encode_frame(Command.INFO, tag=3))
    answer = link.receive(1024)
    assert (answer.command, answer.status, answer.tag) == (Command.INFO | RESPONSE, Status.OK, 3)


def test_connect_gets_through_a_frame_that_broke_off(link: LinkClient) -> None:
    link.send(encode_frame(Command.RUN, RUN_PAYLOAD)[:15])
    assert link.connect().name == "fake"
    assert link.info().name == "fake"


class Script:
    """A stream on which the firmware says what the test wrote."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.sent: list[bytes] = []

    def read(self, size: int, timeout: float) -> bytes:
        if not self.answers:
            time.sleep(max(0.0, min(timeout, 0.01)))
            raise LinkError("the firmware does not answer")
        data = self.answers.pop(0)
        if len(data) > size:
            self.answers.insert(0, data[size:])
        return data[:size]

    def write(self, data: bytes, timeout: float) -> None:
        self.sent.append(data)


def answer(command: int, payload: bytes, *, status: int = 0, tag: int = 1, version: int = 1) -> bytes:
    body = bytes([version, command | RESPONSE, status, tag]) + len(payload).to_bytes(4, "little")
    body += payload
    return MAGIC + body + zlib.crc32(body).to_bytes(4, "little")


INFO_PAYLOAD = b"".join(n.to_bytes(4, "little") for n in (1, 64, 16, 16, 4, 2)) + b"fake"


def test_client_reads_byte_by_byte_and_skips_garbage() -> None:
    stream = b"boot noise AC" + answer(Command.INFO, INFO_PAYLOAD)
    client = LinkClient(Script(*(bytes([byte]) for byte in stream)))
    info = client.info()
    assert (info.name, info.arena_bytes, info.tensor_count) == ("fake", 64, 2)


def test_client_skips_answers_to_earlier_requests() -> None:
    late = answer(Command.INFO, INFO_PAYLOAD, tag=200) + answer(Command.RUN, b"", status=1, tag=0)
    client = LinkClient(Script(late, answer(Command.INFO, INFO_PAYLOAD)))
    assert client.info().name == "fake"


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (damaged(answer(Command.INFO, INFO_PAYLOAD), 20), "damaged on its way"),
        (answer(Command.INFO, INFO_PAYLOAD, version=2), "speaks version 2 of the link, acsgen 1"),
        (answer(Command.INFO, INFO_PAYLOAD[:10]), "INFO has 10 bytes"),
        (answer(Command.INFO, b"", status=Status.BAD_CRC), "refuses INFO: the frame was damaged"),
        (answer(Command.INFO, b"", status=77), "refuses INFO: status 77"),
        (MAGIC + bytes([1, 0x81, 0, 1, 255, 255, 255, 255]), "announces 4294967295 bytes"),
        (b"", "does not answer"),
        (b"nothing but noise", "does not answer"),
    ],
)
def test_client_says_what_is_wrong(stream: bytes, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        LinkClient(Script(*([stream] if stream else []))).info()


def test_client_reports_a_fault() -> None:
    fault = answer(Command.FAULT, b"HardFault at pc 0x00000000", status=Status.STOPPED, tag=0)
    with pytest.raises(AcsgenError, match="the firmware stopped: HardFault at pc 0x00000000"):
        LinkClient(Script(fault)).info()


def test_client_gives_up_connecting() -> None:
    script = Script()
    with pytest.raises(LinkError, match="does not answer"):
        LinkClient(script).connect(timeout=0.5)
    assert len(script.sent) > 2


def test_result_of_the_wrong_length() -> None:
    client = LinkClient(Script(answer(Command.INFO, INFO_PAYLOAD), answer(Command.RUN, bytes(23), tag=2)))
    info = client.info()
    with pytest.raises(LinkError, match="result has 23 bytes; its INFO promised 24"):
        client.run(info, fake_input().tobytes(), RunMode.SKIP)


def test_client_finds_the_frame_behind_a_false_start() -> None:
    """A magic in the noise, with a length that reaches into the true answer, hides nothing for good."""
    noise = MAGIC + bytes([1, 0x81, 0, 1, 8, 0, 0, 0])
    client = LinkClient(Script(noise + answer(Command.INFO, INFO_PAYLOAD)))
    with pytest.raises(LinkError, match="damaged on its way"):
        client.receive(64)
    assert client.receive(64).payload == INFO_PAYLOAD


def test_client_tries_again_until_it_is_answered() -> None:
    refusals = [answer(Command.INFO, b"", status=Status.BAD_CRC), damaged(answer(Command.INFO, b"", tag=2), -1)]
    script = Script(*refusals, answer(Command.INFO, INFO_PAYLOAD, tag=3))
    assert LinkClient(script, tries=3).info().name == "fake"
    assert [data for data in script.sent if data.startswith(MAGIC)] == [
        encode_frame(Command.INFO, tag=tag) + bytes(16) for tag in (1, 2, 3)
    ]


def test_client_does_not_insist_where_the_model_refuses() -> None:
    script = Script(answer(Command.INFO, INFO_PAYLOAD), answer(Command.RUN, b"", status=Status.RUN_FAILED, tag=2))
    client = LinkClient(script, tries=5)
    with pytest.raises(LinkError, match="the model would not run"):
        client.run(client.info(), fake_input().tobytes(), RunMode.SKIP)
    assert len(script.sent) == 2


def test_tensors_that_got_lost_on_their_way() -> None:
    tensor = answer(Command.TENSOR, bytes(18), tag=2)
    client = LinkClient(Script(answer(Command.INFO, INFO_PAYLOAD), tensor, answer(Command.RUN, bytes(24), tag=2)))
    info = client.info()
    with pytest.raises(LinkError, match="showed 1 steps of 2"):
        client.run(info, fake_input().tobytes(), RunMode.SKIP, tensors=True)
