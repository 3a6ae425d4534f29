# SPDX-License-Identifier: Apache-2.0
"""MAC counts against hand counts, and the losses built on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from acsgen.nn.layers import ApplyMask, ChannelGate, DGConv2D
from acsgen.nn.losses import budget_loss, distillation_loss, group_size_loss
from acsgen.nn.macs import mac_table
from acsgen.nn.training import Schedule, evaluate, predict_masks, train_gated
from acsgen.nn.zoo import Block, acs_bottleneck_resnet


@pytest.fixture(scope="module")
def small() -> Any:
    return acs_bottleneck_resnet(
        input_shape=(8, 8, 1),
        stem=4,
        blocks=[Block("a", middle=8, out=4, group_size=4), Block("b", 8, 8, 2, stride=2)],
        classes=3,
        gate_hidden=2,
    )


def test_hand_count(small: Any) -> None:
    table = mac_table(small)
    assert table.gates == {"a_gate": 2, "b_gate": 4}
    layers = {
        "stem_conv": 16 * 9 * 4,  # 4x4 pixels
        "a_gate_fc1": 16 * 2,  # 2x2 grid of 4 channels
        "a_gate_fc2": 2 * 2,
        "a_conv1": 16 * 4 * 8,
        "a_dg": 16 * 9 * 8 * 4,  # 4 inputs an output
        "a_conv3": 16 * 8 * 4,
        "b_gate_fc1": 16 * 2,
        "b_gate_fc2": 2 * 4,
        "b_conv1": 16 * 4 * 8,
        "b_dg": 4 * 9 * 8 * 2,  # stride 2: 2x2 pixels
        "b_conv3": 4 * 8 * 8,
        "b_short_conv": 4 * 4 * 8,
        "head": 8 * 3,
    }
    assert table.layers() == layers
    assert table.dense == sum(layers.values())
    skippable = [f"{block}_{part}" for block in "ab" for part in ("conv1", "dg", "conv3")]
    assert table.fixed == table.dense - sum(layers[name] for name in skippable)

    masks = {"a_gate": np.array([[1.0, 0], [0, 0]]), "b_gate": np.array([[1.0, 1, 1, 1], [0] * 4])}
    half = sum(layers[f"a_{part}"] for part in ("conv1", "dg", "conv3")) // 2
    assert table.executed(masks).tolist() == [table.dense - half, table.fixed]
    tensors = {name: tf.constant(mask, tf.float32) for name, mask in masks.items()}
    np.testing.assert_array_equal(table.executed(tensors), table.executed(masks))


def test_two_masks_on_one_convolution() -> None:
    x = keras.Input((2, 2, 4))
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    first = ChannelGate(name="first")(keras.layers.Dense(2, name="fc0")(pooled))
    second = ChannelGate(name="second")(keras.layers.Dense(3, name="fc1")(pooled))
    y = keras.layers.Conv2D(4, 1, name="conv0")(x)
    y = ApplyMask([0, 1, 1, 0])([y, first])
    y = keras.layers.Conv2D(6, 3, padding="same", name="conv1")(y)
    y = ApplyMask([0, 2, 0, 1, 2, 1])([y, second])
    model = keras.Model(x, keras.layers.Dense(5, name="head")(keras.layers.Flatten()(y)))
    table = mac_table(model)
    masks = {"first": np.array([[1.0, 0]]), "second": np.array([[1.0, 0, 1]])}
    # conv0: 2 of 4 outputs; conv1: 2 inputs, 4 outputs; the dense layer reads 2 of 3 groups of every pixel.
    wanted = 4 * 2 + 4 * 3 + 4 * 4 * 2 + 4 * 9 * 2 * 4 + 16 * 5
    assert table.executed(masks).tolist() == [wanted]
    tensors = {name: tf.constant(mask, tf.float32) for name, mask in masks.items()}
    assert np.asarray(table.executed(tensors)).tolist() == [wanted]


def test_budget_loss_weighs_by_macs(small: Any) -> None:
    table = mac_table(small)
    masks = {
        "a_gate": tf.Variable([[1.0, 0.0]]),
        "b_gate": tf.Variable([[1.0, 1.0, 0.0, 0.0]]),
    }
    share = float(np.asarray(table.executed(masks))[0]) / table.dense
    assert float(budget_loss(table, masks, share)) == pytest.approx(0.0, abs=1e-9)
    with tf.GradientTape() as tape:
        loss = budget_loss(table, masks, 0.25)
    assert float(loss) == pytest.approx((share - 0.25) ** 2, rel=1e-5)
    grad_a, grad_b = tape.gradient(loss, [masks["a_gate"], masks["b_gate"]])
    layers = table.layers()
    a, b = (sum(layers[f"{n}_{p}"] for p in ("conv1", "dg", "conv3")) for n in "ab")
    assert float(grad_a[0, 0] / grad_b[0, 0]) == pytest.approx((a / 2) / (b / 4), rel=1e-5)


def test_group_size_loss() -> None:
    layer = DGConv2D(16, 3, group_size=4)
    layer.build((1, 4, 4, 16))
    for gate, wanted in (((0.2, 0.2, -1, -1), 0), ((0.2, 0.2, 1, 1), 4), ((-1, -1, -1, 0.5), 1)):
        layer.gate.assign(gate)
        assert float(group_size_loss([layer])) == wanted
    with pytest.raises(ValueError, match="group_size"):
        group_size_loss([DGConv2D(16, 3)])


def test_distillation_loss() -> None:
    logits = np.array([[1.0, 2.0, -1.0]], np.float32)
    assert float(distillation_loss(logits, logits + 3)) == pytest.approx(0.0, abs=1e-6)
    assert float(distillation_loss(logits, -logits)) > 0.1


def test_training_reaches_a_budget(small: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 256)
    images = rng.random((256, 8, 8, 1), np.float32) * 0.5
    images[np.arange(256), labels] += 0.5
    schedule = Schedule(epochs=24, batch=32, learning_rate=3e-2, target=0.6, budget_weight=30.0, shift=0, flip=False)
    lines: list[str] = []
    train_gated(small, images, labels, schedule, log=lines.append)
    assert len(lines) == 24 and "macs" in lines[0]
    result = evaluate(small, images, labels)
    assert 0.4 < result.share < 0.8
    logits, masks = predict_masks(small, images)
    assert logits.shape == (256, 3) and masks["b_gate"].shape == (256, 4)
    assert result.accuracy == float((logits.argmax(1) == labels).mean())
    macs = mac_table(small).executed(masks)
    assert (result.macs_min, result.macs_max) == (macs.min(), macs.max())
    # Measuring leaves the model fit to be saved.
    small.save(tmp_path / "model.keras")


def test_a_gate_that_waits_for_another() -> None:
    """Where the second mask of a branch closes everything, the first gate costs nothing, as in the plan."""
    x = keras.Input((6, 6, 4))
    pooled = keras.layers.Flatten()(keras.layers.GlobalAveragePooling2D()(x))
    hidden = keras.layers.Dense(3, activation="relu", name="hidden")(pooled)
    first = ChannelGate(name="first")(keras.layers.Dense(2, name="first_logits")(hidden))
    second = ChannelGate(name="second")(keras.layers.Dense(2, name="second_logits")(pooled))
    y = keras.layers.Conv2D(4, 1, name="one")(x)
    y = ApplyMask(channel_group=[0, 0, 1, 1])([y, first])
    y = ApplyMask(channel_group=[0, 0, 1, 1])([keras.layers.Conv2D(4, 3, padding="same", name="two")(y), second])
    table = mac_table(keras.Model(x, keras.layers.Add()([x, keras.layers.Conv2D(4, 1, name="three")(y)])))
    assert table.waiting == (("first", ("second",)),)
    masks = {"first": np.array([[1.0, 0], [1, 1]]), "second": np.array([[1.0, 1], [0, 0]])}
    one, two, three, gate = 36 * 4 * 4, 36 * 9 * 4 * 4, 36 * 4 * 4, 4 * 3 + 3 * 2
    left = 4 * 2
    assert table.executed(masks).tolist() == [left + gate + one / 2 + two / 2 + three, left]
    tensors = {name: tf.constant(mask, tf.float32) for name, mask in masks.items()}
    np.testing.assert_array_equal(table.executed(tensors), table.executed(masks))
