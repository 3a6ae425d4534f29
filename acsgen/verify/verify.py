# SPDX-License-Identifier: Apache-2.0
"""Runs a project's firmware on samples and compares it with the golden model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.golden.decided import told_masks
from acsgen.golden.interpreter import quantize_input, run
from acsgen.graph import Graph
from acsgen.plan.document import PlanFile, read_plan
from acsgen.quantize.acsq import load_acsq
from acsgen.samples import Samples
from acsgen.target.emulator import Transport
from acsgen.target.engines import Engine, choose_engine
from acsgen.target.link import RunMode
from acsgen.target.running import RunResult
from acsgen.verify.firmware import board_of, open_firmware

#: Tensors of the golden model by name, int8 (N, ...); masks uint8 (N, G).
Values = dict[str, NDArray[Any]]

#: What is compared tensor by tensor: skipping, and its proof by multiplying.
TENSOR_MODES = (RunMode.SKIP, RunMode.MULTIPLY)


@dataclass(frozen=True)
class Verification:
    """What a verification found. Arrays have one entry for each sample, in order.

    mismatched_*: how many comparisons failed (samples; masks of single gates; tensors).
    instructions_gated / _dense: exact, of one run with the gates deciding / forced open; 0 on a board, which
    does not count them. cycles_gated / _dense: likewise, measured on a board, at `hertz`; None in an emulator.
    macs_gated: multiply-accumulates of each run, macs_dense: with every gate open.
    masks: by gate, uint8 (N, G): 1 open, 0 closed, UNDECIDED throughout where the gate was not asked. predictions: the
    class of the largest logit. labels: or None.
    first_difference: where the first mismatch was, or None. engine: what ran it; None: the board.
    """

    samples: int
    tensor_samples: int
    mismatched_logits: int
    mismatched_masks: int
    mismatched_tensors: int
    compared_tensors: int
    instructions_gated: NDArray[np.int64]
    instructions_dense: NDArray[np.int64]
    macs_gated: NDArray[np.int64]
    macs_dense: int
    masks: dict[str, NDArray[np.uint8]]
    predictions: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    first_difference: str | None
    engine: Engine | None
    cycles_gated: NDArray[np.int64] | None = None
    cycles_dense: NDArray[np.int64] | None = None
    hertz: int = 1

    @property
    def ok(self) -> bool:
        return not (self.mismatched_logits or self.mismatched_masks or self.mismatched_tensors)

    @property
    def accuracy(self) -> float | None:
        return None if self.labels is None else float((self.predictions == self.labels).mean())

    @property
    def mac_ratio(self) -> float:
        return float(self.macs_gated.mean()) / self.macs_dense if self.macs_dense else 1.0

    @property
    def instruction_ratio(self) -> float:
        """Instructions gated / dense; on a board, cycles."""
        if self.cycles_gated is not None and self.cycles_dense is not None:
            return float(self.cycles_gated.mean() / self.cycles_dense.mean())
        return float(self.instructions_gated.mean() / self.instructions_dense.mean())

    @property
    def efficiency(self) -> float:
        """Instruction ratio / MAC ratio: 1 if a MAC that is not computed saves what a MAC costs."""
        return self.instruction_ratio / self.mac_ratio

    def microseconds(self, cycles: float) -> float:
        return 1e6 * cycles / self.hertz

    @property
    def distinct_masks(self) -> int:
        """Different patterns of all gates together."""
        if not self.masks:
            return 0
        return len(np.unique(np.concatenate(list(self.masks.values()), axis=1), axis=0))

    def summary(self) -> dict[str, Any]:
        """The figures as JSON takes them."""
        figures = {
            "engine": self.engine,
            "images": self.samples,
            "images_with_tensors": self.tensor_samples,
            "compared_tensors": self.compared_tensors,
            "mismatched_logits": self.mismatched_logits,
            "mismatched_masks": self.mismatched_masks,
            "mismatched_tensors": self.mismatched_tensors,
            "first_difference": self.first_difference,
            "accuracy": self.accuracy,
            "mean_macs_gated": float(self.macs_gated.mean()),
            "min_macs": int(self.macs_gated.min()),
            "max_macs": int(self.macs_gated.max()),
            "macs_dense": self.macs_dense,
            "mean_instructions_gated": float(self.instructions_gated.mean()),
            "instructions_dense": float(self.instructions_dense.mean()),
            "efficiency": self.efficiency,
            "distinct_masks": self.distinct_masks,
        }
        if self.cycles_gated is None or self.cycles_dense is None:
            return figures
        gated, dense = float(self.cycles_gated.mean()), float(self.cycles_dense.mean())
        return figures | {
            "mean_instructions_gated": None,
            "instructions_dense": None,
            "mean_cycles_gated": gated,
            "min_cycles": int(self.cycles_gated.min()),
            "max_cycles": int(self.cycles_gated.max()),
            "cycles_dense": dense,
            "mean_microseconds_gated": self.microseconds(gated),
            "microseconds_dense": self.microseconds(dense),
            "hertz": self.hertz,
        }


def verify(
    project: Path,
    samples: Samples,
    *,
    tensors: int = 20,
    transport: Transport = "semihosting",
    engine: Engine | None = None,
    port: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Verification:
    """Runs every sample on the project's firmware, gated and with all gates open, in the emulator or on a board.

    port: of the board, as `acsgen.target.device.Device` takes it; None: in the emulator, over `transport`.
    tensors: on how many samples to compare every intermediate tensor as well, in each of TENSOR_MODES.
    engine: the emulator to use; None chooses one that is installed. progress is called with 1 after each sample.
    Raises AcsgenError if the project is not built, was built from another model, or the emulator is missing.
    """
    model = project / "model.acsq"
    graph, plan = load_acsq(model), read_plan(project / "plan.json")
    board = board_of(project)
    inputs = quantize_input(graph, samples.x)
    comparison = Comparison(graph, plan)
    gated: list[RunResult] = []
    dense: list[RunResult] = []
    engine = None if port else engine or choose_engine(board)
    with open_firmware(project, transport=transport, engine=engine, port=port) as firmware:
        for chunk in _chunks(len(inputs)):
            expected = run(graph, inputs[chunk])
            opened = run(graph, inputs[chunk], "open", keep=(graph.output,)) if plan.gates else {}
            for i, x in enumerate(inputs[chunk]):
                name = f"sample {chunk.start + i}"
                gated.append(firmware.run(x, RunMode.SKIP))
                comparison.compare_run(name, gated[-1], expected, i, RunMode.SKIP)
                result = gated[-1]
                if plan.gates:
                    result = firmware.run(x, RunMode.OPEN)
                    comparison.compare_open(f"{name}, gates open", result, opened, i)
                dense.append(result)
                if chunk.start + i < tensors:
                    for mode in TENSOR_MODES:
                        seen = firmware.run(x, mode, tensors=True)
                        comparison.compare_run(f"{name}, {mode.name}", seen, expected, i, mode)
                        comparison.compare_tensors(f"{name}, {mode.name}", seen, expected, i, mode)
                progress(1)
    masks = plan.split_masks(np.array([result.masks for result in gated]))
    return Verification(
        samples=len(gated),
        tensor_samples=min(tensors, len(gated)),
        mismatched_logits=comparison.logits,
        mismatched_masks=comparison.masks,
        mismatched_tensors=comparison.tensors,
        compared_tensors=comparison.compared_tensors,
        instructions_gated=np.array([result.instructions for result in gated], np.int64),
        instructions_dense=np.array([result.instructions for result in dense], np.int64),
        macs_gated=np.broadcast_to(plan.macs(masks), (len(gated),)),
        macs_dense=int(plan.macs()),
        masks=masks,
        predictions=np.array([int(result.output.argmax()) for result in gated], np.int64),
        labels=samples.y,
        first_difference=comparison.first,
        engine=engine,
        cycles_gated=None if port is None else np.array([board.cycles(result.ticks) for result in gated], np.int64),
        cycles_dense=None if port is None else np.array([board.cycles(result.ticks) for result in dense], np.int64),
        hertz=board.core_hertz,
    )


#: Samples that the golden model computes at a time, all tensors kept.
_CHUNK = 50


def _chunks(count: int) -> Iterable[slice]:
    return (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))


class Comparison:
    """Counts differences between firmware and golden model."""

    def __init__(self, graph: Graph, plan: PlanFile) -> None:
        self._graph, self._plan = graph, plan
        self.logits = self.masks = self.tensors = self.compared_tensors = 0
        self.first: str | None = None

    @property
    def mismatches(self) -> int:
        return self.logits + self.masks + self.tensors

    def compare_run(self, name: str, result: RunResult, golden: Values, i: int, mode: RunMode) -> None:
        """Logits and masks of a run that did what the golden model did: its gates decided, or masks were given.

        Where the firmware skips it also leaves undecided just those masks that the golden model finds of no use.
        """
        self.compare_output(name, result, golden, i)
        told = self._told(golden, i, mode)
        for gate, mask in self._plan.split_masks(result.masks).items():
            if not np.array_equal(mask, told[gate]):
                self.masks += 1
                self._note(f"{name}: mask {gate}: firmware {mask.tolist()}, golden {told[gate].tolist()}")

    def _told(self, golden: Values, i: int, mode: RunMode) -> Values:
        """What the firmware tells of the masks of sample i."""
        masks = {gate: golden[gate][i : i + 1] for gate, _ in self._plan.gates}
        told = masks if mode is RunMode.MULTIPLY else told_masks(self._graph, masks, self._plan.always)
        return {gate: mask[0] for gate, mask in told.items()}

    def compare_open(self, name: str, result: RunResult, golden: Values, i: int) -> None:
        """Logits and masks of a run in which the gates were forced open."""
        self.compare_output(name, result, golden, i)
        for gate, mask in self._plan.split_masks(result.masks).items():
            if not (mask == 1).all():
                self.masks += 1
                self._note(f"{name}: mask {gate}: firmware {mask.tolist()}, not all 1")

    def compare_output(self, name: str, result: RunResult, golden: Values, i: int) -> None:
        expected = golden[self._graph.output][i].ravel()
        if not np.array_equal(result.output, expected):
            self.logits += 1
            self._note(f"{name}: output: firmware {result.output[:16].tolist()}, golden {expected[:16].tolist()}")

    def compare_tensors(self, name: str, result: RunResult, golden: Values, i: int, mode: RunMode) -> None:
        """Every tensor that the firmware showed, without what it rightly did not compute where it skips."""
        told = self._told(golden, i, mode)
        masks = self._plan.with_lists(told)
        for observed in self._plan.observed:
            expected = told[observed.tensor] if observed.is_mask else golden[observed.tensor][i]
            raw = result.tensors.get(observed.index)
            self.compared_tensors += 1
            if raw is None or len(raw) != expected.size:
                self.tensors += 1
                self._note(f"{name}: tensor {observed.tensor}: {'missing' if raw is None else 'of another size'}")
                continue
            whole = observed.is_mask or mode is RunMode.MULTIPLY
            used = np.ones(observed.shape[-1], bool) if whole else observed.used(masks)
            firmware, golden_values = observed.to_nhwc(raw)[..., used], expected[..., used]
            wrong = firmware != golden_values
            if wrong.any():
                self.tensors += 1
                self._note(
                    f"{name}: tensor {observed.tensor}: {wrong.sum()} of {wrong.size} values differ, "
                    f"first: firmware {firmware[wrong][0]}, golden {golden_values[wrong][0]}"
                )

    def _note(self, difference: str) -> None:
        if self.first is None:
            self.first = difference
