# SPDX-License-Identifier: Apache-2.0
"""The Keras layers: groups, gates, masks, and what a saved file carries."""

from __future__ import annotations

import itertools
from math import gcd, log2, prod
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
    prime_factors,
    u_matrix,
)
from acsgen.nn.losses import group_size_loss
from acsgen.nn.zoo import acs_bottleneck_resnet, gated_twin

MODEL = Path(__file__).parents[2] / "demo" / "fashion_acs.keras"


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


def mixed_radix_u(bits: tuple[int, ...], c_in: int, c_out: int) -> np.ndarray:
    """U for any widths: bundles of channels are connected if they agree in every digit with a 0 scalar."""
    width = gcd(c_in, c_out)

    def kept(channel: int, channels: int) -> list[int]:
        digits, bundle = [], channel // (channels // width)
        for factor in reversed(prime_factors(width)):
            digits.insert(0, bundle % factor)
            bundle //= factor
        return [digit for digit, bit in zip(digits, bits, strict=True) if not bit]

    return np.array([[kept(i, c_in) == kept(o, c_out) for o in range(c_out)] for i in range(c_in)], int)


WIDTHS = [(6, 6), (12, 12), (24, 24), (40, 40), (7, 7), (1, 1), (12, 24), (24, 12), (6, 9), (5, 3), (1, 8), (32, 64)]


