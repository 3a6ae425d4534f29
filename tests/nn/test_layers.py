# SPDX-License-Identifier: Apache-2.0
"""The Keras layers: groups, gates, masks, and what a saved file carries."""

from __future__ import annotations

import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from acsgen.nn.layers import (
    ApplyMask,
    ChannelGate,
    DGConv2D,
    channel_group_ids,
    group_bits,
    u_matrix,
)
from acsgen.nn.zoo import acs_bottleneck_resnet, gated_twin


def brute_force_u(bits: tuple[int, ...]) -> np.ndarray:
    """U by its definition: channels are connected if they agree in every bit with a 0 scalar."""
    count = len(bits)
    u = np.zeros((2**count, 2**count), int)
    for o, i in itertools.product(range(2**count), repeat=2):
        u[o, i] = all(bit or (o >> (count - 1 - k)) & 1 == (i >> (count - 1 - k)) & 1 for k, bit in enumerate(bits))
    return u


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_u_matrix_is_the_bit_definition(count: int) -> None:
    for bits in itertools.product((0, 1), repeat=count):
        u = brute_force_u(bits)
        assert np.array_equal(u_matrix(bits), u)
        groups = channel_group_ids(bits)
        assert np.array_equal(groups[:, None] == groups[None, :], u == 1)
        assert groups.max() + 1 == 2 ** bits.count(0)
        first = [int(np.flatnonzero(groups == g)[0]) for g in range(groups.max() + 1)]
        assert first == sorted(first)
        assert tuple(group_bits(groups)) == bits


@pytest.mark.parametrize(
    ("bits", "members"),
    [
        ((0, 0, 1, 1, 1), list(range(8))),
        ((1, 1, 1, 0, 0), list(range(0, 32, 4))),
        ((0, 1, 0, 1, 1), [0, 1, 2, 3, 8, 9, 10, 11]),
    ],
)
def test_group_of_channel_zero(bits: tuple[int, ...], members: list[int]) -> None:
    assert np.flatnonzero(channel_group_ids(bits) == 0).tolist() == members


def test_group_bits_rejects_other_maps() -> None:
    for groups in ([0, 1, 1, 0], [0, 0, 0], [1, 0], [0, 0, 1, 2]):
        with pytest.raises(ValueError, match="channel groups"):
            group_bits(groups)


def test_dgconv_is_a_masked_and_a_grouped_convolution() -> None:
    rng = np.random.default_rng(1)
    layer = DGConv2D(16, 3, strides=2, use_bias=True)
    x = rng.normal(size=(2, 7, 6, 16)).astype(np.float32)
    layer.build(x.shape)
    gate = np.array([0.5, -0.2, 0.9, -0.0], np.float32)
    bias = rng.normal(size=16).astype(np.float32)
    layer.gate.assign(gate)
    assert layer.bias is not None
    layer.bias.assign(bias)
    y = np.asarray(layer(x))
    assert y.shape == layer.compute_output_shape(x.shape)

    kernel = np.asarray(layer.kernel)
    masked = kernel * brute_force_u((1, 0, 1, 0)).T
    np.testing.assert_array_equal(layer.effective_kernel(), masked)
    wanted = np.asarray(tf.nn.conv2d(x, masked, 2, "SAME")) + bias
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)

    groups = layer.channel_groups()
    assert layer.groups == 4 and groups.tolist() == [0, 1, 0, 1, 2, 3, 2, 3] * 2
    for g in range(4):
        channels = np.flatnonzero(groups == g)
        part = kernel[:, :, channels][..., channels]
        wanted = np.asarray(tf.nn.conv2d(x[..., channels], part, 2, "SAME")) + bias[channels]
        np.testing.assert_allclose(y[..., channels], wanted, rtol=1e-5, atol=1e-5)


def test_dgconv_checks_its_widths() -> None:
    with pytest.raises(ValueError, match="power of two"):
        DGConv2D(24, 3)
    with pytest.raises(ValueError, match="group_size"):
        DGConv2D(16, 3, group_size=6)
    with pytest.raises(ValueError, match="16 channels but filters=32"):
        DGConv2D(32, 3)(np.zeros((1, 4, 4, 16), np.float32))


