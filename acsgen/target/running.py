# SPDX-License-Identifier: Apache-2.0
"""Firmware that runs somewhere, in an emulator or on a board, and waits for inputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acsgen.errors import AcsgenError
from acsgen.target.link import LinkClient, ModelInfo, RunMode

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


#: Seconds that an emulator may take for a run, on a busy machine.
_LONG = 120.0


@dataclass(frozen=True)
class RunResult:
    """What one run of the firmware gave."""

    output: npt.NDArray[np.int8]
    masks: npt.NDArray[np.uint8]
    """One entry per gated group: 1 computed, 0 skipped."""
    instructions: int
    """Instructions that the run took, exact; 0 on a board, and if tensors or steps were sent."""
    tensors: dict[int, bytes]
    """Every tensor by its index in ``plan.json``, if they were asked for."""
    steps: dict[int, int]
    """Instructions (on a board: cycles) of every step by its index in ``plan.json``, if they were asked for;
    about a dozen instructions of each are those of looking on."""
    ticks: int = 0
    """Ticks of the counter that the run took; 0 if tensors or steps were sent."""


class Running:
    """Firmware that is running and has said which model it holds.

    count: what to make of ticks in ``RunResult.steps``. counts_instructions: whether that is instructions.
    """

    link: LinkClient
    """The link to the firmware, for what ``run`` does not do."""
    info: ModelInfo
    """The model in the firmware."""

    def __init__(self, count: Callable[[int], int], counts_instructions: bool) -> None:
        self._count = count
        self.counts_instructions = counts_instructions
        self._longest: float | None = None  # seconds of the runs so far

    def _patience(self) -> float:
        """Seconds that a run without a time-out may take."""
        return _LONG

    def run(
        self,
        data: npt.ArrayLike,
        mode: RunMode = RunMode.SKIP,
        *,
        masks: npt.ArrayLike = (),
        raised: npt.ArrayLike = 0,
        tensors: bool = False,
        steps: bool = False,
        timeout: float | None = None,
    ) -> RunResult:
        """Runs the model on one input of int8 values; ``timeout`` in seconds, patient if there is none.

        masks: for mode GIVEN, one entry per gated group. raised: for mode BUDGET, by how much the thresholds of
        the gates are raised, int8 in steps of two, for all groups together or for each. tensors, steps: also what
        every step wrote, or took. Raises AcsgenError if the firmware refuses, does not answer, or its counter stands
        still.
        """
        import numpy as np

        patience = self._patience() if timeout is None else timeout
        values = np.asarray(data)
        if values.dtype != np.int8:
            raise AcsgenError(f"an input is an array of int8, not of {values.dtype}")
        groups = np.asarray(masks, np.uint8).tobytes()
        if mode is RunMode.BUDGET:
            groups = np.broadcast_to(np.asarray(raised, np.int8), self.info.mask_bytes).tobytes()
        start = time.monotonic()
        result = self.link.run(
            self.info, values.tobytes(), mode, groups=groups, tensors=tensors, steps=steps, timeout=patience
        )
        self._longest = max(self._longest or 0.0, time.monotonic() - start)
        if result.ticks == 0 and not (tensors or steps):
            raise AcsgenError(f"model {self.info.name} ran, but the firmware's counter stands still: is its clock on?")
        return RunResult(
            output=np.frombuffer(result.output, dtype=np.int8),
            masks=np.frombuffer(result.masks, dtype=np.uint8),
            instructions=self._count(result.ticks) if self.counts_instructions else 0,
            tensors=result.tensors,
            steps={index: self._count(ticks) for index, ticks in result.steps.items()},
            ticks=result.ticks,
        )
