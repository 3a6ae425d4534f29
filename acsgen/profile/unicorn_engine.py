# SPDX-License-Identifier: Apache-2.0
"""Unicorn as an engine: calls the model's run function in the firmware that a board would run, without booting it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.profile.counts import read_counts
from acsgen.profile.job import Executed, Job
from acsgen.profile.native import build_native
from acsgen.target.boards import Board
from acsgen.target.unicorn_emulator import CORES, has_core

_PAGE = 0x1000
#: What the firmware's arena holds before a run (firmware/app/link_server.c).
_POISON = 0x5A


def run_in_unicorn(job: Job) -> Executed:
    """Runs the inputs in Unicorn. Raises AcsgenError if it is not installed, or does not know the board's core."""
    try:
        import unicorn
    except ImportError as error:
        raise AcsgenError("engine unicorn needs the Python package: pip install 'acsgen[unicorn]'") from error
    hooks = _Hooks(ctypes.CDLL(str(build_native("unicorn_hooks", job.folder))), job.table)
    saved = job.folder / "counts.txt"
    try:
        engine = _Engine(job, hooks)
        results = [engine.run(x) for x in job.inputs]
        hooks.save(saved)
    except unicorn.UcError as error:
        raise AcsgenError(f"{job.image.path} does not run in Unicorn: {error}") from error
    finally:
        hooks.close()
    masks, outputs = zip(*results, strict=True)
    return Executed("unicorn", read_counts(saved), np.array(masks, np.uint8), np.array(outputs, np.int8), None)


class _Hooks:
    """The meter and its hooks in a shared library."""

    def __init__(self, library: Any, table: bytes) -> None:
        self.library = library
        library.meter_open.restype = ctypes.c_void_p
        library.meter_open.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
        library.meter_close.argtypes = library.meter_close_run.argtypes = (ctypes.c_void_p,)
        library.meter_save.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
        library.meter_save.restype = ctypes.c_bool
        self.meter = library.meter_open(table, len(table))
        assert self.meter, "a table that make_table made"

    def end_run(self) -> None:
        self.library.meter_close_run(self.meter)

    def save(self, path: Path) -> None:
        if not self.library.meter_save(self.meter, str(path).encode()):
            raise AcsgenError(f"{path}: cannot be written")

    def close(self) -> None:
        self.library.meter_close(self.meter)