@pytest.mark.parametrize(("c_in", "c_out"), WIDTHS)
def test_any_widths_have_groups(c_in: int, c_out: int) -> None:
    width = gcd(c_in, c_out)
    factors = prime_factors(width)
    assert prod(factors) == width and list(factors) == sorted(factors, reverse=True)
    assert all(factor % d for factor in factors for d in range(2, factor))
    for bits in itertools.product((0, 1), repeat=len(factors)):
        u = mixed_radix_u(bits, c_in, c_out)
        np.testing.assert_array_equal(u_matrix(bits, c_in, c_out), u)
        reads, writes = (channel_group_ids(bits, channels, width) for channels in (c_in, c_out))
        np.testing.assert_array_equal(np.equal.outer(reads, writes), u == 1)
        count = prod(f for f, bit in zip(factors, bits, strict=True) if not bit)
        assert np.bincount(reads).tolist() == [c_in // count] * count
        assert np.bincount(writes).tolist() == [c_out // count] * count
        assert list(dict.fromkeys(writes.tolist())) == list(range(count))
        assert tuple(group_bits(reads, width)) == tuple(group_bits(writes, width)) == bits


def test_ranges_of_a_power_of_two_channels_are_groups_of_wide_layers() -> None:
    for width, size in itertools.product((24, 40, 48, 96), (1, 2, 4, 8)):
        groups = np.arange(width) // size
        np.testing.assert_array_equal(channel_group_ids(group_bits(groups), width), groups)


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
    for groups in ([0, 1, 1, 0], [0, 0, 1], [1, 0], [0, 0, 1, 2], [0, 0, 0, 1, 1, 1], []):
        with pytest.raises(ValueError, match="channel groups"):
            group_bits(groups)
    with pytest.raises(ValueError, match="channel groups"):
        group_bits([0, 1, 0, 1], 2)
    with pytest.raises(ValueError, match=r"a width of 24 has the factors \[3, 2, 2, 2\], got 3 bits"):
        u_matrix([0, 1, 0], 24, 48)


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


@pytest.mark.parametrize(("c_in", "c_out"), [(24, 48), (48, 24), (12, 12), (7, 7), (6, 1)])
@pytest.mark.parametrize("strides", [1, 2])
def test_dgconv_of_any_widths_is_convolutions_of_its_groups(c_in: int, c_out: int, strides: int) -> None:
    rng = np.random.default_rng(c_in)
    layer = DGConv2D(c_out, 3, strides=strides, padding="valid")
    x = rng.normal(size=(2, 7, 6, c_in)).astype(np.float32)
    y = np.asarray(layer(x))
    assert [tuple(w.shape) for w in layer.weights] == [(3, 3, c_in, c_out), (len(prime_factors(gcd(c_in, c_out))),)]
    assert y.shape == layer.compute_output_shape(x.shape)
    bits = tuple(layer.group_bits().tolist())
    kernel = np.asarray(layer.kernel)
    np.testing.assert_array_equal(layer.effective_kernel(), kernel * mixed_radix_u(bits, c_in, c_out))
    reads, writes = layer.input_groups(), layer.channel_groups()
    for g in range(layer.groups):
        i, o = np.flatnonzero(reads == g), np.flatnonzero(writes == g)
        wanted = np.asarray(tf.nn.conv2d(x[..., i], kernel[:, :, i][..., o], strides, "VALID"))
        np.testing.assert_allclose(y[..., o], wanted, rtol=1e-4, atol=1e-5)
    assert layer.groups == writes.max() + 1 == reads.max() + 1


def test_dgconv_checks_its_widths() -> None:
    with pytest.raises(ValueError, match="filters must be at least 1"):
        DGConv2D(0, 3)
    with pytest.raises(ValueError, match=r"group_size must be one of \[1, 2, 4, 8, 16\], got 6"):
        DGConv2D(16, 3, group_size=6)
    x = np.zeros((1, 4, 4, 16), np.float32)
    assert DGConv2D(48, 3, group_size=12)(x).shape == (1, 4, 4, 48)
    wanted = r"from 16 to 48 channels a group can have \[3, 6, 12, 24, 48\] output channels, got group_size 8"
    with pytest.raises(ValueError, match=wanted):
        DGConv2D(48, 3, group_size=8)(x)
    with pytest.raises(ValueError, match="number of input channels must be known"):
        DGConv2D(48, 3).build((None, 4, 4, None))


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


def test_groups_freeze_at_the_best_factors_of_their_size() -> None:
    """Against all sets of factors; a scalar of a factor that does not fit is worth nothing."""
    rng = np.random.default_rng(2)
    for c_in, c_out, size in [
        (24, 24, 6),
        (24, 24, 4),
        (24, 48, 6),
        (48, 24, 12),
        (36, 36, 18),
        (36, 36, 1),
        (7, 14, 14),
    ]:
        layer = DGConv2D(c_out, 1, group_size=size)
        layer.build((1, 4, 4, c_in))
        scalars = rng.uniform(-1, 1, len(layer.factors)).astype(np.float32)
        layer.gate.assign(scalars)
        layer.freeze_groups()
        wanted = max(
            (bits for bits in itertools.product((0, 1), repeat=len(scalars))
             if prod(f**bit for f, bit in zip(layer.factors, bits, strict=True)) * c_out == size * layer.width),
            key=lambda bits: float(np.dot(bits, scalars)),
        )  # fmt: skip
        assert tuple(layer.group_bits()) == wanted
        assert np.bincount(layer.channel_groups()).tolist() == [size] * (c_out // size)
        assert float(group_size_loss([layer])) == pytest.approx(0, abs=1e-10)


def test_group_size_loss_counts_factors_with_their_logarithms() -> None:
    layer = DGConv2D(48, 3, group_size=4)
    layer.build((1, 4, 4, 24))  # 3 * 2 * 2 * 2, two output channels a bundle
    for gate, size in (((-1, 1, -1, -1), 4), ((1, -1, -1, -1), 6), ((1, 1, 1, 1), 48), ((-1, -1, -1, -1), 2)):
        layer.gate.assign(gate)
        with tf.GradientTape() as tape:
            loss = group_size_loss([layer])
        assert float(loss) == pytest.approx(log2(size / 4) ** 2, rel=1e-6)
        slope = 2 * log2(size / 4) * np.log2([3, 2, 2, 2])
        np.testing.assert_allclose(tape.gradient(loss, layer.gate.value), slope, rtol=1e-6)


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
    inner = DGConv2D(8, 3, use_bias=True, name="dg")(inputs)
    model = keras.Model(inputs, DGConv2D(12, 3, group_size=6, name="wide")(inner))
    model.get_layer("dg").bias.assign(np.arange(8))
    model.get_layer("dg").freeze_groups()
    model.save(tmp_path / "model.keras")
    reread = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    for before, after in zip(model.get_weights(), reread.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    x = np.random.default_rng(0).random((2, 4, 4, 8), np.float32)
    np.testing.assert_array_equal(np.asarray(reread(x)), np.asarray(model(x)))


def test_the_files_of_powers_of_two_mean_what_they_did() -> None:
    """The shipped network was stored when a layer had 2**K channels and one bit for each of the K."""
    model = keras.saving.load_model(MODEL, compile=False, safe_mode=True)
    layers = [layer for layer in model.layers if isinstance(layer, DGConv2D)]
    assert layers
    for layer in layers:
        assert [w.name for w in layer.weights] == ["kernel", "gate"]
        kernel, gate = layer.get_weights()
        assert kernel.shape[2:] == (layer.filters, layer.filters) and layer.filters == 2 ** len(gate)
        u = brute_force_u(tuple(int(scalar > 0) for scalar in gate))
        np.testing.assert_array_equal(layer.effective_kernel(), kernel * u)
        assert set(layer.get_config()) - set(keras.layers.Layer().get_config()) == {
            "filters", "kernel_size", "strides", "padding", "use_bias", "group_size", "learn_groups",
            "kernel_initializer", "gate_initializer",
        }  # fmt: skip
