# SPDX-License-Identifier: Apache-2.0
"""Boards at serial ports, with QEMU's serial port in place of the board's."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

import acsgen.target.device
from acsgen.errors import AcsgenError
from acsgen.target.boards import Board, load_board
from acsgen.target.build import BuildResult
from acsgen.target.device import Device
from acsgen.target.emulator import Emulator
from acsgen.target.link import RESPONSE, Command, LinkClient, LinkError, RunMode, encode_frame
from acsgen.target.monitor import watch
from acsgen.target.stream import SerialStream
from tests.target.fake_project import FINGERPRINT, UNDEFINED, fake_input
from tests.target.serial_board import Kind, serial_board


@pytest.mark.uart
def test_run(board: Board, firmware: BuildResult) -> None:
    """The emulator's results; its ticks are the instructions that the emulator counts."""
    assert board.emulator is not None
    inputs = [fake_input(1000 * seed, seed=seed) for seed in range(4)]
    with Emulator(board, firmware.elf) as emulator:
        expected = [emulator.run(data, mode) for data in inputs for mode in (RunMode.SKIP, RunMode.OPEN)]
        steps = emulator.run(inputs[1], steps=True).steps
    with serial_board(board, firmware.elf) as (port, _), Device(board, port) as device:
        assert device.info.fingerprint == FINGERPRINT
        seen = [device.run(data, mode) for data in inputs for mode in (RunMode.SKIP, RunMode.OPEN)]
        for result, other in zip(seen, expected, strict=True):
            np.testing.assert_array_equal(result.output, other.output)
            np.testing.assert_array_equal(result.masks, other.masks)
            assert board.emulator.instructions(result.ticks) == other.instructions
            assert result.instructions == 0
        assert device.run(inputs[1], tensors=True).tensors == {5: inputs[1].tobytes(), 7: inputs[1][::-1].tobytes()}
        # A board's steps are cycles of its core, which may be faster than the counter.
        by_tick = board.core_hertz // board.tick_hertz
        cycles = device.run(inputs[1], steps=True).steps
        assert {index: board.emulator.instructions(count // by_tick) for index, count in cycles.items()} == steps


@pytest.fixture
def elf(builds: dict[str, BuildResult]) -> BuildResult:
    return builds["stm32f405"]


BOARD = load_board("stm32f405")


# pyserial drops a socket whose other end is gone without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["device", "socket"])
def test_board_that_is_disconnected(elf: BuildResult, kind: Kind) -> None:
    with serial_board(BOARD, elf.elf, kind) as (port, process), Device(BOARD, port) as device:
        np.testing.assert_array_equal(device.run(fake_input()).output, fake_input()[::-1])
        process.kill()
        process.wait()
        with pytest.raises(AcsgenError, match=rf"port {port} is gone \(.+\); is the board still connected\?"):
            for _ in range(3):  # what was written last may still have gone out
                device.run(fake_input(), timeout=0.5)


def test_cycles_of_a_core_that_is_faster_than_its_counter(elf: BuildResult) -> None:
    class Faster(Board):
        core_hertz = 3 * BOARD.tick_hertz

    faster = Faster(**{name: getattr(BOARD, name) for name in BOARD.__dataclass_fields__})
    assert BOARD.core_hertz == 2 * BOARD.tick_hertz
    assert (BOARD.cycles(7), faster.cycles(7)) == (14, 21)


def test_fault(elf: BuildResult) -> None:
    with (
        serial_board(BOARD, elf.elf) as (port, _),
        Device(BOARD, port) as device,
        pytest.raises(AcsgenError, match=r"the firmware stopped: HardFault at pc 0x0800.*; reset the board"),
    ):
        device.run(fake_input(trouble=UNDEFINED))


def test_the_next_one_finds_a_board_that_was_left_in_the_midst(elf: BuildResult) -> None:
    with serial_board(BOARD, elf.elf) as (port, _):
        with SerialStream(port) as stream:
            stream.write(b"ACSL\x01\x02\x00\x09\x12\x00\x00\x00half", 1.0)
        with Device(BOARD, port) as device:
            assert device.info.fingerprint == FINGERPRINT


def test_a_run_that_takes_long_gets_the_time_it_needs(elf: BuildResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little it is given at first: twice as much at each further try."""
    monkeypatch.setattr(acsgen.target.device, "_SLACK", 0.005)
    monkeypatch.setattr(acsgen.target.device, "TRIES", 16)
    with serial_board(BOARD, elf.elf) as (port, _), Device(BOARD, port) as device:
        device._longest = 0.0
        before = device.link._tag
        data = fake_input(3_000_000)
        np.testing.assert_array_equal(device.run(data).output, data[::-1])
        assert device.link._tag > before + 1


def test_a_counter_that_stands_still(elf: BuildResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 0 is no measurement; where tensors were sent it is what was agreed."""
    with serial_board(BOARD, elf.elf) as (port, _), Device(BOARD, port) as device:
        real = device.link.run
        monkeypatch.setattr(device.link, "run", lambda *sent, **more: replace(real(*sent, **more), ticks=0))
        assert device.run(fake_input(), tensors=True).ticks == 0
        with pytest.raises(AcsgenError, match="model fake ran, but the firmware's counter stands still: is its clock"):
            device.run(fake_input())


def test_only_one_may_talk_to_a_board(elf: BuildResult) -> None:
    with (
        serial_board(BOARD, elf.elf) as (port, _),
        Device(BOARD, port),
        pytest.raises(AcsgenError, match=rf"cannot open port {port} \(another program uses it\); there "),
    ):
        SerialStream(port)


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ("/dev/no-such-port", "no such file or directory"),
        ("socket://127.0.0.1:1", "connection refused"),
        ("socket://nowhere", ".*"),
        (__file__, "inappropriate ioctl for device"),
        ("nonsense://1", "invalid URL, protocol 'nonsense' not known"),
    ],
)
def test_ports_that_cannot_be_opened(port: str, reason: str) -> None:
    with pytest.raises(AcsgenError, match=rf"^cannot open port {port} \({reason}\); there (are: /dev|is no serial)"):
        SerialStream(port)


def test_an_echo_is_no_answer() -> None:
    with (
        pytest.raises(AcsgenError, match=r"no firmware of acsgen's answers on loop:// .*acsgen flash"),
        Device(BOARD, "loop://", start_timeout=0.5),
    ):
        pass


def test_bytes_come_as_they_are_there() -> None:
    with SerialStream("loop://") as stream:
        stream.write(bytes(range(256)), 1.0)
        data = b""
        while len(data) < 256:
            data += stream.read(100, 1.0)
        assert data == bytes(range(256))
        start = time.monotonic()
        with pytest.raises(LinkError, match="nothing answers on loop://"):
            stream.read(1, 0.05)
        assert time.monotonic() - start < 1.0


def test_monitor_tells_frames_from_text(elf: BuildResult) -> None:
    with serial_board(BOARD, elf.elf) as (port, _), SerialStream(port) as stream:
        client = LinkClient(stream)
        client.connect()
        stream.write(b"ACSL\x01\x77\x00\x05\x00\x00\x00\x00", 1.0)
        heard = list(watch(stream, seconds=0.3))
    assert [(event.kind, event.text) for event in heard] == [
        ("frame", "command 0x77 answer, BAD_COMMAND, tag 5, 0 bytes")
    ]


def test_monitor_shows_what_is_no_frame() -> None:
    fault = bytearray(encode_frame(Command.FAULT | RESPONSE, b"HardFault at pc 0x0"))
    broken = encode_frame(Command.INFO)[:-1] + b"?"
    with SerialStream("loop://") as stream:
        stream.write(b"boot 1.0\r\nready\n" + bytes(fault) + b"tail" + broken + encode_frame(Command.INFO), 1.0)
        heard = [(event.kind, event.text) for event in watch(stream, seconds=0.2)]
    assert heard[:4] == [
        ("text", "boot 1.0"),
        ("text", "ready"),
        ("frame", "FAULT: HardFault at pc 0x0"),
        ("text", "tail"),
    ]
    assert heard[-1] == ("frame", "INFO request, tag 0, 0 bytes")
    assert any(kind == "text" and text.startswith("ACSL") for kind, text in heard[4:-1])
