# SPDX-License-Identifier: Apache-2.0
"""Whether a model can fit a board at all, before anything is written.

The compiler has the last word: the build's own check is exact. Here stand lower bounds, so that nothing is
refused that would fit; `tests/firmware/test_in_qemu.py` holds them against what real builds take.
"""

from __future__ import annotations

from acsgen.errors import AcsgenError
from acsgen.plan import Plan, Spare
from acsgen.target.boards import Board

#: Bytes of flash that every firmware takes: start-up, port, link, application.
BASE_CODE_BYTES = 3900
#: Bytes of flash that a step takes: its call, and its layer where it has one.
STEP_BYTES, LAYER_STEP_BYTES = 50, 140
#: Bytes of flash that gathering open input groups takes, once for all layers that do.
JOIN_BYTES = 1800
#: Bytes of RAM that the port and the application have for themselves.
PORT_RAM_BYTES = 128


#: More than a firmware's code ever takes above the lower bound.
CODE_MARGIN_BYTES = 14 * 1024


def check_fit(board: Board, planned: Plan, constants: int, flash_budget: int | None = None) -> None:
    """AcsgenError if the model cannot fit the board's flash or RAM, with needed and available bytes, or the budget."""
    flash = constants + least_code_bytes(planned)
    ram = planned.arena_bytes + _ram_besides_arena(board, planned)
    lacking = [
        f"{kind}: needs at least {needed} bytes, has {available}"
        for kind, needed, available in (("flash", flash, board.flash.bytes), ("RAM", ram, board.ram.bytes))
        if needed > available
    ]
    if lacking:
        raise AcsgenError(f"the model is too big for board {board.name}: {'; '.join(lacking)}")
    _check_budget("firmware", flash, flash_budget)


def check_package_fits(planned: Plan, constants: int, flash_budget: int | None) -> None:
    """AcsgenError if a package, which is a part of somebody's firmware, cannot do with the budget."""
    _check_budget("package", constants + least_code_bytes(planned) - BASE_CODE_BYTES, flash_budget)


def _check_budget(what: str, flash: int, budget: int | None) -> None:
    if budget is not None and flash > budget:
        raise AcsgenError(f"the {what} needs at least {flash} bytes of flash: a --flash-budget of {budget} is less")


def spare_of(board: Board, planned: Plan, constants: int, flash_budget: int | None = None) -> Spare:
    """What a plan may take beyond `planned`, which has the smallest constants, and still fit for certain."""
    flash = min(board.flash.bytes, flash_budget or board.flash.bytes)
    left = flash - constants - least_code_bytes(planned) - CODE_MARGIN_BYTES
    return Spare(max(left, 0), board.ram.bytes - _ram_besides_arena(board, planned))


def spare_of_package(planned: Plan, constants: int, flash_budget: int) -> Spare:
    """The same of a package with a budget of flash. Nobody knows the RAM: the arena must not grow."""
    left = flash_budget - constants - least_code_bytes(planned) + BASE_CODE_BYTES - CODE_MARGIN_BYTES
    return Spare(max(left, 0), planned.arena_bytes)


def _ram_besides_arena(board: Board, planned: Plan) -> int:
    buffers = sum(planned.buffers[name].bytes for name in (planned.graph.input, planned.graph.output))
    return buffers + board.stack_bytes + PORT_RAM_BYTES


def least_code_bytes(planned: Plan) -> int:
    """A lower bound of what a firmware takes of flash besides the model's constants."""
    code = planned.kernel_set.code_bytes
    kernels = sum(code.get(kernel, 0) for kernel in planned.kernels)
    with_layer = sum(step.kernel.removesuffix("_join") in code for step in planned.steps)
    without = len(planned.steps) - with_layer
    joins = JOIN_BYTES if any(step.kernel == "conv_join" for step in planned.steps) else 0
    return BASE_CODE_BYTES + kernels + joins + LAYER_STEP_BYTES * with_layer + STEP_BYTES * without
