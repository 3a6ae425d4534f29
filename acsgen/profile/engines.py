# SPDX-License-Identifier: Apache-2.0
"""Engines: who executes a firmware while the meter counts.

QEMU boots the firmware and runs inputs over the link, as `verify` does. Unicorn, which needs no system package but
knows fewer cores, calls the model's run function in the same firmware.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from acsgen.profile.counts import read_counts
from acsgen.profile.job import Executed, Job
from acsgen.profile.native import build_native
from acsgen.profile.unicorn_engine import knows, run_in_unicorn
from acsgen.target.boards import Board
from acsgen.target.emulator import Emulator, option_value
from acsgen.target.engines import Engine

#: Seconds that one run may take; the meter slows QEMU down to some ten million instructions a second.
_TIMEOUT = 600.0


def run_in_qemu(job: Job) -> Executed:
    """Runs the inputs in QEMU with the meter as a plugin. Raises AcsgenError where `Emulator` does."""
    plugin = build_native("qemu_plugin", job.folder)
    table, saved = job.folder / "table.bin", job.folder / "counts.txt"
    table.write_bytes(job.table)
    saved.unlink(missing_ok=True)
    options = f"{option_value(plugin)},table={option_value(table)},counts={option_value(saved)}"
    with Emulator(job.board, job.image.path, arguments=("-plugin", options)) as emulator:
        results = [emulator.run(x, job.mode, timeout=_TIMEOUT) for x in job.inputs]
    return Executed(
        "qemu",
        read_counts(saved),
        np.array([result.masks for result in results], np.uint8),
        np.array([result.output for result in results], np.int8),
        np.array([result.instructions for result in results], np.int64),
    )


#: Engines by name.
ENGINES: dict[Engine, Callable[[Job], Executed]] = {"qemu": run_in_qemu, "unicorn": run_in_unicorn}


def engines_for(board: Board, machine: str) -> tuple[Engine, ...]:
    """The engines that can count what a board's image executes, the better one first, installed or not.

    machine: of the image, as ELF calls it. Unicorn is not booted here, so it also serves where `verify` needs QEMU.
    """
    has_engine = {"qemu": board.emulator is not None, "unicorn": knows(board, machine)}
    return tuple(engine for engine in ENGINES if has_engine[engine])
