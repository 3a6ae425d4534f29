# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning with rounding: that it rounds as the compiler and the golden model do, and that bits stop flipping."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from acsgen.errors import AcsgenError
from acsgen.frontend.keras import load_keras, read_model
from acsgen.golden.arithmetic import dequantize
from acsgen.golden.arithmetic import quantize as golden_quantize
from acsgen.golden.interpreter import quantize_input, run
from acsgen.graph import Conv2D, Dense, Tensor
from acsgen.nn.layers import DGConv2D
from acsgen.nn.qat import (
    QatSchedule,
    fake_quantize,
    fake_quantize_weights,
    fine_tune,
    forward,
    margin_loss,
    rounding_of,
)
from acsgen.nn.zoo import ZOO
from acsgen.quantize import quantize
from acsgen.quantize.flips import flips
from acsgen.resources import resource_dir
from acsgen.samples import load_samples


@pytest.fixture(scope="module")
def demo() -> tuple[keras.Model, Any, Any]:
    """The demo's network, its calibration images and its labelled test images."""
    files = resource_dir("demo")
    graph = load_keras(files / "fashion_acs.keras")
    model = keras.saving.load_model(files / "fashion_acs.keras", compile=False, safe_mode=True)
    return model, load_samples(files / "calibration.npz", graph), load_samples(files / "test.npz", graph)


@pytest.mark.parametrize(("scale", "zero_point"), [(0.5, 0), (0.0123, -128), (0.75, 127), (1.0, -3)])
def test_values_are_rounded_as_in_the_golden_model(scale: float, zero_point: int) -> None:
    """Ties, both ends of the range, and whatever lies between."""
    steps = np.concatenate([np.arange(-300, 300) / 2, np.random.default_rng(0).normal(0, 90, 1000)])
    x = (steps * np.float32(scale)).astype(np.float32)
    got = fake_quantize(tf.constant(x), tf.constant(scale, tf.float32), tf.constant(float(zero_point)))
    tensor = Tensor("x", x.shape, float(np.float32(scale)), zero_point)
    np.testing.assert_array_equal(got, dequantize(golden_quantize(x, tensor), tensor))


def test_the_gradient_passes_where_nothing_saturates() -> None:
    x = tf.constant([-3.0, -0.2, 0.3, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = fake_quantize(x, tf.constant(0.01), tf.constant(0.0))
    np.testing.assert_array_equal(tape.gradient(y, x), [0, 1, 1, 0])


def test_weights_are_rounded_as_by_the_compiler() -> None:
    """Of every layer of a network, in steps of the compiler's own scale; batch normalisation is folded there."""
    model = ZOO["acs_resnet"].build(input_shape=(8, 8, 1), stem=8, widths=(8, 16), strides=(1, 2), seed=3)
    images = np.random.default_rng(0).random((8, 8, 8, 1), np.float32)
    graph = quantize(read_model(model), images)
    seen = 0
    for op in graph.ops:
        if not isinstance(op, Conv2D | Dense):
            continue
        layer = model.get_layer(op.name)
        kernel = layer.kernel.numpy()
        rounded = np.asarray(fake_quantize_weights(tf.constant(kernel), kernel.ndim - 1))
        scale = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)), keepdims=True) / 127
        steps = np.moveaxis(np.rint(rounded / scale), -1, 0)
        np.testing.assert_array_equal(steps.astype(np.int8).reshape(op.weights.shape), op.weights)
        seen += 1
    assert seen > 5


def test_the_rounded_network_decides_as_the_golden_model(demo: tuple[keras.Model, Any, Any]) -> None:
    """Sums in float32 round some values to the neighbouring step; the golden model's are exact."""
    model, calibration, test = demo
    images = test.x[:100]
    graph = quantize(read_model(model), calibration.x, sums=False)
    golden = run(graph, quantize_input(graph, images))
    ours = forward(model, images, rounding_of(graph))
    output = graph.tensors[graph.output]
    steps = np.asarray(ours.logits) / output.scale + output.zero_point
    assert np.abs(steps - golden[graph.output].reshape(steps.shape)).mean() < 1
    assert set(ours.masks) == {gate.output.partition("/")[0] for gate in graph.gates}
    plain = forward(model, images)
    np.testing.assert_allclose(plain.logits, model.predict(images, verbose=0), rtol=1e-4, atol=1e-4)
    missed, flipped = (
        np.concatenate([np.asarray(mask) != golden[name] for name, mask in masks.items()], axis=1).mean()
        for masks in (ours.masks, plain.masks)
    )
    assert flipped > 0.008
    assert missed < 0.5 * flipped


def test_the_margin_by_hand() -> None:
    """Root mean square 5 in the first bit, 1 in the second; a margin of one of them."""
    logits = {"g": tf.constant([[1.0, 1.0], [-7.0, 1.0]])}
    masks = {"g": tf.constant([[1.0, 0.0], [0.0, 1.0]])}
    # bit 0: 1 - 1/5 and 0; bit 1: on the wrong side 1 + 1, at the margin 0
    assert float(margin_loss(logits, masks, 1.0)) == pytest.approx((0.8 + 0 + 2 + 0) / 4)


def test_fine_tuning_cuts_flips(demo: tuple[keras.Model, Any, Any]) -> None:
    model, calibration, test = demo
    before = [weight.copy() for weight in model.get_weights()]
    schedule = QatSchedule(epochs=10, batch=50)
    tuned = fine_tune(model, test.x[:500], test.y[:500], calibration.x, schedule, log=lambda line: None)
    unseen, labels = test.x[500:], test.y[500:]
    was, now = (flips(read_model(m), unseen, calibration.x, labels) for m in (model, tuned))
    assert was.bits > 0.008
    assert now.bits < 0.7 * was.bits
    assert now.int8_accuracy is not None and was.int8_accuracy is not None
    assert now.int8_accuracy > was.int8_accuracy - 0.02
    for kept, now_ in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now_)
    for layer in tuned.layers:
        twin = model.get_layer(layer.name)
        if isinstance(layer, DGConv2D):
            np.testing.assert_array_equal(layer.channel_groups(), twin.channel_groups())
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kernel = tf.convert_to_tensor(layer.kernel)
            np.testing.assert_allclose(kernel, fake_quantize_weights(kernel, len(kernel.shape) - 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("gated", "softmax", "message"),
    [(False, False, "has no gate"), (True, True, "ends in a softmax in 'top'")],
)
def test_networks_that_cannot_be_tuned(gated: bool, softmax: bool, message: str) -> None:
    model = ZOO["acs_resnet"].build(input_shape=(8, 8, 1), stem=4, widths=(4,), strides=(1,), gated=gated)
    if softmax:
        model = keras.Model(model.input, keras.layers.Softmax(name="top")(model.output))
    images = np.zeros((4, 8, 8, 1), np.float32)
    with pytest.raises(AcsgenError, match=message):
        fine_tune(model, images, np.zeros(4, int), images)
