# SPDX-License-Identifier: Apache-2.0
"""Every network of the zoo through the whole flow: quantise, generate, build, and verify in the emulator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from acsgen.emit.project import generate
from acsgen.frontend.keras import load_keras
from acsgen.nn.layers import DGConv2D
from acsgen.nn.training.measure import gate_outputs
from acsgen.nn.zoo import ZOO
from acsgen.quantize import quantize
from acsgen.quantize.acsq import save_acsq
from acsgen.samples import Samples
from acsgen.target.boards import load_board
from acsgen.target.build import build
from acsgen.verify import verify

#: Small ones, with the paper's gate where there is one, whose convolutions have learned groups themselves.
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "acs_resnet": {"gate": "conv", "gate_hidden": 8},
    "acs_densenet": {"stem": 8, "growth": 8, "blocks": (2, 2), "group": 4, "gate": "conv", "gate_hidden": 8},
    "acs_mobilenet": {"gate": "squeeze"},
    "g_resnext": {},
    "acs_bottleneck_resnet": {"gate": "feedforward", "gate_hidden": 8},
}


def test_all_members_are_here() -> None:
    assert set(ARGUMENTS) == set(ZOO)


def look_trained(model: keras.Model, rng: np.random.Generator) -> None:
    """Fixed groups, and batch normalisation of which no channel is like another."""
    for layer in model.layers:
        if isinstance(layer, DGConv2D):
            layer.freeze_groups()
        elif isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            spread = [rng.uniform(0.5, 1.5, shape), rng.normal(0, 0.3, shape), rng.normal(0, 0.3, shape)]
            layer.set_weights([*spread, rng.uniform(0.5, 1.5, shape)])


def decide_both_ways(model: keras.Model, samples: np.ndarray) -> None:
    """Moves the bias of every gate's logits to their middle: as many samples on either side."""
    for name in gate_outputs(model):
        logits = model.get_layer(name).input
        middle = np.median(keras.Model(model.input, logits).predict(samples, verbose=0), axis=0)
        layer = logits._keras_history.operation
        while getattr(layer, "bias", None) is None:
            layer = layer.input._keras_history.operation
        layer.bias.assign(layer.bias - middle)


@pytest.mark.parametrize("member", ZOO)
def test_zero_mismatches(member: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    gated = ZOO[member].gated
    model = ZOO[member].build(
        input_shape=(16, 16, 1),
        width=0.5,
        gated=gated,
        seed=1,
        **ARGUMENTS[member],
        **({"gate_open": 0.5} if gated else {}),
    )
    look_trained(model, rng)
    # Samples of different brightness, so that gates have something to decide on.
    samples = rng.random((12, 16, 16, 1), np.float32) * np.linspace(0.2, 1.0, 12, dtype=np.float32)[:, None, None, None]
    if gated:
        decide_both_ways(model, samples)
    model.save(tmp_path / "model.keras")
    graph = quantize(load_keras(tmp_path / "model.keras"), samples)
    save_acsq(graph, tmp_path / "model.acsq")
    project = tmp_path / "project"
    generate(tmp_path / "model.acsq", load_board("mps2-an386"), project)
    build(project)
    result = verify(project, Samples(samples, None), tensors=4)
    assert result.ok, result.first_difference
    assert result.compared_tensors > 4 * 2 * 10
    if gated:
        assert result.distinct_masks > 1
        assert result.macs_gated.min() < result.macs_dense
