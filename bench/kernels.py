# SPDX-License-Identifier: Apache-2.0
"""Instructions of single layers, gated layers and ResNet8, by kernel set, exact, in QEMU.

    python -m bench.kernels [--board mps2-an386] [--kernels acs_no_winograd] [--only 3x3] [-o build/bench/kernels.json]

Every figure is of a generated and built project whose outputs equal the golden model's.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from acsgen.emit.project import generate
from acsgen.errors import AcsgenError
from acsgen.golden import run
from acsgen.graph import Graph
from acsgen.quantize.acsq import save_acsq
from acsgen.target.boards import Board, load_board
from acsgen.target.build import build
from acsgen.target.emulator import Emulator
from acsgen.target.link import RunMode
from bench.nets import conv_chain, depthwise_chain, gated_chain, resnet8
from bench.results import update_json

#: Chains of equal layers: two lengths differ by one layer, and by nothing that surrounds it.
LAYERS: dict[str, Callable[..., Graph]] = {
    **{f"3x3 C={c}": partial(conv_chain, 16, c, 3) for c in (16, 32, 64)},
    "5x5 C=16": partial(conv_chain, 16, 16, 5),
    **{f"1x1 C={c}": partial(conv_chain, 16, c, 1) for c in (32, 64)},
    **{f"3x3 C=32, {each} a group": partial(conv_chain, 16, 32, 3, 32 // each) for each in (8, 4)},
    **{f"depthwise {k}x{k} C=32": partial(depthwise_chain, 16, 32, k) for k in (3, 5)},
}
NETWORKS: dict[str, Callable[[], Graph]] = {"resnet8": resnet8}
#: A layer whose blocks are gated: size, channels, kernel, groups.
GATED = {
    "3x3 C=64, 8 a block": (16, 64, 3, 8),
    "3x3 C=32, 4 a block": (16, 32, 3, 8),
    "1x1 C=64, 8 a block": (16, 64, 1, 8),
}
DENSITIES = (0.75, 0.5, 0.25)
#: Kernel sets with their options of `generate`.
VARIANTS: dict[str, tuple[str, bool]] = {
    "cmsis_nn": ("cmsis_nn", False),
    "acs_no_winograd": ("acs", False),
    "acs": ("acs", True),
    "portable": ("portable", False),
    "acs_rv32_no_winograd": ("acs_rv32", False),
    "acs_rv32": ("acs_rv32", True),
}
DEFAULT_VARIANTS = ("cmsis_nn", "acs_no_winograd", "acs")


@dataclass(frozen=True)
class LayerRow:
    """A layer, or a whole network. ipm: instructions / MACs."""

    layer: str
    kernels: str
    instructions: int
    macs: int
    ipm: float


@dataclass(frozen=True)
class GatedRow:
    """efficiency: instruction ratio / MAC ratio against the same layer with every block open."""

    layer: str
    kernels: str
    density: float
    instructions: int
    instructions_open: int
    efficiency: float


@dataclass(frozen=True)
class Count:
    """Of one run: with the gates deciding, and forced open."""

    gated: int
    opened: int
    macs: int


def measure(graph: Graph, board: Board, kernels: str, folder: Path) -> Count:
    """Generates, builds and runs a graph on one input; AcsgenError if a bit is wrong."""
    model, project = folder / "model.acsq", folder / "project"
    save_acsq(graph, model)
    kernel_set, winograd = VARIANTS[kernels]
    generate(model, board, project, name="bench", kernels=kernel_set, winograd=winograd, force=True)
    elf = build(project).elf
    x = np.random.default_rng(1).integers(-128, 128, graph.shape(graph.input)).astype(np.int8)
    counts = []
    with Emulator(board, elf) as emulator:
        for mode, golden in ((RunMode.SKIP, "run"), (RunMode.OPEN, "open")):
            result = emulator.run(x, mode)
            if not np.array_equal(result.output, run(graph, x[None], golden)[graph.output].ravel()):
                raise AcsgenError(f"{graph.name} with {kernels} on {board.name}: the output is not the golden model's")
            counts.append(result.instructions)
    return Count(counts[0], counts[1], graph.macs())


def difference(make: Callable[..., Graph], board: Board, kernels: str, folder: Path) -> Count:
    """What one more layer takes."""
    short, long = (measure(make(length=length), board, kernels, folder) for length in (1, 2))
    return Count(long.gated - short.gated, long.opened - short.opened, long.macs - short.macs)


def layer_row(name: str, kernels: str, board: Board, folder: Path) -> LayerRow:
    if name in NETWORKS:
        count = measure(NETWORKS[name](), board, kernels, folder)
    else:
        count = difference(LAYERS[name], board, kernels, folder)
    return LayerRow(name, kernels, count.opened, count.macs, count.opened / count.macs)


def gated_rows(name: str, kernels: str, board: Board, folder: Path) -> list[GatedRow]:
    """One row for each density."""
    size, channels, kernel, groups = GATED[name]
    rows = []
    for density in DENSITIES:
        chain = partial(gated_chain, size, channels, kernel, groups, round(density * groups))
        count = difference(chain, board, kernels, folder)
        efficiency = count.gated / count.opened / density**2
        rows.append(GatedRow(name, kernels, density, count.gated, count.opened, efficiency))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--board", default="mps2-an386")
    parser.add_argument("--kernels", action="append", choices=VARIANTS, help="may be given several times")
    parser.add_argument("--only", default="", help="layers whose name holds this text")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/kernels.json"))
    options = parser.parse_args(arguments)
    board = load_board(options.board)
    layers, gated = [], []
    with tempfile.TemporaryDirectory() as folder:
        for kernels in options.kernels or DEFAULT_VARIANTS:
            for name in (name for name in (*LAYERS, *NETWORKS) if options.only in name):
                layers.append(row := layer_row(name, kernels, board, Path(folder)))
                print(f"{kernels:16}{name:26} {row.instructions:10,} instructions {row.ipm:7.3f} a MAC", flush=True)
            for name in (name for name in GATED if options.only in f"gated {name}"):
                for each in gated_rows(name, kernels, board, Path(folder)):
                    gated.append(each)
                    text = f"{each.instructions:10,} instructions, efficiency {each.efficiency:.3f}"
                    print(f"{kernels:16}{name:22} {each.density:3.0%} {text}", flush=True)
    document = {"board": board.name, "layers": [asdict(r) for r in layers], "gated": [asdict(r) for r in gated]}
    update_json(options.output, document)


if __name__ == "__main__":
    main()
