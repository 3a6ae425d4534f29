# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.target.boards import Board, EmulatorSpec, load_board
from acsgen.target.build import BuildResult
from acsgen.target.emulator import Emulator, Transport, transports
from acsgen.target.link import LinkError, ModelInfo, RunMode
from tests.target.fake_project import (
    FINGERPRINT,
    INPUT_BYTES,
    INSTRUCTIONS_PER_LONG_ROUND,
    INSTRUCTIONS_PER_ROUND,
    LONG_ROUNDS,
    MASK_BYTES,
    OUTPUT_BYTES,
    OVERFLOW,
    REFUSE,
    UNDEFINED,
    WILD_JUMP,
    fake_input,
)


def spec_of(board: Board) -> EmulatorSpec:
    assert board.emulator is not None
    return board.emulator


def test_info(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf) as emulator:
        assert emulator.info == ModelInfo(
            name="fake",
            fingerprint=FINGERPRINT,
            arena_bytes=64,
            input_bytes=INPUT_BYTES,
            output_bytes=OUTPUT_BYTES,
            mask_bytes=MASK_BYTES,
            tensor_count=2,
        )


def test_run(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf) as emulator:
        for seed in range(20):
            data = fake_input(seed, seed=seed)
            result = emulator.run(data)
            assert result.output.dtype == np.int8
            assert result.masks.dtype == np.uint8
            np.testing.assert_array_equal(result.output, data[::-1])
            np.testing.assert_array_equal(result.masks, data[:MASK_BYTES].view(np.uint8) & 1)
            assert result.tensors == {}
            assert result.instructions > 0


def test_modes(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf) as emulator:
        data = fake_input(2)
        assert emulator.run(data, RunMode.SKIP).masks.tolist() == [0, 0, 0, 0]
        assert emulator.run(data, RunMode.MULTIPLY).masks.tolist() == [0, 0, 0, 0]
        assert emulator.run(data, RunMode.OPEN).masks.tolist() == [1, 1, 1, 1]
        odd = fake_input(0x01010101)
        assert emulator.run(data, RunMode.GIVEN, masks=[0, 1, 1, 0]).masks.tolist() == [0, 1, 1, 0]
        assert emulator.run(data, RunMode.GIVEN, masks=[1, 0, 0, 0], tensors=True).masks.tolist() == [1, 0, 0, 0]
        assert emulator.run(odd, RunMode.BUDGET).masks.tolist() == [1, 1, 1, 1]
        assert emulator.run(odd, RunMode.BUDGET, raised=1).masks.tolist() == [0, 0, 0, 0]
        assert emulator.run(odd, RunMode.BUDGET, raised=[-128, 127, 0, 1]).masks.tolist() == [1, 0, 1, 0]
        for mode, masks in ((RunMode.GIVEN, [0, 1, 1]), (RunMode.GIVEN, []), (RunMode.SKIP, [0, 1, 1, 0])):
            with pytest.raises(AcsgenError, match=f"4 gated groups, got {len(masks)} for {mode.name}"):
                emulator.run(data, mode, masks=masks)


def test_instructions_of_steps(board: Board, firmware: BuildResult) -> None:
    """The first step of the fake model idles, the second does nothing."""
    with Emulator(board, firmware.elf) as emulator:
        once, twice = (emulator.run(fake_input(rounds), steps=True) for rounds in (1000, 2000))
        assert twice.steps[5] - once.steps[5] == 1000 * INSTRUCTIONS_PER_ROUND
        assert once.steps[7] == twice.steps[7] < 60
        assert (once.instructions, set(once.steps), once.tensors) == (0, {5, 7}, {})


def test_tensors(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf) as emulator:
        data = fake_input(7)
        result = emulator.run(data, tensors=True)
        assert result.tensors == {5: data.tobytes(), 7: data[::-1].tobytes()}
        assert result.instructions == 0
        np.testing.assert_array_equal(result.output, data[::-1])


def test_instructions_are_exact(board: Board, firmware: BuildResult, transport: Transport) -> None:
    """N rounds of a loop against 2N rounds differ by N rounds, to the instruction."""
    with Emulator(board, firmware.elf, transport=transport) as emulator:
        for rounds in (1, 2, 3, 10, 77, 1000, 12_345, 1_000_003):
            once = emulator.run(fake_input(rounds)).instructions
            twice = emulator.run(fake_input(2 * rounds)).instructions
            assert twice - once == rounds * INSTRUCTIONS_PER_ROUND


