# SPDX-License-Identifier: Apache-2.0
"""Boards that are brought up by their TOML: the image is laid out as the chip starts it, and its drivers speak.

With --all-boards every board that is built bare; without, one of each kind.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from acsgen.emit.surroundings import project_files
from acsgen.target import unicorn_emulator
from acsgen.target.boards import Board, list_boards, load_board
from acsgen.target.build import LOG_NAME, BuildResult, build
from acsgen.target.emulator import Emulator
from acsgen.target.engines import runs_in
from acsgen.target.unicorn_emulator import UnicornEmulator, has_core, has_uart
from tests.target.fake_project import INSTRUCTIONS_PER_ROUND, LONG_ROUNDS, fake_input, make_project
from tests.target.image import assert_within_memory

#: One for each UART driver, and a Cortex-M0 with a boot stage, an M3 and an M33.
FEW = ("bluepill-f103c8", "nucleo-u575zi-q", "pico")

BAUD = 115200


def chips_of(config: pytest.Config) -> list[Board]:
    boards = [load_board(name) for name in list_boards()]
    bare = [board for board in boards if board.is_bare and board.toolchain.prefix == "arm-none-eabi-"]
    return [board for board in bare if config.getoption("--all-boards") or board.name in FEW]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chips = chips_of(metafunc.config)
    if "chip" in metafunc.fixturenames:
        metafunc.parametrize("chip", chips, ids=lambda board: board.name)
    if "with_uart" in metafunc.fixturenames:
        metafunc.parametrize("with_uart", [board for board in chips if has_uart(board)], ids=lambda board: board.name)


@pytest.fixture(scope="session")
def built_chips(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BuildResult]:
    folder = tmp_path_factory.mktemp("chips")
    chips = chips_of(request.config)
    projects = [make_project(folder / board.name, board) for board in chips]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip((board.name for board in chips), pool.map(build, projects), strict=True))


def test_the_image_is_what_the_chip_starts(chip: Board, built_chips: dict[str, BuildResult]) -> None:
    """Stack pointer, entry and every vector lie where they must; nothing was warned of; all fits."""
    result = built_chips[chip.name]
    assert "warning" not in (result.elf.parents[2] / LOG_NAME).read_text(encoding="utf-8")
    with result.elf.open("rb") as stream:
        file = ELFFile(stream)
        symbol = {entry.name: entry["st_value"] for entry in file.get_section_by_name(".symtab").iter_symbols()}
        code = file.get_section_by_name(".text")
        start, text, entry = code["sh_addr"], code.data(), file["e_entry"]
    vectors = symbol["port_vectors"]
    assert start == chip.flash.base
    assert vectors == (chip.flash.base + 0x200 if "rp2040" in chip.ports else chip.flash.base)
    interrupts = next(int(define.split("=")[1]) for define in chip.defines if define.startswith("PORT_IRQ_COUNT="))
    words = struct.unpack_from(f"<{16 + interrupts}I", text, vectors - start)
    size = 4 * len(words)
    assert vectors % (1 << (size - 1).bit_length()) == 0  # ARMv7-M B3.2.5: a multiple of its size's power of two
    assert words[0] == chip.ram.base + chip.stack_bytes and words[0] % 8 == 0
    assert words[1] == entry == symbol["port_reset"]
    for handler in words[1:]:
        assert handler & 1 and vectors + size <= handler < chip.flash.base + chip.flash.bytes
    assert words[15] == symbol["port_systick"]
    assert ("systick" in chip.ports) == (words[15] != words[14])
    assert_within_memory(result.elf, chip)


def crc32_mpeg2(data: bytes) -> int:
    """CRC-32 as the RP2040's boot ROM takes it (datasheet, 2.8.1.3.1)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc >> 31 else 0)
    return crc


def test_checksum_by_the_catalogue() -> None:
    assert crc32_mpeg2(b"123456789") == 0x0376E6E7


def test_the_pico_boot_stage_has_its_sum(built_chips: dict[str, BuildResult]) -> None:
    image = built_chips["pico"].elf.with_suffix(".bin").read_bytes()
    assert struct.unpack_from("<I", image, 252) == (crc32_mpeg2(image[:252]),)
    assert image[256:512] == bytes(256)


def test_the_image_runs_over_its_own_uart(with_uart: Board, built_chips: dict[str, BuildResult]) -> None:
    """As over semihosting, to the instruction, and at the right speed for a chip whose clocks do not start."""
    elf = built_chips[with_uart.name].elf
    inputs = [fake_input(1000 * seed, seed=seed) for seed in range(1, 4)]
    with UnicornEmulator(with_uart, elf) as emulator:
        expected = [emulator.run(data) for data in inputs]
    with UnicornEmulator(with_uart, elf, transport="uart") as emulator:
        seen = [emulator.run(data) for data in inputs]
        bits_a_second = speed(with_uart, emulator.written)
        tensors = emulator.run(inputs[0], tensors=True).tensors
    assert tensors == {5: inputs[0].tobytes(), 7: inputs[0][::-1].tobytes()}
    for data, one, other in zip(inputs, expected, seen, strict=True):
        np.testing.assert_array_equal(one.output, data[::-1])
        np.testing.assert_array_equal(other.output, data[::-1])
        assert one.instructions == other.instructions
    assert seen[1].instructions - seen[0].instructions == 1000 * INSTRUCTIONS_PER_ROUND
    assert with_uart.setup is not None
    assert bits_a_second(with_uart.setup.uart.hertz_at_reset) == pytest.approx(BAUD, rel=0.02)


