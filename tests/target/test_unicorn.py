# SPDX-License-Identifier: Apache-2.0
"""The second engine: the same answers as QEMU's, and which of the two is taken."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.target import engines, unicorn_emulator
from acsgen.target.boards import Board, load_board
from acsgen.target.build import BuildResult
from acsgen.target.emulator import Emulator
from acsgen.target.engines import choose_engine, open_emulator, parse_engine
from acsgen.target.link import LinkError, RunMode
from acsgen.target.unicorn_emulator import UnicornEmulator, thumb_instructions
from tests.target.fake_project import (
    INSTRUCTIONS_PER_ROUND,
    OVERFLOW,
    REFUSE,
    UNDEFINED,
    WILD_JUMP,
    fake_input,
)

BOARD = "mps2-an386"


@pytest.fixture
def board() -> Board:
    return load_board(BOARD)


@pytest.fixture
def firmware(builds: dict[str, BuildResult]) -> BuildResult:
    return builds[BOARD]


def test_same_as_qemu(board: Board, firmware: BuildResult) -> None:
    with UnicornEmulator(board, firmware.elf) as one, Emulator(board, firmware.elf) as other:
        assert one.info == other.info
        more = set()
        for seed, mode in enumerate((RunMode.SKIP, RunMode.MULTIPLY, RunMode.OPEN)):
            data = fake_input(100 * seed, seed=seed)
            seen, expected = one.run(data, mode), other.run(data, mode)
            np.testing.assert_array_equal(seen.output, expected.output)
            np.testing.assert_array_equal(seen.masks, expected.masks)
            more.add(seen.instructions - expected.instructions)
            assert one.run(data, mode, tensors=True).tensors == other.run(data, mode, tensors=True).tensors
            steps, instructions = one.run(data, mode, steps=True).steps, other.run(data, mode, steps=True).steps
            assert steps.keys() == instructions.keys() and len(steps) > 0
            assert all(abs(steps[index] - instructions[index]) < 30 for index in steps)
        assert len(more) == 1


def test_instructions_are_exact(board: Board, firmware: BuildResult) -> None:
    with UnicornEmulator(board, firmware.elf) as emulator:
        for rounds in (1, 2, 77, 12_345):
            once = emulator.run(fake_input(rounds)).instructions
            twice = emulator.run(fake_input(2 * rounds)).instructions
            assert twice - once == rounds * INSTRUCTIONS_PER_ROUND


def test_length_of_instructions() -> None:
    """nop; b.w; bl; movw; bx lr; ldr.w: three of them have one half word more."""
    code = bytes.fromhex("00bf 00f000b8 00f000f8 40f20000 7047 d0f80000")
    assert thumb_instructions(code) == 6


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (UNDEFINED, "stopped at pc 0x[0-9a-f]{8}: Invalid instruction"),
        (OVERFLOW, "stopped at pc 0x[0-9a-f]{8}: stack overflow"),
        (WILD_JUMP, "stopped at pc 0xa0000000: jump to nowhere"),
    ],
)
def test_fault_ends_it_with_a_reason(board: Board, firmware: BuildResult, trouble: int, reason: str) -> None:
    with UnicornEmulator(board, firmware.elf) as emulator:
        for _ in range(2):  # it has ended, and says so again
            with pytest.raises(AcsgenError, match=f"unicorn with {re.escape(str(firmware.elf))} {reason}"):
                emulator.run(fake_input(trouble=trouble))


def test_model_that_refuses_and_exit(board: Board, firmware: BuildResult) -> None:
    with UnicornEmulator(board, firmware.elf) as emulator:
        with pytest.raises(LinkError, match="refuses RUN: the model would not run"):
            emulator.run(fake_input(trouble=REFUSE))
        emulator.run(fake_input())
        emulator.link.exit()
        with pytest.raises(AcsgenError, match="ended with exit code 0"):
            emulator.run(fake_input())


def test_time_out_of_a_run(board: Board, firmware: BuildResult) -> None:
    with UnicornEmulator(board, firmware.elf) as emulator:
        with pytest.raises(LinkError, match="the firmware does not answer"):
            emulator.run(fake_input(200_000), timeout=0.01)
        data = fake_input(seed=3)
        np.testing.assert_array_equal(emulator.run(data).output, data[::-1])


def test_wrong_inputs_and_firmware(board: Board, firmware: BuildResult, tmp_path: Path) -> None:
    with (
        UnicornEmulator(board, firmware.elf) as emulator,
        pytest.raises(AcsgenError, match="array of int8, not of float64"),
    ):
        emulator.run(np.zeros(16))
    with pytest.raises(AcsgenError, match="build the project first"), UnicornEmulator(board, tmp_path / "x"):
        pass
    wrong = tmp_path / "firmware.elf"
    wrong.write_bytes(b"not an ELF")
    with pytest.raises(AcsgenError, match=r"cannot read firmware .*firmware\.elf"), UnicornEmulator(board, wrong):
        pass


def test_what_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="board mps3-an547: Unicorn has no cortex-m55; use QEMU"):
        UnicornEmulator(load_board("mps3-an547"), tmp_path)
    with pytest.raises(AcsgenError, match="board microbit has no UART in Unicorn; use semihosting"):
        UnicornEmulator(load_board("microbit"), tmp_path, transport="uart")


def test_missing_package(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorn_emulator, "is_installed", lambda: False)
    with pytest.raises(
        AcsgenError, match=r"needs the Python package unicorn; install it: pip install 'acsgen\[unicorn\]'"
    ):
        UnicornEmulator(board, tmp_path)


def test_the_engine_is_what_is_installed(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine(board) == "qemu"
    assert choose_engine(load_board("pico")) == "unicorn"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose_engine(board) == "unicorn"
    assert choose_engine(load_board("mps3-an547")) == "qemu"
    monkeypatch.setattr(engines, "is_installed", lambda: False)
    with pytest.raises(AcsgenError, match="running needs qemu-system-arm; install it"):
        open_emulator(board, tmp_path)
    with pytest.raises(AcsgenError, match="board esp32 has no emulator; name a real one: --on PORT"):
        choose_engine(load_board("esp32"))
    with pytest.raises(AcsgenError, match="has no emulator"):
        choose_engine(replace(load_board("mps3-an547"), emulator=None))


def test_names_of_engines() -> None:
    assert [parse_engine(name) for name in ("qemu", "unicorn", None)] == ["qemu", "unicorn", None]
    with pytest.raises(AcsgenError, match="no engine is called 'unicron': did you mean unicorn"):
        parse_engine("unicron")
