# SPDX-License-Identifier: Apache-2.0
"""Runs a project's firmware on inputs and says what it gave; compares nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden.decided import UNDECIDED
from acsgen.golden.interpreter import run as golden
from acsgen.graph import Graph
from acsgen.plan.document import PlanFile, read_plan
from acsgen.quantize.acsq import load_acsq
from acsgen.samples import load_inputs
from acsgen.target.emulator import Transport
from acsgen.target.link import RunMode
from acsgen.verify.firmware import board_of, open_firmware

#: What an int8 threshold can be raised by.
_LEAST, _MOST = -128, 127


@dataclass(frozen=True)
class Runs:
    """What a firmware gave for inputs; arrays have one entry for each, in order.

    output: int8 (N, *shape); scores: the same in the model's own units, float32. masks: by gate, uint8 (N, G): 1 open,
    0 closed, UNDECIDED throughout where nobody asked for the mask.
    macs: of each run. unit: of `cost`, "instructions" in an emulator or "cycles" on a board, at `hertz`.
    steps: name, MACs with all gates open, mean cost; empty if not asked for. raised: the gates' thresholds.
    """

    output: NDArray[np.int8]
    scores: NDArray[np.float32]
    masks: dict[str, NDArray[np.uint8]]
    macs: NDArray[np.int64]
    cost: NDArray[np.int64]
    unit: str
    hertz: int
    steps: tuple[tuple[str, int, float], ...]
    raised: int

    @property
    def microseconds(self) -> NDArray[np.float64] | None:
        """Time of each run; None in an emulator, which has none."""
        return 1e6 * self.cost / self.hertz if self.unit == "cycles" else None

    def summary(self) -> dict[str, Any]:
        """The figures as JSON takes them."""
        times = self.microseconds
        return {
            "raised": self.raised,
            "runs": [
                {
                    "output": self.output[i].ravel().tolist(),
                    "scores": [float(score) for score in self.scores[i].ravel()],
                    "class": int(self.output[i].argmax()),
                    "masks": {gate: _told(mask[i]) for gate, mask in self.masks.items()},
                    "macs": int(self.macs[i]),
                    self.unit: int(self.cost[i]),
                    **({} if times is None else {"microseconds": float(times[i])}),
                }
                for i in range(len(self.output))
            ],
            "steps": [{"tensor": name, "macs": macs, self.unit: cost} for name, macs, cost in self.steps],
        }


def _told(mask: NDArray[np.uint8]) -> list[int] | None:
    """A mask as JSON takes it; None: it was not decided."""
    return None if (mask == UNDECIDED).any() else mask.tolist()


def run(
    project: Path,
    inputs: Path,
    *,
    port: str | None = None,
    transport: Transport = "semihosting",
    raised: int = 0,
    budget: int | None = None,
    steps: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Runs:
    """Runs every input of a `.npy` file on a project's firmware, at `port` or in the emulator.

    raised: by how much the thresholds of the gates are raised, in steps of two of their logits. budget: choose that so
    that these inputs need at most so many MACs in the mean (see `raised_for`). steps: measure every step too.
    """
    graph, plan, board = load_acsq(project / "model.acsq"), read_plan(project / "plan.json"), board_of(project)
    data = load_inputs(inputs, graph)
    if budget is not None:
        raised = raised_for(graph, plan, data, budget)
    mode = RunMode.BUDGET if raised else RunMode.SKIP
    results, profiles = [], []
    with open_firmware(project, port=port, transport=transport) as firmware:
        for x in data:
            results.append(firmware.run(x, mode, raised=raised))
            if steps:
                profiles.append(firmware.run(x, mode, raised=raised, steps=True).steps)
            progress(1)
        counted = firmware.counts_instructions
    output = np.array([result.output for result in results]).reshape(len(data), *graph.shape(graph.output))
    target = graph.tensors[graph.output]
    assert target.scale is not None  # an int8 graph has one everywhere
    masks = plan.split_masks(np.array([result.masks for result in results]))
    return Runs(
        output=output,
        scores=((output.astype(np.float32) - target.zero_point) * np.float32(target.scale)).astype(np.float32),
        masks=masks,
        macs=np.broadcast_to(plan.macs(masks), (len(data),)),
        cost=np.array([result.instructions if counted else board.cycles(result.ticks) for result in results], np.int64),
        unit="instructions" if counted else "cycles",
        hertz=board.core_hertz,
        steps=tuple(
            (
                observed.tensor,
                sum(term.macs for term in terms),
                float(np.mean([profile[observed.index] for profile in profiles])),
            )
            for observed, terms in zip(plan.observed, plan.steps, strict=True)
        )
        if steps
        else (),
        raised=raised,
    )


def raised_for(graph: Graph, plan: PlanFile, data: NDArray[np.int8], budget: int) -> int:
    """The threshold that brings the mean MACs of these inputs to a budget, and not much below.

    The same for every gate, in steps of two of its logits; found with the golden model by halving, for a higher
    threshold closes more groups. Raises AcsgenError if even the highest does not reach the budget.
    """

    def macs(raised: int) -> float:
        masks = golden(graph, data, keep=[name for name, _ in plan.gates], raised=raised)
        return float(np.mean(plan.macs(masks)))

    if not plan.gates:
        raise AcsgenError(f"graph '{graph.name}' has no gates: it needs {int(plan.macs()):,} MACs, whatever the budget")
    if (least := macs(_MOST)) > budget:
        raise AcsgenError(
            f"a budget of {budget:,} MACs is too small: with the highest thresholds it needs {least:,.0f}"
        )
    low, high = _LEAST, _MOST
    while low < high:
        middle = (low + high) // 2
        if macs(middle) <= budget:
            high = middle
        else:
            low = middle + 1
    return high
