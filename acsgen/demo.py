# SPDX-License-Identifier: Apache-2.0
"""The whole way once, with the trained network that acsgen ships; every figure it prints is measured here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.project import generate
from acsgen.errors import AcsgenError
from acsgen.files import whole_file
from acsgen.frontend.keras import load_keras
from acsgen.golden.interpreter import quantize_input, run
from acsgen.graph import Graph
from acsgen.graph.evaluate import evaluate
from acsgen.graph.execute import Gates
from acsgen.graph.ungate import ungate
from acsgen.quantize import quantize
from acsgen.quantize.acsq import save_acsq
from acsgen.quantize.flips import accuracy, count_flips
from acsgen.resources import resource_dir
from acsgen.samples import Samples, load_samples
from acsgen.target.boards import Board, load_board
from acsgen.target.build import BuildResult, build, require_compiler
from acsgen.target.engines import open_emulator
from acsgen.verify import Verification, verify

SUMMARY = "summary.json"


@dataclass(frozen=True)
class DemoResult:
    """What the demo found. summary: what stands in summary.json."""

    gated: Verification
    twin: Verification
    build: BuildResult
    summary: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.gated.ok and self.twin.ok

    @property
    def first_difference(self) -> str | None:
        return self.gated.first_difference or self.twin.first_difference


def run_demo(
    out: Path, board_name: str, images: int, progress: Callable[..., None] = lambda steps=0, title=None: None
) -> DemoResult:
    """Quantises, generates, builds and verifies the shipped network and its ungated twin below `out`.

    images: how many of the shipped test images run in the emulator; accuracies are over all of them.
    Writes `out/summary.json` once all has been measured; one of an earlier run is gone by the first step.
    progress(title=...) is called at each step.
    Raises AcsgenError or OSError, before any work, if a program is missing or `out` cannot be written to.
    """
    start = time.monotonic()
    board, files = load_board(board_name), resource_dir("demo")
    _require_tools(board)
    _clear(out)
    progress(title="Reading the checkpoint")
    network = load_keras(files / "fashion_acs.keras")
    calibration = load_samples(files / "calibration.npz", network)
    test = load_samples(files / "test.npz", network)

    progress(title="Quantising")
    graph = quantize(network, calibration.x)
    projects = []
    for name, network_graph in (("firmware", graph), ("ungated", ungate(graph))):
        model = out / f"{name}.acsq"
        save_acsq(network_graph, model)
        generate(model, board, out / name, name="demo", force=True)
        projects.append(out / name)

    progress(title="Building")
    with ThreadPoolExecutor(2) as pool:
        built, _ = pool.map(build, projects)
        progress(title=f"Running {images} images in the emulator, gated, with gates open, and ungated")
        gated, twin = pool.map(lambda project: verify(project, test.first(images)), projects)

    progress(title="Measuring what the masks are worth")
    summary = {
        **gated.summary(),
        **_accuracies(network, graph, calibration, test),
        **_against_twin(gated, twin),
        "flash_bytes": built.flash_bytes,
        "ram_bytes": built.ram_bytes,
        "board": board.name,
        "seconds": round(time.monotonic() - start, 1),
    }
    del summary["accuracy"]  # over the images that ran; int8_accuracy is over all test images
    with whole_file(out / SUMMARY) as beside:
        beside.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return DemoResult(gated, twin, built, summary)


def _require_tools(board: Board) -> None:
    """AcsgenError now, with the words that `build` and the emulator would use after half of the work."""
    require_compiler(board.toolchain.compiler, board.toolchain.install)
    open_emulator(board, Path())  # not started: it refuses a board that it cannot run


def _clear(out: Path) -> None:
    """Makes the folder; a run that fails must not leave the figures of the one before."""
    if out.exists() and not out.is_dir():
        raise AcsgenError(f"{out} is not a folder: give another name")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK | os.X_OK):
        raise AcsgenError(f"{out}: the folder cannot be written to: give another")
    (out / SUMMARY).unlink(missing_ok=True)


def _against_twin(gated: Verification, twin: Verification) -> dict[str, Any]:
    """The same efficiency, against the network that never had gates."""
    instructions = float(twin.instructions_dense.mean())
    ratio = float(gated.instructions_gated.mean()) / instructions
    return {
        "macs_ungated": twin.macs_dense,
        "instructions_ungated": instructions,
        "mismatched_ungated": twin.mismatched_logits + twin.mismatched_tensors,
        "efficiency_against_ungated": ratio / (float(gated.macs_gated.mean()) / twin.macs_dense),
    }


def _accuracies(network: Graph, graph: Graph, calibration: Samples, test: Samples) -> dict[str, Any]:
    """Float and int8 accuracy, and what is left of it when the masks no longer follow the input."""
    masks = {gate.output for gate in graph.gates}
    floating = evaluate(network, test.x, keep=(network.output, *masks))
    inputs = quantize_input(graph, test.x)
    own = run(graph, inputs, keep=(graph.output, *masks))
    usual = run(graph, quantize_input(graph, calibration.x), keep=tuple(masks))
    order = np.random.default_rng(0).permutation(len(inputs))

    def int8_accuracy(gates: Gates) -> float:
        return _accuracy(run(graph, inputs, gates, keep=(graph.output,))[graph.output], test)

    return {
        "accuracy_images": len(test.x),
        "float_accuracy": _accuracy(floating[network.output], test),
        "int8_accuracy": _accuracy(own[graph.output], test),
        "accuracy_open_gates": int8_accuracy("open"),
        "accuracy_constant_masks": int8_accuracy({name: most_used(usual[name]) for name in masks}),
        "accuracy_shuffled_masks": int8_accuracy({name: own[name][order] for name in masks}),
        "flipped_mask_bits": count_flips({name: floating[name] for name in masks}, own).gates,
    }


def most_used(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """(N, G) to (G,): the groups that are open most often, as many as are open on average."""
    share = mask.mean(axis=0)
    constant = np.zeros(len(share), np.uint8)
    constant[np.argsort(-share, kind="stable")[: round(float(share.sum()))]] = 1
    return constant


def _accuracy(logits: NDArray[Any], samples: Samples) -> float:
    assert samples.y is not None, "the shipped test images have labels"
    return accuracy(logits, samples.y)
