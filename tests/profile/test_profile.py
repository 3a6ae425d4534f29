# SPDX-License-Identifier: Apache-2.0
"""A gated network's firmware: what the meter counts against the emulator's own counter, and engine against engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acsgen.emit.surroundings import BOARD_FILE
from acsgen.errors import AcsgenError
from acsgen.plan.document import read_plan
from acsgen.profile import Profile, listing, profile
from acsgen.profile.counts import total
from acsgen.profile.engines import engines_for
from acsgen.profile.profile import random_inputs
from acsgen.quantize.acsq import load_acsq
from acsgen.target.boards import load_board, read_board
from acsgen.target.build import RECORD_NAME, firmware_of
from acsgen.target.emulator import Emulator
from acsgen.target.link import RunMode

#: Instructions round the call of the model, between the two readings of the counter.
AROUND = range(5, 30)
#: Cores that Unicorn has.
IN_UNICORN = ("cortex-m0", "cortex-m3", "cortex-m4f", "cortex-m7", "cortex-m33", "rv32imc")


def inputs_of(project: Path, count: int = 4) -> NDArray[np.int8]:
    return random_inputs(load_acsq(project / "model.acsq"), count)


def costs(result: Profile) -> list[Any]:
    return [(layer.name, layer.kernel, layer.macs, layer.functions) for layer in (*result.layers, result.between)]


@pytest.mark.parametrize("mode", [RunMode.SKIP, RunMode.OPEN])
def test_counts_are_the_emulators(project: Path, mode: RunMode) -> None:
    """One input more is exactly as many instructions more as the emulator's counter says of it, without a plugin."""
    inputs = inputs_of(project)
    board = read_board(project / BOARD_FILE, "board")
    with Emulator(board, firmware_of(project)) as emulator:
        exact = [emulator.run(x, mode).instructions for x in inputs]
    seen = [profile(project, inputs[i : i + 1], engine="qemu", mode=mode).cost.instructions for i in range(2)]
    around = exact[0] - seen[0]
    assert around in AROUND
    assert exact[1] - seen[1] == around
    together = profile(project, inputs, engine="qemu", mode=mode)
    assert together.cost.instructions == sum(exact) - len(exact) * around
    assert together.counted is not None and together.counted.tolist() == exact


def test_gates_change_what_is_counted(project: Path) -> None:
    inputs = inputs_of(project)
    skipped, opened = (profile(project, inputs, mode=mode) for mode in (RunMode.SKIP, RunMode.OPEN))
    plan = read_plan(project / "plan.json")
    assert opened.macs == len(inputs) * plan.macs()
    assert skipped.macs < opened.macs and skipped.cost.instructions < opened.cost.instructions
    for before, after in zip(opened.layers, skipped.layers, strict=True):
        assert after.macs <= before.macs
        if after.macs == before.macs and before.kernel == "conv":
            assert after.cost.instructions == pytest.approx(before.cost.instructions, rel=0.01)


def test_unicorn_equals_qemu(project: Path) -> None:
    """Cell by cell; wait states of both caches and of the prefetch as well."""
    inputs, chip = inputs_of(project), load_board("stm32f405")
    board = read_board(project / BOARD_FILE, "board")
    if board.core not in IN_UNICORN:
        with pytest.raises(AcsgenError, match=f"Unicorn does not know board .*'s core {board.core}: use --engine qemu"):
            profile(project, inputs, engine="unicorn")
        return
    for mode in (RunMode.SKIP, RunMode.OPEN):
        for flash in (None, chip):
            one, other = (profile(project, inputs, engine=engine, mode=mode, flash=flash) for engine in ENGINES)
            assert costs(one) == costs(other)
    assert board.core != "cortex-m4f" or (one.cost.fetch > 0 and one.cost.data > 0)


ENGINES: tuple[Any, Any] = ("qemu", "unicorn")


def test_layers_are_told_apart(project: Path) -> None:
    """A layer executes its own kernel and no other; together they are everything."""
    result = profile(project)
    assert total(layer.cost for layer in (*result.layers, result.between)) == result.cost
    kernels = {f"acs_{layer.kernel}_s8" for layer in result.layers}
    for layer in result.layers:
        assert kernels & layer.functions.keys() == {f"acs_{layer.kernel}_s8"}, layer
        # Its call, and the look for an observer behind it.
        assert 0 < layer.functions["net_run"].instructions < 60
    assert result.between.functions.keys() == {"net_run"}
    assert 0 < result.between.cost.instructions < 40


def test_cycles_of_the_board(project: Path) -> None:
    """Only the flash differs between two boards with the same core."""
    result = profile(project, flash=load_board("stm32f405"))
    fast = profile(project, flash=load_board("mps2-an386"))
    assert result.cost.instructions == fast.cost.instructions and result.cost.core == fast.cost.core
    assert fast.cost.fetch == fast.cost.data == 0
    if result.core is None:
        assert result.summary()["total"]["cycles"] is None
        return
    # No core here takes less than half a cycle for an instruction, or more than three on average.
    assert 0.5 < result.cost.core / result.cost.instructions < 3
    assert result.summary()["total"]["cycles"] == result.cost.core + result.cost.fetch + result.cost.data


def test_listing(project: Path) -> None:
    """Every instruction of a function, in order; their costs are the function's."""
    result = profile(project, flash=load_board("stm32f405"))
    if result.core is None:
        with pytest.raises(AcsgenError, match="there is no timing model of board"):
            listing(result, "acs_gate_s8")
        return
    lines = listing(result, "acs_gate_s8")
    assert total(line.cost for line in lines) == result.functions["acs_gate_s8"]
    assert [line.address for line in lines] == sorted(line.address for line in lines)
    assert any(not line.cost.instructions for line in lines), "a gate has code for forced masks"
    assert any("[" in line.text or "(" in line.text for line in lines if line.text.startswith(("ldr", "lb", "c.l")))
    with pytest.raises(AcsgenError, match="nothing was executed in a function 'main'; most was in "):
        listing(result, "main")


def test_the_same_every_time(project: Path) -> None:
    assert costs(profile(project)) == costs(profile(project))


def test_unicorn_where_there_is_no_qemu(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = profile(project)
    assert usual.engine == "qemu"
    (tmp_path / "gcc").symlink_to(shutil.which("gcc") or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    if read_board(project / BOARD_FILE, "board").core in IN_UNICORN:
        other = profile(project)
        assert other.engine == "unicorn" and costs(other) == costs(usual)
    with pytest.raises(AcsgenError, match="running needs qemu-system-"):
        profile(project, engine="qemu")


def test_who_can_count() -> None:
    """As `verify` chooses, but that here Unicorn also knows RISC-V: it need not boot the firmware."""
    can = {name: engines_for(load_board(name), "EM_ARM") for name in ("stm32f405", "pico", "mps3-an547")}
    assert can == {"stm32f405": ENGINES, "pico": ("unicorn",), "mps3-an547": ("qemu",)}
    assert engines_for(load_board("riscv32-virt"), "EM_RISCV") == ENGINES
    assert engines_for(load_board("xtensa-sim"), "EM_XTENSA") == ("qemu",)


def test_firmware_without_a_line_table(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    elf = firmware_of(copy)
    elf.with_name(RECORD_NAME).unlink()
    elf.write_bytes(elf.read_bytes().replace(b".debug_line\0", b".nothing_at\0"))
    with pytest.raises(AcsgenError, match=r"has no line table of net.c: build the project again$"):
        profile(copy)
    elf.unlink()
    with pytest.raises(AcsgenError, match=f"{copy}: is not built: acsgen build {copy}$"):
        profile(copy)