DHCSR = 0xE000EDF0


@pytest.mark.parametrize(("halting", "calls"), [(0, 1), (1, 0)])
def test_no_semihosting_call_where_it_would_halt_the_core(
    built_chips: dict[str, BuildResult], monkeypatch: pytest.MonkeyPatch, halting: int, calls: int
) -> None:
    """Programs that flash may leave halting debug on: the firmware then takes the UART without asking."""
    name, seen = "bluepill-f103c8", []
    load, serve = unicorn_emulator._Core._load, unicorn_emulator._Core._serve

    def read(self: Any, uc: Any, offset: int, size: int, base: int) -> int:
        return halting if base + offset == DHCSR else load(self, uc, offset, size, base)

    def count(self: Any) -> bool:
        seen.append(self._exception)
        return serve(self)

    monkeypatch.setattr(unicorn_emulator._Core, "_load", read)
    monkeypatch.setattr(unicorn_emulator._Core, "_serve", count)
    with UnicornEmulator(load_board(name), built_chips[name].elf, transport="uart") as emulator:
        assert emulator.run(fake_input(5)).output.tolist() == fake_input(5)[::-1].tolist()
    assert len([exception for exception in seen if exception is not None]) == calls


def speed(board: Board, written: dict[int, int]) -> Callable[[int], float]:
    """What the divisor that was written makes of a clock, in bits a second."""
    assert board.setup is not None
    base = board.setup.uart_base
    if "pl011" in board.ports:  # DDI 0183, 3.3.6: a divisor of 16ths, its fraction in 64ths
        return lambda hertz: hertz / (16 * (written[base + 0x24] + written[base + 0x28] / 64))
    return lambda hertz: hertz / written[base + (0x08 if "stm32_usart_v1" in board.ports else 0x0C)]


def test_full_speed_where_every_wait_is_met(tmp_path: Path) -> None:
    """Without waits the steps are taken to their end, and the UART's divisor is that of the fast clock."""
    name = "nucleo-u575zi-q"
    board = load_board(name)
    text = board.path.read_text(encoding="utf-8")
    assert board.setup is not None
    for step in board.setup.core.steps:
        assert step.mask == 0 or step.mask & step.value == step.value
    waits = [line for line in text.splitlines() if line.strip().startswith("[0x") and line.count(",") == 5]
    assert len(waits) >= 5
    for line in waits:
        text = text.replace(line, ", ".join(line.split(", ")[:3]) + "],")
    path = tmp_path / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    board = load_board(str(path))
    result = build(make_project(tmp_path / "project", board))
    with UnicornEmulator(board, result.elf) as emulator:
        written = emulator.written
    assert board.setup is not None
    assert speed(board, written)(board.setup.uart.hertz) == pytest.approx(BAUD, rel=0.005)
    for step in (*board.setup.core.steps, *board.setup.uart.steps):
        assert step.address in written or not (step.clear | step.set)


def test_systick_counts_32_bits(tmp_path: Path) -> None:
    """In QEMU, where it runs at the chip's 168 MHz: across its 24 bits, and again after each restart."""
    board = load_board("stm32f405")
    text = board.path.read_text(encoding="utf-8")
    assert '"stm32_tim2"' in text and "instructions_per_tick = [1, 1]" in text
    text = text.replace('"stm32_tim2"', '"systick"').replace("[1, 1]", "[1000, 168]")
    path = tmp_path / "stm32f405.toml"
    path.write_text(text, encoding="utf-8")
    board = load_board(str(path))
    result = build(make_project(tmp_path / "project", board))
    with Emulator(board, result.elf) as emulator:
        counts = [
            emulator.run(fake_input(rounds, trouble=LONG_ROUNDS)).instructions
            for rounds in (100_000, 200_000, 300_000, 1_700_000, 100_000)
        ]
    assert all(abs(count - counts[0] - more) < 100 for count, more in zip(counts, (0, 1e8, 2e8, 16e8, 0), strict=True))
    assert counts[1] > 2**24 * 1000 / 168


def test_boards_that_need_a_framework() -> None:
    boards = [load_board(name) for name in list_boards()]
    needy = [board for board in boards if not board.is_bare]
    assert {"esp32", "esp32-c3", "esp32-s3"} <= {board.name for board in needy}
    for board in needy:
        assert board.official and board.official.frameworks in (("espidf", "arduino"), ("espidf",))
        assert runs_in(board) == () and not has_core(board)
        ini = project_files(board, "net")["platformio.ini"]
        assert f"default_envs = {board.name}-espidf\n" in ini


def test_what_runs_a_board_is_said_honestly() -> None:
    assert runs_in(load_board("stm32f405")) == ("QEMU", "Unicorn (instructions only)")
    assert runs_in(load_board("riscv32-virt")) == ("QEMU (instructions only)",)
    assert runs_in(load_board("xtensa-sim")) == ("QEMU (instructions only)",)
    assert runs_in(load_board("pico")) == ("Unicorn (instructions only)",)
    assert runs_in(replace(load_board("mps3-an547"), emulator=None)) == ()
    assert {load_board(name).hardware for name in list_boards()} == {"never"}
