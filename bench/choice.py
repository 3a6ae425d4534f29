# SPDX-License-Identifier: Apache-2.0
"""Whether a kernel set is ever slower than the reference set, layer by layer over the zoo, exact, in QEMU.

    python -m bench.choice [--board mps2-an386] [--kernels acs] [--reference cmsis_nn] [--only acs_resnet]
        [-o build/bench/kernels.json]

All gates are open, so that every layer is computed as a whole. An addition counts to the convolution that it is done
in. The figures go into the file under `zoo`; the exit code is 1 if a layer is slower.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from acsgen.emit.project import generate
from acsgen.nn.zoo import ZOO
from acsgen.profile import profile
from acsgen.quantize.acsq import save_acsq
from acsgen.target.boards import Board, load_board
from acsgen.target.build import build
from acsgen.target.link import RunMode
from bench.networks import int8_graph
from bench.results import update_json

INPUT_SHAPE = (32, 32, 3)
#: What kernel sets compute by themselves; all other steps are the same code with every set.
KERNELS = ("conv", "conv_join", "depthwise", "max_pool")


@dataclass(frozen=True)
class Choice:
    """A layer with a kernel set and with the reference set."""

    net: str
    layer: str
    kernel: str
    instructions: int
    reference: int

    @property
    def slower(self) -> bool:
        return self.instructions > self.reference


def layer_instructions(model: Path, board: Board, kernels: str, folder: Path) -> dict[str, tuple[str, int]]:
    """By the name of the layer: its kernel, and instructions of a run with all gates open."""
    generate(model, board, folder, name="net", kernels=kernels)
    build(folder)
    counted = profile(folder, mode=RunMode.OPEN)
    return {layer.name: (layer.kernel, layer.cost.instructions) for layer in counted.layers}


def choices(net: str, board: Board, kernels: str, compared: str, folder: Path) -> list[Choice]:
    """The layers of a network of the zoo that both sets compute by themselves."""
    model = folder / f"{net}.acsq"
    save_acsq(int8_graph(ZOO[net].build(input_shape=INPUT_SHAPE)), model)
    own, reference = (layer_instructions(model, board, name, folder / f"{net}-{name}") for name in (kernels, compared))
    return [
        Choice(net, layer, kernel, instructions, reference[layer][1])
        for layer, (kernel, instructions) in own.items()
        if layer in reference and kernel in KERNELS
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--board", default="mps2-an386")
    parser.add_argument("--kernels", default="acs")
    parser.add_argument("--reference", default="cmsis_nn", help="the kernel set that it is held against")
    parser.add_argument("--only", default="", help="networks whose name holds this text")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/kernels.json"))
    options = parser.parse_args(arguments)
    board = load_board(options.board)
    found: list[Choice] = []
    with tempfile.TemporaryDirectory() as folder:
        for net in (name for name in ZOO if options.only in name):
            layers = choices(net, board, options.kernels, options.reference, Path(folder))
            slower = [layer for layer in layers if layer.slower]
            ratio = sum(layer.instructions for layer in layers) / sum(layer.reference for layer in layers)
            print(f"{net:24} {len(layers):4} layers, {len(slower)} slower, {ratio:.2f} of the instructions", flush=True)
            for layer in slower:
                print(
                    f"  {layer.layer} ({layer.kernel}): {layer.instructions:,}, {options.reference} {layer.reference:,}"
                )
            found += layers
    rows = [asdict(choice) for choice in found]
    update_json(options.output, {"zoo": {"board": board.name, "kernels": options.kernels, "layers": rows}})
    if any(choice.slower for choice in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