class _Engine:
    """A firmware's memory in Unicorn, from which its run function is called."""

    def __init__(self, job: Job, hooks: _Hooks) -> None:
        import unicorn
        from unicorn import unicorn_const as const

        self.job, self.hooks = job, hooks
        board, image = job.board, job.image
        if not knows(board, image.machine):
            raise AcsgenError(f"Unicorn does not know board {board.name}'s core {board.core}: use --engine qemu")
        machine = _MACHINES[image.machine](board)
        self.uc = machine.engine
        self.call = machine.call
        for memory in (board.flash, board.ram):
            self.uc.mem_map(memory.base, -(-memory.bytes // _PAGE) * _PAGE)
        for segment in image.segments:
            for at in {segment.load, segment.address}:
                self.uc.mem_write(at, segment.data)
        # Where the run returns to: the far end of the stack, where no code lies.
        self.end = board.ram.base
        self.stack = image.symbol("port_stack_top").address - 16
        self.arena, self.input, self.output = (image.symbol(name) for name in ("arena", "input", "output"))
        library = hooks.library
        for kind, function in (
            (const.UC_HOOK_CODE, library.unicorn_on_code),
            (const.UC_HOOK_MEM_READ, library.unicorn_on_read),
        ):
            self._hook(unicorn, kind, function)

    def _hook(self, unicorn: Any, kind: int, function: Any) -> None:
        """A hook in C: Unicorn's Python interface takes Python functions only, which are a hundred times slower."""
        from unicorn.unicorn_py3.unicorn import uclib

        handle = ctypes.c_size_t()
        callback = ctypes.cast(function, ctypes.c_void_p)
        meter = ctypes.c_void_p(self.hooks.meter)
        one, none = ctypes.c_uint64(1), ctypes.c_uint64(0)  # begin above end: everywhere
        status = uclib.uc_hook_add(self.uc._uch, ctypes.byref(handle), kind, callback, meter, one, none)
        if status:
            raise unicorn.UcError(status)

    def run(self, x: NDArray[np.int8]) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Masks and output for one input."""
        job, uc = self.job, self.uc
        uc.mem_write(self.arena.address, bytes([_POISON]) * self.arena.size)
        uc.mem_write(self.input.address, x.tobytes())
        arguments = (self.arena.address, self.input.address, self.output.address, int(job.mode), 0)
        done = self.call(uc, job.image.symbol(job.entry).address, arguments, self.stack, self.end)
        self.hooks.end_run()
        if not done:
            raise AcsgenError(f"{job.image.path}: the model would not run (a kernel refused its parameters)")
        masks = uc.mem_read(self.arena.address, job.mask_bytes)
        output = uc.mem_read(self.output.address, job.output_bytes)
        return np.frombuffer(bytes(masks), np.uint8), np.frombuffer(bytes(output), np.int8)


@dataclass(frozen=True)
class _Machine:
    """An engine, and how a function is called in it: (engine, function, five arguments, stack, where it returns to)
    to what it returned."""

    engine: Any
    call: Callable[[Any, int, tuple[int, ...], int, int], bool]


def _arm(board: Board) -> _Machine:
    from unicorn import Uc, arm_const
    from unicorn.unicorn_const import UC_ARCH_ARM, UC_MODE_MCLASS, UC_MODE_THUMB

    uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{CORES[board.core]}"))
    if "-mfloat-abi=hard" in board.cpu_flags:
        uc.reg_write(arm_const.UC_ARM_REG_FPEXC, 1 << 30)
        uc.reg_write(arm_const.UC_ARM_REG_C1_C0_2, 0xF << 20)
    return _Machine(uc, _call_arm)


def _call_arm(uc: Any, function: int, arguments: tuple[int, ...], stack: int, end: int) -> bool:
    from unicorn import arm_const as arm

    registers = (arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1, arm.UC_ARM_REG_R2, arm.UC_ARM_REG_R3)
    for register, value in zip(registers, arguments, strict=False):
        uc.reg_write(register, value)
    uc.mem_write(stack, arguments[4].to_bytes(4, "little"))
    uc.reg_write(arm.UC_ARM_REG_SP, stack)
    uc.reg_write(arm.UC_ARM_REG_LR, end | 1)
    uc.emu_start(function | 1, end)
    return bool(uc.reg_read(arm.UC_ARM_REG_R0) & 0xFF)


def _riscv(board: Board) -> _Machine:
    from unicorn import Uc
    from unicorn.unicorn_const import UC_ARCH_RISCV, UC_MODE_RISCV32

    return _Machine(Uc(UC_ARCH_RISCV, UC_MODE_RISCV32), _call_riscv)


def _call_riscv(uc: Any, function: int, arguments: tuple[int, ...], stack: int, end: int) -> bool:
    from unicorn import riscv_const as riscv

    for number, value in enumerate(arguments):
        uc.reg_write(riscv.UC_RISCV_REG_A0 + number, value)
    uc.reg_write(riscv.UC_RISCV_REG_SP, stack)
    uc.reg_write(riscv.UC_RISCV_REG_RA, end)
    uc.emu_start(function, end)
    return bool(uc.reg_read(riscv.UC_RISCV_REG_A0) & 0xFF)


_MACHINES: dict[str, Callable[[Board], _Machine]] = {"EM_ARM": _arm, "EM_RISCV": _riscv}


def knows(board: Board, machine: str) -> bool:
    """Whether Unicorn can execute a board's image. machine: of the image, as ELF calls it."""
    return machine in _MACHINES and (machine != "EM_ARM" or has_core(board))