def test_instructions_are_the_same_every_time(board: Board, firmware: BuildResult) -> None:
    counts: list[list[int]] = []
    for transport in ("semihosting", *transports(board)):
        with Emulator(board, firmware.elf, transport=transport) as emulator:
            inputs = [fake_input(1000 + seed, seed=seed) for seed in range(20)]
            counts.append([emulator.run(data).instructions for data in inputs])
    assert all(count == counts[0] for count in counts[1:])


@pytest.mark.uart
def test_uart_where_nobody_serves_semihosting(board: Board, firmware: BuildResult) -> None:
    """The same binary that answers over semihosting."""
    with Emulator(board, firmware.elf, transport="uart") as emulator:
        assert emulator.info.fingerprint == FINGERPRINT
        for seed in range(5):
            data = fake_input(seed, seed=seed)
            result = emulator.run(data, tensors=True)
            np.testing.assert_array_equal(result.output, data[::-1])
            assert result.tensors == {5: data.tobytes(), 7: data[::-1].tobytes()}


def test_run_longer_than_the_counter(board: Board, firmware: BuildResult) -> None:
    longest = spec_of(board).instructions(2**32)
    with Emulator(board, firmware.elf) as emulator:
        before = emulator.run(fake_input(1)).instructions
        nearly = longest // INSTRUCTIONS_PER_LONG_ROUND - 100
        counted = emulator.run(fake_input(nearly, trouble=LONG_ROUNDS)).instructions
        assert 0 < counted - nearly * INSTRUCTIONS_PER_LONG_ROUND < 300
        with pytest.raises(AcsgenError, match="ran longer than its tick counter can count"):
            emulator.run(fake_input(longest // INSTRUCTIONS_PER_LONG_ROUND + 1, trouble=LONG_ROUNDS))
        assert emulator.run(fake_input(1)).instructions == before


def test_model_that_refuses(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf) as emulator:
        for tensors in (False, True):
            with pytest.raises(LinkError, match="refuses RUN: the model would not run"):
                emulator.run(fake_input(trouble=REFUSE), tensors=tensors)
        emulator.run(fake_input())


#: By the beginning of the core's name: what goes wrong, exit code, reason. The first that fits counts.
FAULTS = {
    "cortex-m0": {
        UNDEFINED: (103, "HardFault at pc 0x0000[0-9a-f]{4}$"),
        OVERFLOW: (103, "stack overflow$"),
        WILD_JUMP: (103, "HardFault at pc 0xa0000000$"),
    },
    "cortex-m": {
        UNDEFINED: (103, "HardFault at pc 0x[0-9a-f]{8}, CFSR 0x00010000"),
        OVERFLOW: (103, "stack overflow, CFSR 0x"),
        WILD_JUMP: (103, "HardFault at pc 0xa0000000, CFSR 0x00000001"),
    },
    "rv32": {
        UNDEFINED: (102, "illegal instruction at pc 0x8000[0-9a-f]{4}, mcause 0x00000002"),
        OVERFLOW: (107, "stack overflow, mcause 0x00000007, mtval 0x803f"),
        WILD_JUMP: (101, "jump to nowhere at pc 0xa0000000, mcause 0x00000001"),
    },
    "xtensa": {
        UNDEFINED: (100, "illegal instruction at pc 0x6000[0-9a-f]{4}, EXCCAUSE 0x00000000"),
        OVERFLOW: (115, "stack overflow, EXCCAUSE 0x0000000f, EXCVADDR 0x3ff3"),
        WILD_JUMP: (114, "jump to nowhere at pc 0xa0000000, EXCCAUSE 0x0000000e"),
    },
}
TROUBLES = [UNDEFINED, OVERFLOW, WILD_JUMP]


def fault_of(board: Board, trouble: int) -> tuple[int, str]:
    """Exit code and reason, a pattern."""
    return next(faults[trouble] for core, faults in FAULTS.items() if board.core.startswith(core))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_fault_ends_the_emulator_with_a_reason(board: Board, firmware: BuildResult, trouble: int) -> None:
    code, reason = fault_of(board, trouble)
    with (
        Emulator(board, firmware.elf) as emulator,
        pytest.raises(AcsgenError, match=f"ended with exit code {code}: {reason}"),
    ):
        emulator.run(fake_input(trouble=trouble))


def test_stack_overflows_wherever_its_end_falls(board: Board, firmware: BuildResult) -> None:
    """Within a frame, within a push, and exactly at the end, where the handler has no stack."""
    code, reason = fault_of(board, OVERFLOW)
    for earlier in range(0, 256, 6):  # times 8 bytes
        with (
            Emulator(board, firmware.elf) as emulator,
            pytest.raises(AcsgenError, match=f"ended with exit code {code}: {reason}"),
        ):
            emulator.run(fake_input(earlier, trouble=OVERFLOW))


@pytest.mark.uart
@pytest.mark.parametrize("trouble", TROUBLES)
def test_fault_over_the_uart(board: Board, firmware: BuildResult, trouble: int) -> None:
    _, reason = fault_of(board, trouble)
    with (
        Emulator(board, firmware.elf, transport="uart") as emulator,
        pytest.raises(AcsgenError, match=f"the firmware stopped: {reason.rstrip('$')}.*; reset the board"),
    ):
        emulator.run(fake_input(trouble=trouble))


def test_exit(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf) as emulator:
        emulator.link.exit()
        assert emulator.wait() == 0
        with pytest.raises(AcsgenError, match="ended with exit code 0"):
            emulator.run(fake_input())


@pytest.mark.uart
def test_exit_over_the_uart_goes_on_listening(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf, transport="uart") as emulator:
        emulator.link.exit()
        assert emulator.link.info() == emulator.info


def test_time_out_of_a_run(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf) as emulator:
        with pytest.raises(LinkError, match="the firmware does not answer"):
            emulator.run(fake_input(200_000_000), timeout=0.05)
        # The late answer is not taken for the answer to the next input.
        data = fake_input(seed=3)
        np.testing.assert_array_equal(emulator.run(data).output, data[::-1])


def test_wrong_inputs(board: Board, firmware: BuildResult) -> None:
    with Emulator(board, firmware.elf) as emulator:
        with pytest.raises(AcsgenError, match="takes inputs of 16 bytes, this one has 15"):
            emulator.run(fake_input()[1:])
        with pytest.raises(AcsgenError, match="array of int8, not of float64"):
            emulator.run(np.zeros(INPUT_BYTES))


def test_missing_emulator(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program, package = spec_of(board).program, spec_of(board).apt[0]
    with pytest.raises(AcsgenError, match=f"needs {program}; install it: apt-get install .*{package}$"):
        Emulator(board, tmp_path / "firmware.elf")


def test_board_without_emulator(board: Board, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="has no emulator"):
        Emulator(replace(board, emulator=None), tmp_path / "firmware.elf")


def test_board_with_an_unknown_emulator(board: Board, tmp_path: Path) -> None:
    other = replace(board, emulator=replace(spec_of(board), program="simulavr"))
    with pytest.raises(AcsgenError, match=r"emulator\.program is 'simulavr', known are: qemu-system-arm, "):
        Emulator(other, tmp_path / "firmware.elf")


def test_uart_of_a_machine_without_one(tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="board xtensa-sim has no UART in its emulator; use semihosting"):
        Emulator(load_board("xtensa-sim"), tmp_path / "firmware.elf", transport="uart")


def test_missing_firmware(board: Board, tmp_path: Path) -> None:
    with (
        pytest.raises(AcsgenError, match="build the project first"),
        Emulator(board, tmp_path / "x"),
    ):
        pass


def test_emulator_that_does_not_start(board: Board, firmware: BuildResult) -> None:
    wrong = replace(board, emulator=replace(spec_of(board), machine="nonsense"))
    with (
        pytest.raises(AcsgenError, match=r"ended with exit code 1: .*unsupported machine type"),
        Emulator(wrong, firmware.elf),
    ):
        pass


@pytest.mark.parametrize("name", ["mps2-an386", "stm32f405"])
def test_firmware_that_is_none(name: str, tmp_path: Path) -> None:
    """Other machines take what is no ELF for an image of their memory, and run it."""
    board, path = load_board(name), tmp_path / "firmware.elf"
    path.write_bytes(b"not an ELF")
    with (
        pytest.raises(AcsgenError, match=r"qemu-system-\w+ with .* ended with exit code -?\d+: \w+"),
        Emulator(board, path, start_timeout=5.0),
    ):
        pass
