# SPDX-License-Identifier: Apache-2.0
"""Running inputs without a verdict, and thresholds that are raised to a budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acsgen.emit.project import generate
from acsgen.errors import AcsgenError
from acsgen.golden import quantize_input
from acsgen.golden import run as golden
from acsgen.graph import Graph, SumGate
from acsgen.plan.document import PlanFile, read_plan
from acsgen.quantize import quantize
from acsgen.quantize.acsq import save_acsq
from acsgen.samples import load_inputs
from acsgen.target.boards import load_board
from acsgen.target.build import build
from acsgen.target.link import RunMode
from acsgen.verify.firmware import open_firmware
from acsgen.verify.once import raised_for, run
from tests.graphs import Builder, with_sum_gates

INPUTS = np.random.default_rng(7).normal(size=(16, 8, 8, 4)).astype(np.float32)


def gated() -> Graph:
    b = Builder(np.random.default_rng(11), (8, 8, 4), "pair")
    inside = b.mask(b.conv("x", 16, activation="relu"), b.gate("x", 4))
    return quantize(b.graph(b.dense(b.flatten(b.global_pool(b.conv(inside, 8))), 5)), INPUTS)


GRAPH = gated()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    save_acsq(GRAPH, folder / "pair.acsq")
    project = generate(folder / "pair.acsq", load_board("mps2-an386"), folder / "project").path
    build(project)
    return project


@pytest.fixture
def plan(project: Path) -> PlanFile:
    return read_plan(project / "plan.json")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", INPUTS)
    return tmp_path / "x.npy"


def test_runs_are_the_golden_models(project: Path, plan: PlanFile, inputs: Path) -> None:
    seen: list[int] = []
    runs = run(project, inputs, steps=True, progress=seen.append)
    expected = golden(GRAPH, quantize_input(GRAPH, INPUTS))
    np.testing.assert_array_equal(runs.output, expected[GRAPH.output])
    target = GRAPH.tensors[GRAPH.output]
    assert target.scale is not None
    np.testing.assert_allclose(runs.scores, target.scale * (runs.output.astype(float) - target.zero_point), rtol=1e-6)
    for gate, mask in runs.masks.items():
        np.testing.assert_array_equal(mask, expected[gate])
    np.testing.assert_array_equal(runs.macs, plan.macs({gate: expected[gate] for gate in runs.masks}))
    assert (runs.unit, runs.microseconds, sum(seen)) == ("instructions", None, len(INPUTS))
    assert [name for name, _, _ in runs.steps] == [observed.tensor for observed in plan.observed]
    # Looking on costs a little at each step, and nothing is left out.
    total = sum(cost for _, _, cost in runs.steps)
    assert 0 < total - runs.cost.mean() < 60 * len(runs.steps)


@pytest.mark.parametrize("raised", [-128, -9, 0, 3, 127])
def test_raised_thresholds_are_the_golden_models(project: Path, plan: PlanFile, raised: int) -> None:
    data = quantize_input(GRAPH, INPUTS)
    expected = golden(GRAPH, data, raised=raised)
    with open_firmware(project) as firmware:
        for i, x in enumerate(data):
            result = firmware.run(x, RunMode.BUDGET, raised=raised)
            np.testing.assert_array_equal(result.output, expected[GRAPH.output][i])
            for gate, mask in plan.split_masks(result.masks).items():
                np.testing.assert_array_equal(mask, expected[gate][i])
    masks = expected[plan.gates[0][0]]
    assert masks.all() if raised == -128 else not masks.any() if raised == 127 else 0 < masks.mean() < 1


def test_thresholds_of_single_groups(project: Path) -> None:
    (x,) = quantize_input(GRAPH, INPUTS[:1])
    with open_firmware(project) as firmware:
        assert firmware.run(x, RunMode.BUDGET, raised=[-128, 127, 127, -128]).masks.tolist() == [1, 0, 0, 1]


def test_a_budget_is_kept_and_used(project: Path, plan: PlanFile, inputs: Path) -> None:
    dense, closed = int(plan.macs()), int(plan.macs({plan.gates[0][0]: [0, 0, 0, 0]}))
    before = dense
    for budget in (dense, (dense + closed) // 2, closed):
        runs = run(project, inputs, budget=budget)
        assert runs.macs.mean() <= budget
        looser = golden(GRAPH, quantize_input(GRAPH, INPUTS), raised=max(runs.raised - 1, -128))
        used = plan.macs({gate: looser[gate] for gate in runs.masks}).mean()
        assert used > budget or runs.raised == -128
        assert runs.macs.mean() <= before
        before = runs.macs.mean()
    assert runs.macs.mean() == closed


def test_budgets_that_cannot_be_kept(plan: PlanFile) -> None:
    data = quantize_input(GRAPH, INPUTS)
    with pytest.raises(AcsgenError, match="a budget of 5 MACs is too small: with the highest thresholds it needs"):
        raised_for(GRAPH, plan, data, 5)
    with pytest.raises(AcsgenError, match=r"graph 'pair' has no gates: it needs [\d,]+ MACs, whatever the budget"):
        raised_for(GRAPH, PlanFile((), (), plan.lists, plan.observed, plan.steps), data, 5)


def test_inputs_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    data = quantize_input(GRAPH, INPUTS)
    for array in (INPUTS, INPUTS.astype(np.float64), data):
        np.save(path, array)
        np.testing.assert_array_equal(load_inputs(path, GRAPH), data)
    np.save(path, INPUTS[0])
    np.testing.assert_array_equal(load_inputs(path, GRAPH), data[:1])
    np.save(path, np.full((8, 8, 4), 200, np.uint8))
    np.testing.assert_array_equal(
        load_inputs(path, GRAPH), quantize_input(GRAPH, np.full((1, 8, 8, 4), 200, np.float32))
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (INPUTS[:, :4], r"has shape \(16, 4, 8, 4\), the model needs \(8, 8, 4\) or \(N, 8, 8, 4\) with N above 0"),
        (INPUTS[:0], r"has shape \(0, 8, 8, 4\)"),
        (np.array(["a"]), "needs a numeric array, saved with numpy.save"),
        (INPUTS[0].astype(complex), "needs a numeric array"),
        (np.full((8, 8, 4), np.nan), "NaN or infinity"),
    ],
)
def test_inputs_that_are_none(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(AcsgenError, match=f"x.npy: {message}"):
        load_inputs(tmp_path / "x.npy", GRAPH)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text", b"PK\x03\x04"])
def test_files_that_are_no_array(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(AcsgenError, match=r"no .npy file of an array, or a damaged one"):
        load_inputs(tmp_path / "x.npy", GRAPH)
    with pytest.raises(AcsgenError, match=r"y.npy: no such file"):
        load_inputs(tmp_path / "y.npy", GRAPH)


def test_thresholds_of_accumulators(tmp_path: Path) -> None:
    """A gate that decides on sums: raised thresholds, and masks that the caller gives, are the golden model's."""
    graph = with_sum_gates(GRAPH)
    assert isinstance(graph.gates[0], SumGate)
    save_acsq(graph, tmp_path / "sums.acsq")
    project = generate(tmp_path / "sums.acsq", load_board("mps2-an386"), tmp_path / "project").path
    build(project)
    (gate,) = (gate.output for gate in graph.gates)
    data = quantize_input(graph, INPUTS)
    given = np.array([0, 1, 1, 0], np.uint8)
    densities = []
    with open_firmware(project) as firmware:
        for raised in (-128, -40, -3, 0, 5, 60, 127):
            expected = golden(graph, data, raised=raised)
            for i, x in enumerate(data[:6]):
                result = firmware.run(x, RunMode.BUDGET, raised=raised)
                np.testing.assert_array_equal(result.masks, expected[gate][i])
                np.testing.assert_array_equal(result.output, expected[graph.output][i])
            densities.append(expected[gate].mean())
        result = firmware.run(data[0], RunMode.GIVEN, masks=given)
    assert (densities[0], densities[-1]) == (1, 0) and densities == sorted(densities, reverse=True)
    assert len(set(densities)) > 3
    np.testing.assert_array_equal(result.masks, given)
    np.testing.assert_array_equal(result.output, golden(graph, data[:1], {gate: given})[graph.output][0])
