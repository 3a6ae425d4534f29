# SPDX-License-Identifier: Apache-2.0
"""Profiles a built project: what each step of its plan executes, and what that costs on the board.

The firmware is the one that `acsgen build` made for the board. Instructions are counted, exactly; cycles are
*modelled* from them (`acsgen.profile.cores` and the board's ``[flash.timing]``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.project import read_manifest
from acsgen.emit.surroundings import BOARD_FILE
from acsgen.errors import AcsgenError
from acsgen.graph import Graph
from acsgen.plan.document import PlanFile, read_plan
from acsgen.plan.plan import count_macs
from acsgen.profile.cores import CORES, CoreModel
from acsgen.profile.counts import Cost, total
from acsgen.profile.image import Namer, read_image, step_ranges
from acsgen.profile.job import Executed
from acsgen.profile.measure import measure_run
from acsgen.quantize.acsq import load_acsq
from acsgen.target.boards import Board, FlashTiming, read_board
from acsgen.target.build import firmware_of
from acsgen.target.engines import Engine
from acsgen.target.link import RunMode

#: Where a project keeps what profiling makes.
FOLDER = Path(".pio/profile")


@dataclass(frozen=True)
class LayerProfile:
    """A step of the plan. macs, costs: summed over all inputs; macs: of what the masks left to compute.

    name: of the operator; kernel: as in plan.json. functions: what was executed in which function of the firmware.
    """

    name: str
    kernel: str
    macs: int
    functions: Mapping[str, Cost]

    @property
    def cost(self) -> Cost:
        return total(self.functions.values())

    @property
    def function(self) -> str:
        """Where most of its instructions were executed; empty if none was."""
        return max(self.functions, key=lambda name: self.functions[name].instructions, default="")


@dataclass(frozen=True)
class Profile:
    """What a profile found; all sums are over `inputs` runs.

    engine: who executed. core: how cycles were modelled, or None: there is no model of this core, and no cycles.
    flash: None: memory that answers at once. layers: the steps of the plan, in order. between: what was executed
    outside of them. places: cost by the address of the instruction. counted: instructions of each run by the
    emulator's own counter, or None.
    """

    project: Path
    name: str
    board: str
    kernels: str
    engine: Engine
    mode: RunMode
    core: CoreModel | None
    flash: FlashTiming | None
    inputs: int
    layers: tuple[LayerProfile, ...]
    between: LayerProfile
    places: Mapping[int, Cost]
    counted: NDArray[np.int64] | None

    @property
    def cost(self) -> Cost:
        return total(layer.cost for layer in (*self.layers, self.between))

    @property
    def functions(self) -> dict[str, Cost]:
        """Cost by function over all layers, the most executed first."""
        costs: dict[str, Cost] = {}
        for layer in (*self.layers, self.between):
            for name, cost in layer.functions.items():
                costs[name] = costs.get(name, Cost()) + cost
        return dict(sorted(costs.items(), key=lambda item: -item[1].instructions))

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def summary(self) -> dict[str, Any]:
        """Means over the inputs, as JSON takes them."""
        return {
            "project": str(self.project),
            "name": self.name,
            "board": self.board,
            "kernels": self.kernels,
            "engine": self.engine,
            "mode": self.mode.name.lower(),
            "inputs": self.inputs,
            "cycles_are": "modelled" if self.core else None,
            "core": self.core.title if self.core else None,
            "core_source": self.core.source if self.core else None,
            "flash": None if self.flash is None else vars(self.flash),
            "layers": [
                {"layer": layer.name, "kernel": layer.kernel, "function": layer.function}
                | self._figures(layer.macs, layer.cost)
                for layer in self.layers
            ],
            "between": self._figures(0, self.between.cost),
            "functions": {name: self._figures(None, cost) for name, cost in self.functions.items()},
            "total": self._figures(self.macs, self.cost),
        }

    def _figures(self, macs: int | None, cost: Cost) -> dict[str, Any]:
        figures: dict[str, Any] = {} if macs is None else {"macs": self.mean(macs)}
        figures["instructions"] = self.mean(cost.instructions)
        if macs is not None:
            figures["ipm"] = cost.instructions / macs if macs else None
        if self.core is None:
            return figures | {"cycles": None}
        return figures | {
            "cycles": self.mean(cost.cycles),
            "cycles_core": self.mean(cost.core),
            "cycles_fetch": self.mean(cost.fetch),
            "cycles_data": self.mean(cost.data),
        }

    def mean(self, value: int) -> int | float:
        """A sum per input: whole where it is."""
        return value // self.inputs if value % self.inputs == 0 else value / self.inputs


def profile(
    project: Path,
    inputs: NDArray[np.int8] | None = None,
    *,
    engine: Engine | None = None,
    mode: RunMode = RunMode.SKIP,
    flash: Board | None = None,
) -> Profile:
    """Runs a built project on inputs and says what each of its layers costs.

    inputs: int8 (N, *shape), by default one of random values, always the same. engine: by default QEMU, or Unicorn
    where the board's QEMU is not installed. mode: OPEN forces every gate open. flash: the board whose flash is
    modelled instead of the project's own board's.
    Raises AcsgenError if the project is not built, or the engine is missing or does not know the board's core.
    """
    manifest = read_manifest(project)
    board = read_board(project / BOARD_FILE, manifest["board"])
    graph = load_acsq(project / "model.acsq")
    elf = firmware_of(project)
    if not elf.is_file():
        raise AcsgenError(f"{project}: is not built: acsgen build {project}")
    image = read_image(elf)
    name = manifest["name"]
    plan = read_plan(project / "plan.json")
    core, timing = CORES.get(board.core), (flash or board).flash_timing
    values = random_inputs(graph) if inputs is None else inputs
    done = measure_run(
        board,
        image,
        f"{name}_run",
        values,
        project / FOLDER,
        output_bytes=prod(graph.shape(graph.output)),
        mask_bytes=sum(groups for _, groups in plan.gates),
        mode=mode,
        flash=timing,
        engine=engine,
        steps=step_ranges(image, project / "lib" / "model" / f"{name}.c"),
    )
    layers, between = _layers(project, done, Namer(image.functions), plan)
    return Profile(
        project=project,
        name=name,
        board=board.name,
        kernels=manifest["kernels"],
        engine=done.engine,
        mode=mode,
        core=core,
        flash=timing if core else None,
        inputs=len(values),
        layers=layers,
        between=between,
        places=done.counts.places,
        counted=done.counted,
    )


def random_inputs(graph: Graph, count: int = 1) -> NDArray[np.int8]:
    """Inputs of random values, the same ones at every call."""
    return np.random.default_rng(0).integers(-128, 128, (count, *graph.shape(graph.input)), np.int8)


def _layers(
    project: Path, done: Executed, namer: Namer, plan: PlanFile
) -> tuple[tuple[LayerProfile, ...], LayerProfile]:
    """Every step of plan.json with what it cost, and what was executed outside of them."""
    steps = json.loads((project / "plan.json").read_text(encoding="utf-8"))["steps"]
    functions: list[dict[str, Cost]] = [{} for _ in (*steps, "between")]
    for (step, function), cost in done.counts.cells.items():
        cells, name = functions[min(step, len(steps))], namer.names[function]
        cells[name] = cells.get(name, Cost()) + cost
    masks = plan.with_lists(plan.split_masks(done.masks))
    layers = []
    for step, terms, cells in zip(steps, plan.steps, functions, strict=False):
        macs = count_macs(terms, masks)
        summed = int(np.broadcast_to(macs, (done.counts.runs,)).sum())
        layers.append(LayerProfile(step["op"], step["kernel"], summed, cells))
    return tuple(layers), LayerProfile("between the layers", "", 0, functions[-1])


@dataclass(frozen=True)
class Line:
    """An instruction of a listing. text: as assembly. cost: summed over all inputs, nothing if it was not executed."""

    address: int
    text: str
    cost: Cost


def listing(result: Profile, function: str) -> list[Line]:
    """Every instruction of a function with what it cost.

    Raises AcsgenError if nothing of this function was executed, or the core has no timings.
    """
    if result.core is None:
        raise AcsgenError(f"there is no timing model of board {result.board}'s core, and so no listing")
    if function not in result.functions:
        busiest = ", ".join(list(result.functions)[:5])
        raise AcsgenError(f"nothing was executed in a function {function!r}; most was in {busiest}")
    image = read_image(firmware_of(result.project))
    namer = Namer(image.functions)
    engine = result.core.disassembler()
    return [
        Line(i.address, f"{i.mnemonic} {i.op_str}".strip(), result.places.get(i.address, Cost()))
        for begin, end in image.code
        for i in engine.disasm(image.bytes_at(begin, end - begin), begin)
        if namer.names[namer.index(i.address)] == function
    ]
