# SPDX-License-Identifier: Apache-2.0
"""The peers of the benchmarks are what they claim: the same network, measured in the same firmware."""

from __future__ import annotations

import json
from pathlib import Path

import bakenn
import numpy as np
import pytest
from bakenn.passes import legalize_graph
from bakenn.plan import lower_to_plan

from acsgen.errors import AcsgenError
from acsgen.golden.interpreter import run
from acsgen.graph import Graph
from acsgen.profile.profile import random_inputs
from acsgen.quantize import quantize
from acsgen.target.boards import load_board
from acsgen.target.build import memory_use
from bench import peers
from bench.bakenn_project import to_bakenn, write_bakenn_project
from bench.results import update_json
from tests.graphs import Builder


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Every operator of ResNet8, among them an uneven padding."""
    b = Builder(np.random.default_rng(1), (8, 8, 4), "small")
    x = b.conv("x", 8, activation="relu")
    y = b.conv(b.conv(x, 8, activation="relu", stride=(2, 2)), 8)
    summed = b.add(y, b.conv(x, 8, (1, 1), stride=(2, 2)), activation="relu")
    return quantize(b.graph(b.dense(b.flatten(b.global_pool(summed)), 5)), b.samples)


def test_bakenn_gets_the_same_network(graph: Graph) -> None:
    plan = lower_to_plan(legalize_graph(to_bakenn(graph)))
    inputs = random_inputs(graph, 20)
    expected = run(graph, inputs)[graph.output]
    for x, golden in zip(inputs, expected, strict=True):
        difference = bakenn.run_reference(plan, x[None]).astype(int).ravel() - golden.ravel()
        assert np.abs(difference).max() <= peers.TOLERANCE
    assert np.ptp(expected, axis=0).max() > 20


def test_row_of_bakenn(graph: Graph, tmp_path: Path) -> None:
    row = peers.bakenn_row(graph, load_board("mps2-an386"), tmp_path)
    macs = graph.macs()
    assert macs < row.instructions < 50 * macs
    assert row.cycles_no_wait is not None and row.cycles_f405 is not None and row.cycles_l4r5 is not None
    assert row.instructions < row.cycles_no_wait < row.cycles_f405 < row.cycles_l4r5
    (elf,) = tmp_path.rglob("firmware.elf")
    flash, ram = memory_use(elf)
    weights = sum(op.weights.nbytes for op in graph.ops if hasattr(op, "weights"))
    assert weights < row.rodata_bytes < 3 * weights
    # The application round the model is some 6 KB of code.
    assert 3000 < flash - row.text_bytes - row.rodata_bytes < 12000
    assert 0 < row.ram_bytes <= ram - load_board("mps2-an386").stack_bytes


def test_a_board_that_bakenn_does_not_know(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="bakenn has no kernels for board xtensa-sim's core xtensa-lx106"):
        write_bakenn_project(graph, load_board("xtensa-sim"), tmp_path)


def test_results_stand_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "kernels.json"
    update_json(path, {"resnet8": {"cortex_m4": {"cmsis_nn": 1}}})
    update_json(path, {"layers": [2]})
    update_json(path, {"resnet8": {"rv32imc": {"portable": 3}}})
    resnet8 = {"cortex_m4": {"cmsis_nn": 1}, "rv32imc": {"portable": 3}}
    assert json.loads(path.read_text()) == {"resnet8": resnet8, "layers": [2]}
