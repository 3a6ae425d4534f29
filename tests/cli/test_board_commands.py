# SPDX-License-Identifier: Apache-2.0
"""flash, run, verify and monitor as a user types them, on a board that is modelled from its ROM loader to its UART."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from acsgen.target.boards import load_board
from acsgen.target.stream import SerialStream
from tests.cli.conftest import Run
from tests.models import write_model
from tests.target.serial_board import serial_board
from tests.target.stm32_rom import Stm32

BOARD = load_board("stm32f405")
#: A pseudo-terminal has no parity, which the ROM loader of a real chip wants.
NO_PARITY = ("--tool-options", "-m 8n1")
#: What only an emulator counts; a board measures cycles and time instead.
COUNTED = {"engine", "mean_instructions_gated", "instructions_dense", "efficiency"}
#: Cycles of the core for a tick of the counter; in the emulator a tick is an instruction.
BY_TICK = BOARD.core_hertz // BOARD.tick_hertz


@pytest.fixture
def inputs(samples: Path, tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.load(samples)["x"])
    return tmp_path / "x.npy"


@pytest.fixture
def port(built: Path) -> Iterator[str]:
    elf = built / ".pio" / "build" / BOARD.name / "firmware.elf"
    with serial_board(BOARD, elf, "socket") as (port, _):
        yield port


def test_a_board_from_flash_to_verify(built: Path, samples: Path, inputs: Path, run: Run, tmp_path: Path) -> None:
    """One port: the ROM loader first, then the firmware that it has written. The report is the emulator's."""
    with Stm32(tmp_path) as chip:
        flashed = run("flash", built, "--port", chip.port, *NO_PARITY, "--json")
        assert (flashed.code, flashed.err) == (0, "")
        figures = json.loads(flashed.out)
        assert (figures["probe"], figures["program"], figures["answers"]) == ("uart", "stm32flash", "net")
        assert bytes(chip.flash[: figures["bytes"]]) == Path(figures["image"]).read_bytes()
        assert "stm32flash" in (built / ".pio" / "flash.log").read_text("utf-8")
        measured = run("verify", built, "--data", samples, "--on", chip.port, "--json")
        runs = run("run", built, "--input", inputs, "--on", chip.port, "--json")
    assert (measured.code, measured.err) == (0, "")
    board, emulator = (
        json.loads(result.out) for result in (measured, run("verify", built, "--data", samples, "--json"))
    )
    assert set(emulator) <= set(board)
    assert {key: board[key] for key in emulator if key not in COUNTED} == {
        key: value for key, value in emulator.items() if key not in COUNTED
    }
    # The emulated counter counts instructions; on the chip it counts its clock.
    assert board["mean_cycles_gated"] == BY_TICK * emulator["mean_instructions_gated"]
    assert board["cycles_dense"] == BY_TICK * emulator["instructions_dense"]
    assert (board["mean_instructions_gated"], board["instructions_dense"]) == (None, None)
    assert board["efficiency"] == pytest.approx(emulator["efficiency"])
    assert board["mean_microseconds_gated"] == pytest.approx(board["mean_cycles_gated"] / BOARD.core_hertz * 1e6)
    assert board["min_cycles"] <= board["mean_cycles_gated"] <= board["max_cycles"]
    cycles = [one["cycles"] for one in json.loads(runs.out)["runs"]]
    assert np.mean(cycles) == board["mean_cycles_gated"]


def test_run_in_the_emulator_and_on_a_board(built: Path, inputs: Path, port: str, run: Run) -> None:
    emulated = json.loads(run("run", built, "--input", inputs, "--steps", "--json").out)
    on_board = json.loads(run("run", built, "--input", inputs, "--steps", "--on", port, "--json").out)
    over_uart = json.loads(run("run", built, "--input", inputs, "--steps", "--uart", "--json").out)
    assert over_uart == emulated
    for one, other in zip(on_board["runs"], emulated["runs"], strict=True):
        assert one["microseconds"] == pytest.approx(1e6 * one["cycles"] / BOARD.core_hertz)
        same = ("output", "scores", "class", "masks", "macs")
        assert {key: one[key] for key in same} == {key: other[key] for key in same}
        assert one["cycles"] == BY_TICK * other["instructions"]
    counted = [BY_TICK * step["instructions"] for step in emulated["steps"]]
    assert [step["cycles"] for step in on_board["steps"]] == counted


def test_tables(built: Path, samples: Path, inputs: Path, port: str, run: Run) -> None:
    verified = run("verify", built, "--data", samples, "--on", port, "--tensors", "0")
    assert (verified.code, verified.err) == (0, "")
    for line in ("cycles, gates open", "microseconds, gated: mean", "efficiency (cycle ratio / MAC ratio)"):
        assert line in verified.out
    assert "instructions" not in verified.out
    table = run("run", built, "--input", inputs, "--on", port, "--steps", "--raise", "-5").out
    assert "thresholds raised by -5" in table
    assert "microseconds" in table and "conv2d" in table and "100.00 %" not in table


def test_a_board_with_another_model(port: str, run: Run, inputs: Path, samples: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path, "other", seed=4)
    project = tmp_path / "project"
    run("generate", other, "--board", BOARD.name, "-o", project)
    expected = f"the firmware on {port} holds another model (net): acsgen flash {project}"
    assert run("run", project, "--input", inputs, "--on", port).refusal == expected
    assert run("verify", project, "--data", samples, "--on", port).refusal == expected


def test_monitor(port: str, run: Run) -> None:
    heard = run("monitor", port, "--seconds", "0.1", "--json")
    assert (heard.code, heard.out, heard.err) == (0, "", "")


def test_monitor_of_an_echo(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that repeats what was written to it before."""

    class Spoken(SerialStream):
        def __init__(self, port: str, baud: int) -> None:
            super().__init__(port, baud)
            self.write(b"hello\n\x01\n", 1.0)

    monkeypatch.setattr("acsgen.target.stream.SerialStream", Spoken)
    assert run("monitor", "loop://", "--seconds", "0.1").out == "hello\n.\n"
    assert run("monitor", "loop://", "--seconds", "0.1", "--json").out == '{"text": "hello"}\n{"text": "."}\n'


def test_refusals(built: Path, inputs: Path, run: Run) -> None:
    unknown = run("flash", built, "--probe", "magic")
    assert unknown.refusal == "--probe is one of stlink, jlink, cmsis-dap, uart, gdb, not 'magic'"
    assert run("flash", inputs.parent).refusal.endswith("(acsgen.json is missing): acsgen generate makes one")
    assert "start the probe's GDB server" in run("flash", built, "--probe", "gdb").refusal
    assert run("monitor", "/dev/none").refusal.startswith("cannot open port /dev/none (no such file or directory); ")
    assert "leave out --raise" in run("run", built, "--input", inputs, "--budget", "1", "--raise", "1").refusal
    assert "MACs is too small" in run("run", built, "--input", inputs, "--budget", "1").refusal
    assert run("run", built, "--input", "none.npy").refusal == "none.npy: no such file"
    answer = run("run", built, "--input", inputs, "--on", "/dev/none").refusal
    assert answer.startswith("cannot open port /dev/none (no such file or directory); ")