def test_gate_scalars_learn_and_freeze() -> None:
    layer = DGConv2D(8, 1, group_size=4)
    x = np.random.default_rng(0).normal(size=(1, 3, 3, 8)).astype(np.float32)
    layer.build(x.shape)
    layer.gate.assign([0.1, -0.3, -0.2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) ** 2)
    assert np.all(np.asarray(tape.gradient(loss, layer.gate.value)) != 0)
    np.testing.assert_array_equal(layer.gate.constraint(np.array([-3.0, 0.5, 2.0])), [-1, 0.5, 1])
    layer.freeze_groups()
    assert layer.group_bits().tolist() == [1, 0, 1] and layer.groups == 2
    assert [w.name for w in layer.trainable_weights] == ["kernel"]


def test_channel_gate_is_strict() -> None:
    gate = ChannelGate()
    logits = np.array([[0.0, -0.0, 1e-30, -1e-30, 5.0]], np.float32)
    gate.build(logits.shape)
    gate.schedule(noise=1.0, force_open=1.0)
    assert np.asarray(gate(logits)).tolist() == [[0, 0, 1, 0, 1]]
    assert np.asarray(gate(logits, training=True)).tolist() == [[1, 1, 1, 1, 1]]
    gate.schedule(noise=0.0, force_open=0.0)
    assert np.asarray(gate(logits, training=True)).tolist() == [[0, 0, 1, 0, 1]]


def test_channel_gate_noise_and_gradient() -> None:
    gate = ChannelGate(seed=3)
    logits = tf.constant(np.full((2000, 4), 1.0, np.float32))
    gate.build(logits.shape)
    gate.schedule(noise=1.0)
    noisy = np.asarray(gate(logits, training=True))
    assert set(np.unique(noisy)) == {0.0, 1.0}
    # Logistic noise: a bit is on with probability sigmoid(logit).
    assert abs(noisy.mean() - 1 / (1 + np.exp(-1.0))) < 0.02
    gate.schedule(noise=0.0)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(gate(logits, training=True))
    soft = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(tape.gradient(total, logits), soft * (1 - soft), rtol=1e-5)


def test_apply_mask_takes_any_map() -> None:
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 1, 2, 6)
    mask = np.array([[0.0, 1.0, 1.0]], np.float32)
    y = np.asarray(ApplyMask([2, 0, 1, 0, 0, 2])([x, mask]))
    np.testing.assert_array_equal(y, x * [1, 0, 1, 0, 0, 1])
    with pytest.raises(ValueError, match="names group 2"):
        ApplyMask([2, 0, 1, 0, 0, 2])([x, mask[:, :2]])
    with pytest.raises(ValueError, match="6 channels"):
        ApplyMask([0, 1])([x, mask])


def test_model_survives_its_file(tmp_path: Path) -> None:
    twin = acs_bottleneck_resnet(gated=False, seed=5)
    for layer in twin.layers:
        if isinstance(layer, DGConv2D):
            layer.freeze_groups()
    model = gated_twin(twin, seed=5)
    # Logits around 0, so that masks differ between inputs.
    for name in ("a1", "b1", "b2", "c1"):
        head = model.get_layer(f"{name}_gate_fc2")
        head.bias.assign(np.zeros(head.bias.shape))
    path = tmp_path / "model.keras"
    model.save(path)
    reread = keras.saving.load_model(path, compile=False, safe_mode=True)
    x = np.random.default_rng(0).random((16, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(np.asarray(reread(x)), np.asarray(model(x)))
    for name in ("a1", "b1", "b2", "c1"):
        convolution = reread.get_layer(f"{name}_dg")
        assert not convolution.learn_groups and not convolution.gate.trainable
        groups = twin.get_layer(f"{name}_dg").channel_groups().tolist()
        assert convolution.channel_groups().tolist() == groups
        assert reread.get_layer(f"{name}_mask").channel_group == groups


def test_learning_and_frozen_layers_store_alike(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 8))
    model = keras.Model(inputs, DGConv2D(8, 3, use_bias=True, name="dg")(inputs))
    model.get_layer("dg").bias.assign(np.arange(8))
    model.get_layer("dg").freeze_groups()
    model.save(tmp_path / "model.keras")
    reread = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    for before, after in zip(model.get_weights(), reread.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
