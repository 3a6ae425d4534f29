# SPDX-License-Identifier: Apache-2.0
"""Counts the runs of one function in a firmware: what `profile` and the benchmarks stand on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acsgen.profile.cores import CORES
from acsgen.profile.engines import ENGINES, engines_for
from acsgen.profile.image import Image, Namer
from acsgen.profile.job import Executed, Job
from acsgen.profile.table import make_table
from acsgen.target.boards import Board, FlashTiming
from acsgen.target.engines import Engine, choose_engine
from acsgen.target.link import RunMode


def measure_run(
    board: Board,
    image: Image,
    entry: str,
    inputs: NDArray[np.int8],
    folder: Path,
    *,
    output_bytes: int,
    mask_bytes: int = 0,
    mode: RunMode = RunMode.SKIP,
    flash: FlashTiming | None = None,
    engine: Engine | None = None,
    steps: Sequence[tuple[int, int, int]] = (),
) -> Executed:
    """Runs a firmware's model on inputs, int8 (N, ...), and counts what its function `entry` executes.

    Cells of the result are by step of `steps` (`image.step_ranges`) and by function (`Namer`, of the image's
    functions). flash: None: memory that answers at once. engine: by default QEMU, or Unicorn where the board's QEMU is
    not installed. folder: for files of the engine's own; it is made.
    Raises AcsgenError if the engine is missing or does not know the board's core, or the firmware does not run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    at, namer, core = image.symbol(entry).address, Namer(image.functions), CORES.get(board.core)
    return ENGINES[engine or choose_engine(board, engines_for(board, image.machine))](
        Job(
            board=board,
            image=image,
            table=make_table(image, at, namer, steps, core, board.flash, flash),
            entry=entry,
            inputs=inputs,
            mode=mode,
            mask_bytes=mask_bytes,
            output_bytes=output_bytes,
            folder=folder.resolve(),
        )
    )
