# SPDX-License-Identifier: Apache-2.0
"""What the repository ships for the demo is what its documents say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from acsgen.demo import most_used
from acsgen.frontend.keras import load_keras
from acsgen.graph import Graph, Shuffle
from acsgen.plan import plan
from acsgen.quantize import quantize
from acsgen.resources import resource_dir
from acsgen.samples import Samples, load_samples, read_samples

DEMO = resource_dir("demo")


@pytest.fixture(scope="module")
def calibration() -> Samples:
    return read_samples(DEMO / "calibration.npz")


@pytest.fixture(scope="module")
def graph(calibration: Samples) -> Graph:
    return quantize(load_keras(DEMO / "fashion_acs.keras"), calibration.x[:50])


def test_files_are_small() -> None:
    assert (DEMO / "fashion_acs.keras").stat().st_size < 2_000_000
    assert sum(path.stat().st_size for path in DEMO.glob("*.npz")) < 1_000_000


def test_images(calibration: Samples, graph: Graph) -> None:
    test = load_samples(DEMO / "test.npz", graph)
    assert (len(calibration.x), len(test.x)) == (200, 1000)
    assert test.y is not None and set(test.y) == set(range(10))
    assert (test.x.min(), test.x.max()) == (0, 1)


def test_training_reached_its_goal() -> None:
    """By its own report over all 10,000 test images."""
    report = json.loads((DEMO / "report.json").read_text(encoding="utf-8"))["test"]
    assert report["gated"]["accuracy"] >= 0.91
    assert report["gated"]["macs_mean"] <= 0.6 * report["dense"]["macs_mean"]


def test_both_ideas_work_together(graph: Graph) -> None:
    """Learned groups become grouped convolutions without a shuffle; the gates skip along them."""
    planned = plan(graph)
    grouped = [s for s in planned.steps if getattr(s.op, "groups", 1) > 1]
    assert len(grouped) == 4 and all(step.active for step in grouped)
    assert {planned.buffers[s.output].shape[2] // planned.buffers[s.output].groups for s in grouped} == {8, 16}
    assert sum(step.joined is not None for step in planned.steps) == 4
    assert not any(isinstance(op, Shuffle) for op in graph.ops)
    skippable = sum(step.macs for step in planned.steps if step.active or step.joined)
    assert skippable > 0.9 * graph.macs()


def test_most_used() -> None:
    mask = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0]])
    np.testing.assert_array_equal(most_used(mask), [1, 0, 1, 0])
