# SPDX-License-Identifier: Apache-2.0
"""What an engine is given and gives: a firmware to execute while the meter counts, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acsgen.profile.counts import Counts
from acsgen.profile.image import Image
from acsgen.target.boards import Board
from acsgen.target.engines import Engine
from acsgen.target.link import RunMode


@dataclass(frozen=True)
class Job:
    """What to execute. table: the meter's; entry: name of the run function; folder: for files of the engine's own.

    inputs: int8 (N, ...). mask_bytes, output_bytes: what a run gives.
    """

    board: Board
    image: Image
    table: bytes
    entry: str
    inputs: NDArray[np.int8]
    mode: RunMode
    mask_bytes: int
    output_bytes: int
    folder: Path


@dataclass(frozen=True)
class Executed:
    """What an engine gives. engine: its name. masks: uint8 (N, groups); outputs: int8 (N, ...).

    counted: instructions of each run by the emulator's own counter, which includes reading that counter; None if the
    engine has none.
    """

    engine: Engine
    counts: Counts
    masks: NDArray[np.uint8]
    outputs: NDArray[np.int8]
    counted: NDArray[np.int64] | None
